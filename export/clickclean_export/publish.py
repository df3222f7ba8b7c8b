"""The main job: a recipe becomes an immutable, proven version, or nothing at all.

checkpoint -> fp32.onnx -> INT8 model.onnx -> CPU engine -> live server, gated after every arrow.
Everything happens in a staging folder; the version appears by one rename at the very end.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from clickclean_export.dataset import (
    LabelledDataset,
    load_calibration,
    load_evaluation,
    refuse_overlap,
)
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
from clickclean_export.provenance import machine, tool_versions
from clickclean_export.quantize import quantize_onnx
from clickclean_export.recipe import Recipe, load_recipe
from clickclean_export.repository import Repository, replace_text
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
from clickclean_export.triton_config import config_texts

Serve = Callable[[Path, str], AbstractContextManager[str]]
"""Start a real server on a repository for one model; yields its gRPC endpoint "host:port"."""


class Progress(Protocol):
    """Told what is going on; publishing takes seconds to minutes."""

    def begin(self, step: str) -> None:
        """Announce a step."""
        ...

    def end(self, outcome: str) -> None:
        """Say how the announced step ended."""
        ...


class Silence:
    """Progress that nobody watches."""

    def begin(self, step: str) -> None:
        """Ignore."""

    def end(self, outcome: str) -> None:
        """Ignore."""


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
        )
        return self._add(manifest)

    def _gate(self, hop: str, runner: Runner, evaluation: LabelledDataset) -> Answers:
        self._progress.begin(f"gate: {hop}")
        answers = answer_all(self._recipe, hop, runner, evaluation)
        if self._float is None:
            self._float = answers
        gated = judge(compare(hop, answers, self._float, evaluation.labels), self._recipe.gates)
        self._hops.append(gated)
        result = gated.result
        self._progress.end(
            f"{gated.outcome}: accuracy {result.accuracy:.2%}, agreement {result.agreement:.2%}"
        )
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
        for path, text in config_texts(self._recipe, number).items():
            replace_text(folder / path, text)
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
    }


def size_ratio(manifest: Manifest) -> float:
    """Return the size of the INT8 file as a share of the float file."""
    return manifest.files[MODEL].size_bytes / manifest.files[FLOAT_MODEL].size_bytes


def _mib(path: Path) -> str:
    return f"{path.stat().st_size / 2**20:.2f} MiB"
