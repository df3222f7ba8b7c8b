"""Make one published version the one that unnamed calls get."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from clickclean_export.disk import locked, replace_text
from clickclean_export.engine.preflight import Target, enforce, examine_config
from clickclean_export.engine.record import PlanInputs, readable_records
from clickclean_export.engine.register import gpu_config, present_config
from clickclean_export.errors import GateRefused, IncompatibleError, RepositoryError
from clickclean_export.manifest import read_manifest, verify_files
from clickclean_export.repository import CPU_CONFIG, GPU_CONFIG, Repository
from clickclean_export.triton_config import DEFAULT_PLAN, TritonConfig

_AMPERE = 8.0


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
    folder = repository.root / model
    cpu = TritonConfig.from_recipe(manifest.recipe_of(directory), "cpu", (number,))
    try:
        # A builder that registers a plan reads and writes the same file.
        with locked(folder):
            previous = repository.promoted(model)
            gpu = gpu_config(repository, model, number, fleet=fleet)
            for target in fleet:
                enforce(examine_config(gpu, folder, target))
            if not without_plans:
                examined = {target.gpu.compute_capability for target in fleet}
                _keep_gpus_served(repository, model, gpu, examined)
            # The CPU config says what is promoted, so it is written last: a machine that stops in
            # between still tells the old truth, and promoting again repairs both.
            replace_text(folder / GPU_CONFIG, gpu.to_text())
            replace_text(folder / CPU_CONFIG, cpu.to_text())
    except OSError as error:
        raise RepositoryError(repository.root, str(error)) from error
    return Promotion(model, number, previous)


def _keep_gpus_served(
    repository: Repository, model: str, config: TritonConfig, examined: Collection[str]
) -> None:
    """Refuse a config that a GPU could not load which loads the present one.

    Args:
        repository: With the present config.
        model: Name.
        config: For the version that is to be promoted.
        examined: Compute capabilities that were judged by what will load them.

    Raises:
        IncompatibleError: with the compute capabilities that would have no plan, or one of another
            TensorRT version (exit 4).
    """
    present = present_config(repository, model)
    if present is None or not present.versions:
        return
    version = max(config.versions)
    which = f"{model}:{version}"
    hint = (
        f"clickclean engine build {which} on such a GPU first, in the image that serves; or promote"
        " with --without-plans if no GPU serves this model any more"
    )
    served = {c: name for c, name in present.plans.items() if c not in examined}
    lost = sorted(capability for capability in served if not _plan_for(config, capability))
    if present.default_plan != DEFAULT_PLAN and config.default_plan == DEFAULT_PLAN:
        lost.append("8.0 and later (the default plan)")
    if lost:
        raise IncompatibleError(
            f"{which} has no plan for compute capability {', '.join(lost)}, which the promoted"
            " version has: GPU servers could not load it",
            hint=hint,
        )
    before = _records(repository, model, max(present.versions))
    after = _records(repository, model, version)
    for capability, name in served.items():
        old, new = before.get(name), after.get(_plan_for(config, capability))
        if old is None or new is None or new.options.version_compatible:
            continue
        if old.library_version != new.library_version:
            raise IncompatibleError(
                f"the plan of {which} for compute capability {capability} was built by TensorRT"
                f" {new.library_version}, the promoted version's by {old.library_version}: GPU"
                " servers could not load it",
                hint=hint,
            )


def _plan_for(config: TritonConfig, capability: str) -> str:
    """Return the plan that Triton takes for a compute capability; empty for none."""
    portable = config.default_plan != DEFAULT_PLAN and float(capability) >= _AMPERE
    return config.plans.get(capability, config.default_plan if portable else "")


def _records(repository: Repository, model: str, version: int) -> dict[str, PlanInputs]:
    records, _ = readable_records(repository.version_dir(model, version))
    return {record.path_in_version: record.inputs for record in records}
