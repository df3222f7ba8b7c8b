"""Build a version's plan for one GPU type, gate it there, and register it.

The plan is built from the version's own INT8 ONNX. The FP32 and FP16 plans of the same model exist
only to be compared with, and stay in the cache. Nothing that was published changes: a record and
its plan are added under ``engines/`` by one rename.
"""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from clickclean_export.disk import words
from clickclean_export.engine.cache import CachedPlan, EngineCache
from clickclean_export.engine.compiler import Compiled, compile_plan, library_name, library_version
from clickclean_export.engine.device import Gpu, alone
from clickclean_export.engine.evidence import Evidence, gather, labelled_data
from clickclean_export.engine.half_model import half_model
from clickclean_export.engine.lint import lint
from clickclean_export.engine.options import Flavour, Profile
from clickclean_export.engine.profiles import build_options, recipe_profiles
from clickclean_export.engine.record import EngineRecord, PlanInputs
from clickclean_export.engine.register import configure, find_registered, register
from clickclean_export.errors import (
    ConversionError,
    EngineRefused,
    MissingExtraError,
    RepositoryError,
)
from clickclean_export.hops import PLAN_FP16, PLAN_FP32, PLAN_INT8
from clickclean_export.manifest import (
    FLOAT_MODEL,
    MODEL,
    Manifest,
    file_record,
    read_manifest,
    verify_files,
)
from clickclean_export.progress import Progress, Silence
from clickclean_export.provenance import tool_versions
from clickclean_export.recipe import Recipe
from clickclean_export.repository import Repository
from clickclean_export.runners import Runner

OpenPlan = Callable[[Path, Sequence[Profile]], AbstractContextManager[Runner]]
"""Load a plan on the GPU; ``plan_runner.open_plan``."""


@dataclass(frozen=True)
class Built:
    """A registered plan. ``from_cache``: nothing had to be compiled for it."""

    record: EngineRecord
    path: Path
    from_cache: bool


def build_engine(
    repository_path: Path,
    model: str,
    version: int | None = None,
    *,
    gpu: Gpu,
    cache: Path,
    open_plan: OpenPlan,
    recipe_path: Path | None = None,
    flavour: Flavour = "tensorrt",
    progress: Progress | None = None,
) -> Built:
    """Build, gate and register the plan of a version (default: the newest) for a GPU.

    Args:
        repository_path: The model repository.
        model: Name.
        version: Number.
        gpu: The GPU of this machine.
        cache: Folder of plans that were built before.
        open_plan: Loads a plan, so that it can be asked.
        recipe_path: Where the labelled evaluation data come from; its content must be what the
            manifest names. None: the version's golden rows have to do, and the record says so.
        flavour: The library that builds.
        progress: Told about every step.

    Raises:
        VersionNotFoundError, RepositoryError: exit 1.
        IntegrityError: the version's files are not what was published (exit 3).
        EngineRefused: the builder refuses the file, or ignored an option (exit 3).
        GateRefused: the plan lost too much; it is not registered (exit 3).
        IncompatibleError, MissingExtraError: no library, or the plan does not load (exit 4).
        DataError: the evaluation data are others than those of the manifest (exit 2).
    """
    number, directory = Repository(repository_path).find(model, version)
    manifest = read_manifest(directory)
    verify_files(directory, manifest.files)
    try:
        with tempfile.TemporaryDirectory(prefix="clickclean-") as work, alone(gpu):
            return _Build(
                repository=Repository(repository_path),
                directory=directory,
                manifest=manifest,
                recipe=manifest.recipe_of(directory),
                version=number,
                gpu=gpu,
                flavour=flavour,
                cache=EngineCache(cache),
                open_plan=open_plan,
                progress=progress or Silence(),
                work=Path(work),
            ).run(recipe_path)
    except OSError as error:
        raise RepositoryError(directory, words(error), hint="is the disk full?") from error


@dataclass(frozen=True)
class _Build:
    repository: Repository
    directory: Path
    manifest: Manifest
    recipe: Recipe
    version: int
    gpu: Gpu
    flavour: Flavour
    cache: EngineCache
    open_plan: OpenPlan
    progress: Progress
    work: Path

    def run(self, recipe_path: Path | None) -> Built:
        self.progress.begin("look for the GPU and TensorRT")
        library = library_version(self.flavour)
        self.progress.end(f"{self.gpu.name}, {library_name(self.flavour)} {library}")
        source = self.directory / MODEL
        findings = lint(source)
        if findings:
            raise EngineRefused(source.name, findings)
        inputs = self._inputs(self.manifest.files[MODEL].sha256, library)
        data, left_out = labelled_data(self.directory, self.manifest, self.recipe, recipe_path)
        registered = find_registered(self.directory, inputs, data.sha256 if recipe_path else "")
        if registered is not None:
            self.progress.begin("register")
            self.progress.end(f"was registered before; {configure(self.repository, registered)}")
            path = self.directory / registered.path_in_version
            return Built(registered, path, from_cache=True)

        float_onnx = self.directory / FLOAT_MODEL
        float_inputs = self._inputs(self.manifest.files[FLOAT_MODEL].sha256, library)
        plans = {PLAN_INT8: self._compile(PLAN_INT8, source, inputs)}
        plans[PLAN_FP32] = self._compile(PLAN_FP32, float_onnx, float_inputs)
        try:
            half = half_model(float_onnx, data, self.work, self.cache.root / "fp16")
            half_inputs = self._inputs(file_record(half).sha256, library)
            plans[PLAN_FP16] = self._compile(PLAN_FP16, half, half_inputs)
        except (MissingExtraError, ConversionError, EngineRefused) as error:
            # The comparison is worth having, the plan does not depend on it.
            left_out.append(f"FP16 was not compared: {error}")
        with ExitStack() as stack:
            runners = {
                hop: stack.enter_context(self.open_plan(plan.path, inputs.profiles))
                for hop, plan in plans.items()
            }
            evidence = gather(self.recipe, float_onnx, runners, data, self.progress)
        return self._register(plans[PLAN_INT8], evidence, left_out)

    def _inputs(self, onnx_sha256: str, library: str) -> PlanInputs:
        return PlanInputs(
            onnx_sha256=onnx_sha256,
            flavour=self.flavour,
            library_version=library,
            gpu_name=self.gpu.name,
            compute_capability=self.gpu.compute_capability,
            profiles=recipe_profiles(self.recipe),
            options=build_options(self.recipe),
        )

    def _compile(self, hop: str, onnx: Path, inputs: PlanInputs) -> CachedPlan:
        def build(target: Path, timing_cache: Path) -> Compiled:
            return compile_plan(
                onnx,
                target,
                flavour=self.flavour,
                profiles=inputs.profiles,
                options=inputs.options,
                timing_cache=timing_cache,
                on_phase=self.progress.update,
            )

        self.progress.begin(f"build: {hop}")
        plan = self.cache.get_or_build(
            inputs, build, lambda: self.progress.update("waiting for another builder", 0.0)
        )
        size = f"{plan.entry.plan.size_bytes / 2**20:.2f} MiB"
        self.progress.end(f"{size}, from the cache" if plan.hit else size)
        return plan

    def _register(self, built: CachedPlan, evidence: Evidence, left_out: list[str]) -> Built:
        self.progress.begin("register")
        record = EngineRecord(
            model=self.manifest.model,
            version=self.version,
            created=datetime.now(UTC).isoformat(timespec="microseconds"),
            plan_name=f"model.{self.gpu.compute_capability}.plan",
            plan=built.entry.plan,
            inputs=built.entry.inputs,
            gpu=self.gpu,
            build_seconds=built.entry.compiled.build_s,
            warnings=built.entry.compiled.warnings,
            data=evidence.data,
            hops=evidence.hops,
            speed=evidence.speed,
            not_done=tuple(left_out),
            tools=tool_versions(),
        )
        path = register(self.directory, record, built.path)
        self.progress.end(f"{record.path_in_version}, {configure(self.repository, record)}")
        return Built(record, path, built.hit)
