"""A version that is to be promoted: proven on disk, its configs ready, written when all agree."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clickclean_export.disk import locked, replace_text
from clickclean_export.engine.preflight import Target, enforce, examine_config
from clickclean_export.engine.record import PlanInputs, readable_records
from clickclean_export.engine.register import gpu_config, present_config
from clickclean_export.errors import IncompatibleError, RepositoryError
from clickclean_export.manifest import fingerprint, read_manifest
from clickclean_export.repository import CPU_CONFIG, GPU_CONFIG, Repository
from clickclean_export.triton_config import DEFAULT_PLAN, Fleet, TritonConfig
from clickclean_export.verify import Verified, verify_version

_AMPERE = 8.0


@dataclass(frozen=True)
class Promotion:
    """What changed: ``previous`` is None at the first promotion."""

    model: str
    version: int
    previous: int | None


@dataclass(frozen=True)
class Prepared:
    """A version whose bytes were compared with its manifest, and how each fleet serves it.

    Attributes:
        repository: Where it lies.
        proof: What the comparison found.
        cpu, gpu: The configs, with the fingerprint of the manifest.
        previous: The promoted version; None before the first promotion.
    """

    repository: Repository
    proof: Verified
    cpu: TritonConfig
    gpu: TritonConfig
    previous: int | None

    @property
    def model(self) -> str:
        """Name."""
        return self.proof.model

    @property
    def version(self) -> int:
        """Number."""
        return self.proof.version

    @property
    def directory(self) -> Path:
        """The version's folder."""
        return self.repository.version_dir(self.model, self.version)

    def config(self, fleet: Fleet) -> TritonConfig:
        """Return the config that one fleet loads."""
        return self.gpu if fleet == "gpu" else self.cpu


def prepare(
    repository: Repository,
    model: str,
    version: int | None = None,
    *,
    fleet: Sequence[Target] = (),
    without_plans: bool = False,
    trusted: Sequence[Path] = (),
) -> Prepared:
    """Prove a version on disk (default: the newest) and make its configs; writes nothing.

    Args:
        repository: The model repository.
        model: Name.
        version: Number.
        fleet: GPU types that must be able to serve the version; each is examined.
        without_plans: Go on although GPUs that have a plan now would have none.
        trusted: Public keys; where there is any, one of them must have signed the version.

    Raises:
        VersionNotFoundError: no such version.
        IntegrityError: its files, a plan's, or its signature, are not what they should be (exit 3).
        GateRefused: its manifest records a failed gate (exit 3).
        IncompatibleError: a GPU of the fleet could not load it (exit 4).
    """
    number, _ = repository.find(model, version)
    proof = verify_version(repository, model, number, trusted=trusted)
    previous = repository.promoted(model)
    gpu = gpu_config(repository, model, number, fleet=fleet)
    folder = repository.root / model
    for target in fleet:
        enforce(examine_config(gpu, folder, target))
    if not without_plans:
        examined = {target.gpu.compute_capability for target in fleet}
        _keep_gpus_served(repository, model, gpu, examined)
    return Prepared(repository, proof, cpu_config(repository, model, number), gpu, previous)


def cpu_config(repository: Repository, model: str, version: int) -> TritonConfig:
    """Return the CPU fleet's config for a version, as promoting it writes it.

    Raises:
        IntegrityError: its manifest cannot be read (exit 3).
    """
    directory = repository.version_dir(model, version)
    recipe = read_manifest(directory).recipe_of(directory)
    config = TritonConfig.from_recipe(recipe, "cpu", (version,))
    return replace(config, fingerprint=fingerprint(directory))


def commit(prepared: Prepared) -> None:
    """Write both fleets' configs, so that a server that starts serves the version.

    The caller holds the lock of the model's folder.

    Raises:
        RepositoryError: the configs cannot be written.
    """
    folder = prepared.repository.root / prepared.model
    gpu = folder / GPU_CONFIG
    try:
        before = gpu.read_text() if gpu.is_file() else None
        # The CPU config says what is promoted, so it is written last: a machine that stops in
        # between still tells the old truth, and promoting again repairs both.
        replace_text(gpu, prepared.gpu.to_text())
        try:
            replace_text(folder / CPU_CONFIG, prepared.cpu.to_text())
        except OSError:
            if before is not None:
                replace_text(gpu, before)
            raise
    except OSError as error:
        raise RepositoryError(prepared.repository.root, str(error)) from error


def promote(
    repository_path: Path,
    model: str,
    version: int | None = None,
    *,
    fleet: Sequence[Target] = (),
    without_plans: bool = False,
) -> Promotion:
    """Prove a version and write the configs; servers that run are not asked.

    Raises:
        ExportError: as ``prepare`` and ``commit``.
    """
    repository = Repository(repository_path)
    repository.find(model, version)
    try:
        # A builder that registers a plan reads and writes the same file.
        with locked(repository.root / model):
            prepared = prepare(repository, model, version, fleet=fleet, without_plans=without_plans)
            commit(prepared)
    except OSError as error:
        raise RepositoryError(repository.root, str(error)) from error
    return Promotion(model, prepared.version, prepared.previous)


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
