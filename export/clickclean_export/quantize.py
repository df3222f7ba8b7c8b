"""Hop 2: explicit symmetric INT8 Q/DQ, calibrated on real batches, the best method by measurement.

The choice between methods looks at the calibration data alone: how well each candidate reproduces
the float model's outputs there. The evaluation data stays unseen until the gates, so their numbers
are not flattered by the choice.
"""

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickclean_export.dataset import Dataset
from clickclean_export.engine.lint import lint
from clickclean_export.errors import ConversionError, MissingExtraError
from clickclean_export.recipe import Recipe
from clickclean_export.runners import OnnxRuntimeRunner, OpenVinoRunner, Runner
from clickclean_export.worker_process import WorkerDied, run_worker

_STEP = "INT8 quantisation"
_TIMEOUT_S = 1800.0


@dataclass(frozen=True)
class Candidate:
    """One method's result, measured against the float model on the calibration data.

    Attributes:
        method: Calibration method of ModelOpt: "max" or "entropy".
        agreement: Share of rows whose answer equals the float model's, 0..1.
        rmse: Root mean square error of the prediction output.
        size_bytes: Of the ONNX file.
    """

    method: str
    agreement: float
    rmse: float
    size_bytes: int


@dataclass(frozen=True)
class Quantized:
    """What was chosen and from what.

    Attributes:
        method: The chosen calibration method.
        candidates: All that were measured, in the recipe's order.
        quantized_ops: Number of operators by type that compute on INT8.
        float_ops: Names of compute operators left in float.
    """

    method: str
    candidates: tuple[Candidate, ...]
    quantized_ops: dict[str, int]
    float_ops: tuple[str, ...]


def quantize_onnx(
    recipe: Recipe, source: Path, calibration: Dataset, target: Path, work: Path
) -> Quantized:
    """Quantise ``source`` with every method of the recipe and keep the best as ``target``.

    Args:
        recipe: Methods, inputs, prediction output.
        source: Float ONNX; never changed (the quantiser works on a copy).
        calibration: Real batches.
        target: Written at the end.
        work: Folder for candidates and the quantiser's log.

    Raises:
        ConversionError: the quantiser failed, quantised nothing, or wrote something that is not
            symmetric INT8.
    """
    feeds = work / "calibration.npz"
    np.savez(feeds, **_flat(calibration))
    reference = _answers(OnnxRuntimeRunner(source), calibration, recipe.prediction)
    paths = {method: work / f"int8-{method}.onnx" for method in recipe.quantize.methods}
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        jobs = [
            pool.submit(_run_worker, source, feeds, method, path, work)
            for method, path in paths.items()
        ]
        for job in jobs:
            job.result()
    found: list[tuple[Candidate, Path]] = []
    for method, path in paths.items():
        runner = OpenVinoRunner(path, threads=recipe.serving.threads)
        answers = _answers(runner, calibration, recipe.prediction)
        found.append((_measure(method, reference, answers, path), path))
    # More equal answers first, then the smaller error; the recipe's order breaks a tie.
    best, path = min(found, key=lambda pair: (-pair[0].agreement, pair[0].rmse))
    quantized_ops, float_ops = inspect_qdq(path)
    path.replace(target)
    return Quantized(best.method, tuple(c for c, _ in found), quantized_ops, float_ops)


def inspect_qdq(path: Path) -> tuple[dict[str, int], tuple[str, ...]]:
    """Verify that TensorRT takes a file's Q/DQ; count what computes on it and what does not.

    Returns:
        Number of quantised operators by type, and the names of those left in float.

    Raises:
        ConversionError: nothing is quantised, or a Q/DQ is unsigned or asymmetric.
    """
    import onnx

    findings = [finding for finding in lint(path) if finding.code not in _NOT_QUANTISATION]
    if findings:
        raise ConversionError(_STEP, findings[0].sentence, hint=findings[0].remedy)
    graph = onnx.load(path).graph
    producer = {name: node for node in graph.node for name in node.output}
    counts: Counter[str] = Counter()
    left: list[str] = []
    for node in graph.node:
        if node.op_type not in _COMPUTE:
            continue
        data = [producer.get(name) for name in node.input[:2] if name]
        if data and all(p is not None and p.op_type == "DequantizeLinear" for p in data):
            counts[node.op_type] += 1
        else:
            left.append(node.name or f"{node.op_type} {node.output[0]}")
    if not counts:
        raise ConversionError(
            _STEP,
            f"no operator computes on INT8; left in float: {', '.join(left[:5]) or 'none known'}",
            hint="INT8 pays for convolutions and matrix products; this model has none quantised",
        )
    return dict(sorted(counts.items())), tuple(left)


# What TensorRT refuses for other reasons is said by the engine check, where it is installed.
_NOT_QUANTISATION = frozenset({"input-without-shape", "unsupported-type"})
_COMPUTE = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", "LSTM", "GRU", "RNN"})


def _measure(method: str, wanted: NDArray[Any], got: NDArray[Any], path: Path) -> Candidate:
    same = wanted.argmax(axis=-1) == got.argmax(axis=-1)
    error = np.asarray(got - wanted, dtype=np.float64)
    return Candidate(
        method,
        agreement=float(same.mean()),
        rmse=float(np.sqrt((error**2).mean())),
        size_bytes=path.stat().st_size,
    )


def _answers(runner: Runner, data: Dataset, prediction: str) -> NDArray[Any]:
    rows = [
        np.asarray(runner.infer(feed)[prediction]).reshape(len(next(iter(feed.values()))), -1)
        for feed in data.feeds
    ]
    return np.concatenate(rows)


def _flat(data: Dataset) -> dict[str, Any]:
    """Number the batches: free axes may differ between them, so they cannot be one array."""
    return {
        f"{number:06d}.{name}": array
        for number, feed in enumerate(data.feeds)
        for name, array in feed.items()
    }


def _run_worker(source: Path, feeds: Path, method: str, target: Path, work: Path) -> None:
    job = {
        "source": str(source),
        "feeds": str(feeds),
        "method": method,
        "target": str(target),
        "work": str(work),
    }
    log = work / f"modelopt-{method}.log"
    try:
        run_worker("clickclean_export.quantize_worker", job, log=log, timeout_s=_TIMEOUT_S)
    except WorkerDied as death:
        if "ModuleNotFoundError" in death.last_line:
            raise MissingExtraError(death.last_line.rsplit("'", 2)[-2]) from None
        raise ConversionError(f"{_STEP} (method '{method}')", death.last_line[:300]) from None
