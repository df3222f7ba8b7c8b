"""Make one published version the one that unnamed calls get."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clickclean_export.disk import replace_text
from clickclean_export.engine.preflight import Target, enforce, examine_config
from clickclean_export.engine.register import gpu_config, present_plans
from clickclean_export.errors import GateRefused, IncompatibleError, RepositoryError
from clickclean_export.manifest import read_manifest, verify_files
from clickclean_export.repository import CPU_CONFIG, GPU_CONFIG, Repository
from clickclean_export.triton_config import DEFAULT_PLAN, TritonConfig


@dataclass(frozen=True)
class Promotion:
    """What changed: ``previous`` is None at the first promotion."""

    model: str
    version: int
    previous: int | None


def promote(
    repository_path: Path,
    model: str,
    version: int | None = None,
    *,
    fleet: Sequence[Target] = (),
    without_plans: bool = False,
) -> Promotion:
    """Write both fleets' configs so that ``version`` (default: the newest) is served.

    A running ``clickclean serve`` on the same repository notices the change, loads the version
    beside the old one, and proves it before the old one goes.

    Args:
        repository_path: The model repository.
        model: Name.
        version: Number.
        fleet: GPU types that must be able to serve the version; each is examined before anything
            is written.
        without_plans: Promote although GPUs that have a plan now would have none.

    Raises:
        VersionNotFoundError: no such version.
        IntegrityError: its files, or a plan's, are not what was published or registered.
        GateRefused: its manifest records a failed gate.
        IncompatibleError: a GPU of the fleet could not load it (exit 4).
        RepositoryError: the configs cannot be written.
    """
    repository = Repository(repository_path)
    number, directory = repository.find(model, version)
    manifest = read_manifest(directory)
    verify_files(directory, manifest.files)
    for hop in manifest.hops:
        failed = [gate for gate in hop.gates if gate.outcome == "fail"]
        if failed:
            raise GateRefused(
                hop.result.hop, [gate.sentence(hop.result.samples) for gate in failed]
            )
    previous = repository.promoted(model)
    folder = repository.root / model
    gpu = gpu_config(repository, model, number)
    for target in fleet:
        enforce(examine_config(gpu, folder, target))
    if not without_plans:
        _keep_gpus_served(present_plans(repository, model), gpu, f"{model}:{number}")
    cpu = TritonConfig.from_recipe(manifest.recipe_of(directory), "cpu", (number,))
    # The CPU config says what is promoted, so it is written last: a machine that stops in between
    # still tells the old truth, and promoting again repairs both.
    try:
        replace_text(folder / GPU_CONFIG, gpu.to_text())
        replace_text(folder / CPU_CONFIG, cpu.to_text())
    except OSError as error:
        raise RepositoryError(repository.root, str(error)) from error
    return Promotion(model, number, previous)


def _keep_gpus_served(present: Mapping[str, str], config: TritonConfig, which: str) -> None:
    """Refuse a version that a GPU could not load which serves the present one.

    Raises:
        IncompatibleError: with the compute capabilities that have no plan.
    """
    lost = sorted(present.keys() - config.plans.keys())
    if lost and config.default_plan == DEFAULT_PLAN:
        raise IncompatibleError(
            f"{which} has no plan for compute capability {', '.join(lost)}, which the promoted"
            " version has: GPU servers could not load it",
            hint=f"clickclean engine build {which} on such a GPU first, or promote with"
            " --without-plans if no GPU serves this model",
        )
