"""The main job: a recipe becomes an immutable, proven version, or nothing at all.

checkpoint -> fp32.onnx -> INT8 model.onnx -> CPU engine -> live server, gated after every arrow;
the INT8 file must also parse and compile under TensorRT-RTX.
Everything happens in a staging folder; the version appears by one rename at the very end.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from clickclean_export.dataset import (
    LabelledDataset,
    load_calibration,
    load_evaluation,
    refuse_overlap,
)
from clickclean_export.disk import replace_text
from clickclean_export.engine.check import available, check_recipe
from clickclean_export.engine.proof import EngineCheck
from clickclean_export.errors import RepositoryError
from clickclean_export.gates import GatedHop, enforce, judge
from clickclean_export.hops import (
    ENGINE,
    INT8,
    ONNX,
    SERVED,
    TORCH,
    Answers,
    answer_all,
    compare,
)
from clickclean_export.manifest import (
    FLOAT_MODEL,
    MODEL,
    DataRecord,
    Manifest,
    file_record,
    write_manifest,
)
from clickclean_export.onnx_from_torch import export_onnx
from clickclean_export.progress import Progress, Silence
from clickclean_export.provenance import machine, tool_versions
from clickclean_export.quantize import quantize_onnx
from clickclean_export.recipe import Recipe, load_recipe
from clickclean_export.repository import CPU_CONFIG, Repository
from clickclean_export.runners import (
    OnnxRuntimeRunner,
    OpenVinoRunner,
    Runner,
    ServedRunner,
    TorchRunner,
)
from clickclean_export.samples import one_row_and_full, write_golden, write_misread
from clickclean_export.speed import compare_speed
from clickclean_export.torch_model import load_module
from clickclean_export.triton_config import TritonConfig

Serve = Callable[[Path, str], AbstractContextManager[str]]
"""Start a real server on a repository for one model; yields its gRPC endpoint "host:port"."""


@dataclass(frozen=True)
class Published:
    """A new version and its manifest."""

    model: str
    version: int
    path: Path
    manifest: Manifest


def publish(
    recipe_path: Path,
    repository_path: Path,
    *,
    serve: Serve | None,
    progress: Progress | None = None,
) -> Published:
    """Turn a recipe into the next version of its model.

    Args:
        recipe_path: A ``recipe.toml``.
        repository_path: The model repository; created when missing.
        serve: Starts a server for the last gate; None leaves that gate out, and the manifest
            says so.
        progress: Told about every step.

    Raises:
        RecipeError, CheckpointError, DataError: the input cannot be used (exit 2).
        ConversionError: a conversion failed (exit 1).
        GateRefused: a gate refused; nothing was published (exit 3).
        EngineRefused: TensorRT does not take the INT8 file; nothing was published (exit 3).
        RepositoryError: the repository cannot be written (exit 1).
    """
    recipe = load_recipe(recipe_path)
    repository = Repository(repository_path)
    with repository.staging(recipe.model.name) as staging:
        try:
            return _Publication(recipe, repository, staging, progress or Silence()).run(serve)
        except OSError as error:
            raise RepositoryError(repository.root, str(error), hint="is the disk full?") from error


class _Publication:
    """One run; its state is what the steps hand on."""

    def __init__(
        self, recipe: Recipe, repository: Repository, staging: Path, progress: Progress
    ) -> None:
        self._recipe = recipe
        self._repository = repository
        self._progress = progress
        self._staging = staging
        self._version_dir = staging / "version"
        self._work = staging / "work"
        self._hops: list[GatedHop] = []
        self._float: Answers | None = None

    def run(self, serve: Serve | None) -> Published:
        self._version_dir.mkdir()
        self._work.mkdir()
        recipe, files = self._recipe, self._version_dir
        float_onnx, int8_onnx = files / FLOAT_MODEL, files / MODEL

        self._progress.begin("read data and checkpoint")
        calibration, evaluation = load_calibration(recipe), load_evaluation(recipe)
        refuse_overlap(calibration, evaluation)
        module = load_module(recipe)
        checkpoint = file_record(recipe.checkpoint)
        self._progress.end(f"{calibration.rows} to calibrate, {evaluation.rows} to evaluate")

        self._gate(TORCH, TorchRunner(recipe, module), evaluation)

        self._progress.begin("export to ONNX")
        export_onnx(recipe, module, evaluation.feeds[0], float_onnx)
        self._progress.end(_mib(float_onnx))
        self._gate(ONNX, OnnxRuntimeRunner(float_onnx), evaluation)

        self._progress.begin("quantise to INT8")
        quantized = quantize_onnx(recipe, float_onnx, calibration, int8_onnx, self._work)
        self._progress.end(f"{_mib(int8_onnx)}, method '{quantized.method}'")
        self._gate(INT8, OnnxRuntimeRunner(int8_onnx), evaluation)

        engine_check = self._check_engine(int8_onnx)
        engine = OpenVinoRunner(int8_onnx, threads=recipe.serving.threads)
        answers = self._gate(ENGINE, engine, evaluation)
        write_golden(files, recipe, evaluation, answers, self._hops[-1].result)
        write_misread(files, evaluation, answers.predicted)

        self._progress.begin("compare INT8 and float speed")
        speed = tuple(
            compare_speed(float_onnx, int8_onnx, feed, threads=recipe.serving.threads)
            for feed in one_row_and_full(evaluation)
        )
        ratios = ", ".join(f"{one.ratio:.2f} x at batch {one.batch}" for one in speed)
        self._progress.end(f"INT8 : float {ratios}")

        if serve is not None:
            self._gate_served(serve, evaluation)

        manifest = Manifest(
            model=recipe.model.name,
            version=self._repository.next_version(recipe.model.name),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            files={path.name: file_record(path) for path in sorted(files.iterdir())},
            recipe=recipe.model_dump(mode="json"),
            checkpoint=checkpoint,
            data={
                "calibration": DataRecord(calibration.source, calibration.rows, calibration.sha256),
                "evaluation": DataRecord(evaluation.source, evaluation.rows, evaluation.sha256),
            },
            quantization=quantized,
            hops=tuple(self._hops),
            hops_not_run=() if serve is not None else (SERVED,),
            speed=speed,
            tools=tool_versions(),
            machine=machine(),
            engine_check=engine_check,
        )
        return self._add(manifest)

    def _check_engine(self, int8_onnx: Path) -> EngineCheck | None:
        """Have TensorRT-RTX parse and compile the file, where it is installed."""
        self._progress.begin("gate: TensorRT compile")
        if not available():
            self._progress.end("not run: pip install 'clickclean[engine]'")
            return None
        checked = check_recipe(self._recipe, int8_onnx, self._progress.update)
        self._progress.end(
            f"pass: {checked.layers} layers, plan {checked.plan_bytes / 2**20:.2f} MiB"
            " (no GPU asked)"
        )
        return checked

    def _gate(self, hop: str, runner: Runner, evaluation: LabelledDataset) -> Answers:
        self._progress.begin(f"gate: {hop}")
        answers = answer_all(self._recipe, hop, runner, evaluation)
        if self._float is None:
            self._float = answers
        gated = judge(compare(hop, answers, self._float, evaluation.labels), self._recipe.gates)
        self._hops.append(gated)
        self._progress.end(gated.summary)
        enforce(gated, self._recipe.gates)
        return answers

    def _gate_served(self, serve: Serve, evaluation: LabelledDataset) -> None:
        """Serve the staged files under the number they will probably get, and ask all samples."""
        model = self._recipe.model.name
        number = self._repository.next_version(model)
        root = self._staging / "repository"
        folder = root / model
        (folder / "configs").mkdir(parents=True)
        (folder / str(number)).symlink_to(self._version_dir, target_is_directory=True)
        config = TritonConfig.from_recipe(self._recipe, "cpu", (number,))
        replace_text(folder / CPU_CONFIG, config.to_text())
        self._progress.begin("start the real tritonserver")
        with serve(root, model) as endpoint:
            self._progress.end(endpoint)
            with ServedRunner(endpoint, model, number) as runner:
                self._gate(SERVED, runner, evaluation)

    def _add(self, manifest: Manifest) -> Published:
        self._progress.begin("publish")
        for path in self._version_dir.iterdir():
            path.chmod(0o444)
        while True:
            write_manifest(manifest, self._version_dir)
            if self._repository.add(manifest.model, manifest.version, self._version_dir):
                break
            manifest = replace(manifest, version=self._repository.next_version(manifest.model))
        path = self._repository.version_dir(manifest.model, manifest.version)
        self._progress.end(f"{manifest.model} version {manifest.version}")
        return Published(manifest.model, manifest.version, path, manifest)


def summary(published: Published) -> dict[str, object]:
    """Return what a script wants to know of a published version, JSON-ready."""
    manifest = published.manifest
    return {
        "model": published.model,
        "version": published.version,
        "path": str(published.path),
        "method": manifest.quantization.method,
        "hops": {
            hop.result.hop: {
                "outcome": hop.outcome,
                "accuracy": hop.result.accuracy,
                "agreement": hop.result.agreement,
            }
            for hop in manifest.hops
        },
        "hops_not_run": list(manifest.hops_not_run),
        "speed": [asdict(speed) for speed in manifest.speed],
        "size_ratio": size_ratio(manifest),
        "engine_check": None if manifest.engine_check is None else asdict(manifest.engine_check),
    }


def size_ratio(manifest: Manifest) -> float:
    """Return the size of the INT8 file as a share of the float file."""
    return manifest.files[MODEL].size_bytes / manifest.files[FLOAT_MODEL].size_bytes


def _mib(path: Path) -> str:
    return f"{path.stat().st_size / 2**20:.2f} MiB"
