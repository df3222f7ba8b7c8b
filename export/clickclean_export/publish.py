"""The main job: a recipe becomes an immutable, proven version, or nothing at all.

checkpoint -> fp32.onnx -> INT8 model.onnx -> CPU engine -> live server, gated after every arrow.
Everything happens in a staging folder; the version appears by one rename at the very end.
"""

import os
import platform
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Protocol

import numpy as np

from clickclean_client import Golden
from clickclean_export.dataset import (
    Array,
    Dataset,
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
    GOLDEN,
    MISREAD,
    MODEL,
    DataRecord,
    Manifest,
    file_record,
    write_manifest,
)
from clickclean_export.onnx_from_torch import export_onnx
from clickclean_export.quantize import quantize_onnx
from clickclean_export.recipe import Recipe, load_recipe
from clickclean_export.repository import CPU_CONFIG, GPU_CONFIG, Repository, replace_text
from clickclean_export.runners import (
    OnnxRuntimeRunner,
    OpenVinoRunner,
    Runner,
    ServedRunner,
    TorchRunner,
)
from clickclean_export.speed import compare_speed
from clickclean_export.torch_model import load_module
from clickclean_export.triton_config import TritonConfig

Serve = Callable[[Path, str], AbstractContextManager[str]]
"""Start a real server on a repository for one model; yields its gRPC endpoint "host:port"."""

_GOLDEN_ROWS = 64
_MISREAD_ROWS = 24
_TOOLS = (
    "clickclean",
    "numpy",
    "nvidia-modelopt",
    "nvidia-pytriton",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "openvino",
    "torch",
    "tritonclient",
)


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
        self._write_samples(evaluation, answers)

        self._progress.begin("compare INT8 and float speed")
        speed = tuple(
            compare_speed(float_onnx, int8_onnx, feed, threads=recipe.serving.threads)
            for feed in _one_row_and_full(evaluation)
        )
        self._progress.end(", ".join(f"{s.ratio:.2f} x float at batch {s.batch}" for s in speed))

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
            tools=_tools(),
            machine=_machine(),
        )
        return self._add(manifest)

    def _gate(self, hop: str, runner: Runner, evaluation: Dataset) -> Answers:
        self._progress.begin(f"gate: {hop}")
        answers = answer_all(self._recipe, hop, runner, evaluation)
        if self._float is None:
            self._float = answers
        labels = evaluation.labels
        if labels is None:
            raise AssertionError("evaluation data is always labelled")
        gated = judge(compare(hop, answers, self._float, labels), self._recipe.gates)
        self._hops.append(gated)
        result = gated.result
        self._progress.end(
            f"{gated.outcome}: accuracy {result.accuracy:.2%}, agreement {result.agreement:.2%}"
        )
        enforce(gated, self._recipe.gates)
        return answers

    def _gate_served(self, serve: Serve, evaluation: Dataset) -> None:
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

    def _write_samples(self, evaluation: Dataset, answers: Answers) -> None:
        """Write golden rows with the CPU engine's answers, and the rows it misread."""
        labels = evaluation.labels
        if labels is None:
            raise AssertionError("evaluation data is always labelled")
        inputs = _same_shape_rows(evaluation, _GOLDEN_ROWS)
        rows = len(next(iter(inputs.values())))
        engine = self._hops[-1].result
        Golden(
            inputs=inputs,
            outputs={
                name: np.concatenate(arrays[: _feeds_for(evaluation, rows)])[:rows]
                for name, arrays in answers.outputs.items()
            },
            # A served answer must be nearer to this one than INT8 is to float.
            tolerance={name: errors.max_abs for name, errors in engine.errors.items()},
            labels=labels[:rows],
            prediction=self._recipe.prediction,
        ).save(self._version_dir / GOLDEN)
        wrong = np.flatnonzero(answers.predicted != labels)[:_MISREAD_ROWS]
        np.savez(
            self._version_dir / MISREAD,
            row=wrong,
            label=labels[wrong],
            predicted=answers.predicted[wrong],
            **{
                f"input.{name}": np.stack([_row(evaluation, name, int(i)) for i in wrong])
                for name in evaluation.feeds[0]
                if _same_trailing_shape(evaluation, name) and len(wrong)
            },
        )

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


def config_texts(recipe: Recipe, promoted: int) -> dict[Path, str]:
    """Return both fleets' configs for one promoted version, by path in the model's folder."""
    return {
        GPU_CONFIG: TritonConfig.from_recipe(recipe, "gpu", (promoted,)).to_text(),
        CPU_CONFIG: TritonConfig.from_recipe(recipe, "cpu", (promoted,)).to_text(),
    }


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


def _one_row_and_full(data: Dataset) -> list[dict[str, Array]]:
    full = data.feeds[0]
    one = {name: array[:1] for name, array in full.items()}
    return [one] if len(next(iter(full.values()))) == 1 else [one, dict(full)]


def _same_shape_rows(data: Dataset, rows: int) -> dict[str, Array]:
    """Return the first rows that can be one array: free axes may differ between batches."""
    feeds = data.feeds[: _feeds_for(data, rows)]
    return {name: np.concatenate([feed[name] for feed in feeds])[:rows] for name in data.feeds[0]}


def _feeds_for(data: Dataset, rows: int) -> int:
    first = {name: array.shape[1:] for name, array in data.feeds[0].items()}
    count = taken = 0
    for feed in data.feeds:
        if taken >= rows or {name: a.shape[1:] for name, a in feed.items()} != first:
            break
        taken += len(next(iter(feed.values())))
        count += 1
    return count


def _same_trailing_shape(data: Dataset, name: str) -> bool:
    return len({feed[name].shape[1:] for feed in data.feeds}) == 1


def _row(data: Dataset, name: str, row: int) -> Array:
    for feed in data.feeds:
        if row < len(feed[name]):
            found: Array = feed[name][row]
            return found
        row -= len(feed[name])
    raise IndexError(row)


def _mib(path: Path) -> str:
    return f"{path.stat().st_size / 2**20:.2f} MiB"


def _tools() -> dict[str, str]:
    found = {}
    for name in _TOOLS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return {**found, "python": platform.python_version()}


def _machine() -> dict[str, str]:
    model = ""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        model = platform.processor()
    return {"cpu": model, "cores": str(os.cpu_count()), "system": platform.platform()}
