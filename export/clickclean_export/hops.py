"""What one form of the model answered on the evaluation data, next to the float model's answers."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clickclean_client import ClickCleanError
from clickclean_export.dataset import Dataset
from clickclean_export.errors import ConversionError
from clickclean_export.recipe import Recipe
from clickclean_export.runners import Runner
from clickclean_export.statistics import PairedTest

TORCH, ONNX, INT8, ENGINE, SERVED = "torch", "onnx", "int8 onnx", "cpu engine", "served"
PLAN_INT8, PLAN_FP16, PLAN_FP32 = "int8 plan", "fp16 plan", "fp32 plan"


@dataclass(frozen=True)
class Answers:
    """All outputs of one hop on the evaluation data.

    Attributes:
        outputs: Per output name, one float64 or integer array per batch (free axes may differ).
        predicted: int64[rows], the argmax of the prediction output along its last axis.
        finite: Whether every float output is finite.
    """

    outputs: dict[str, tuple[NDArray[np.generic], ...]]
    predicted: NDArray[np.int64]
    finite: bool


@dataclass(frozen=True)
class ErrorStatistics:
    """Differences of one output from the float model's.

    Attributes:
        max_abs: The absolute tolerance that would have been needed.
        max_rel: The same relative to the largest magnitude of the float output.
        rmse: Root mean square difference.
        p99_abs: 99th percentile of the absolute difference.
    """

    max_abs: float
    max_rel: float
    rmse: float
    p99_abs: float


@dataclass(frozen=True)
class HopResult:
    """One hop in numbers; the gates, the manifest and the report share it.

    Attributes:
        hop: Name in the chain.
        samples: Labelled rows.
        right: Rows answered with their label.
        agreeing: Rows answered as the float model does.
        finite: Whether every float output is finite.
        errors: By output name, against the float model.
        both_right, float_only, candidate_only: The paired table against the float model.
    """

    hop: str
    samples: int
    right: int
    agreeing: int
    finite: bool
    errors: dict[str, ErrorStatistics]
    both_right: int
    float_only: int
    candidate_only: int

    @property
    def accuracy(self) -> float:
        """Share of rows answered with their label, 0..1."""
        return self.right / self.samples

    @property
    def agreement(self) -> float:
        """Share of rows answered as the float model does, 0..1."""
        return self.agreeing / self.samples

    def paired(self, ratio: float) -> PairedTest:
        """Return the test of accuracy >= ratio x float accuracy on these samples."""
        both_wrong = self.samples - self.both_right - self.float_only - self.candidate_only
        return PairedTest(self.both_right, self.float_only, self.candidate_only, both_wrong, ratio)


def answer_all(
    recipe: Recipe,
    hop: str,
    runner: Runner,
    data: Dataset,
    on_batch: Callable[[int, int], None] | None = None,
) -> Answers:
    """Ask ``runner`` for every batch; outputs must have the recipe's names and batch sizes.

    Args:
        recipe: Names of outputs and of the prediction.
        hop: For error messages.
        runner: What answers.
        data: The evaluation data.
        on_batch: Told batches done and in all.

    Raises:
        ConversionError: the runner raised, or an output is missing or has another number of rows
            than its input.
    """
    outputs: dict[str, list[NDArray[np.generic]]] = {t.name: [] for t in recipe.outputs}
    finite = True
    for number, feed in enumerate(data.feeds, start=1):
        rows = len(next(iter(feed.values())))
        try:
            answer = runner.infer(feed)
        except ClickCleanError:
            raise
        except Exception as error:
            raise ConversionError(
                f"hop '{hop}'", f"batch {number} raised {type(error).__name__}: {error}"
            ) from error
        for name, arrays in outputs.items():
            if name not in answer or len(answer[name]) != rows:
                got = f"{len(answer[name])} rows for {rows}" if name in answer else "nothing"
                raise ConversionError(f"hop '{hop}'", f"output '{name}' answered {got}")
            array = np.array(answer[name])
            arrays.append(array)
            if np.issubdtype(array.dtype, np.floating):
                finite = finite and bool(np.isfinite(array).all())
        if on_batch is not None:
            on_batch(number, len(data.feeds))
    predicted = np.concatenate(
        [_argmax_rows(np.asarray(a, dtype=np.float64)) for a in outputs[recipe.prediction]]
    )
    return Answers({n: tuple(a) for n, a in outputs.items()}, predicted, finite)


def compare(hop: str, answers: Answers, reference: Answers, labels: NDArray[np.int64]) -> HopResult:
    """Put one hop's answers next to the labels and the float model's answers."""
    right = answers.predicted == labels
    float_right = reference.predicted == labels
    return HopResult(
        hop=hop,
        samples=len(labels),
        right=int(right.sum()),
        agreeing=int((answers.predicted == reference.predicted).sum()),
        finite=answers.finite,
        errors={
            name: error_statistics(answers.outputs[name], reference.outputs[name])
            for name in reference.outputs
        },
        both_right=int((right & float_right).sum()),
        float_only=int((~right & float_right).sum()),
        candidate_only=int((right & ~float_right).sum()),
    )


def error_statistics(
    got: tuple[NDArray[np.generic], ...], wanted: tuple[NDArray[np.generic], ...]
) -> ErrorStatistics:
    """Compare two lists of equally shaped arrays; infinite where one of them is not finite."""
    ours = np.concatenate([np.asarray(a, dtype=np.float64).ravel() for a in got])
    theirs = np.concatenate([np.asarray(a, dtype=np.float64).ravel() for a in wanted])
    if ours.shape != theirs.shape or not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        return ErrorStatistics(math.inf, math.inf, math.inf, math.inf)
    difference = np.abs(ours - theirs)
    scale = float(np.abs(theirs).max(initial=0.0))
    largest = float(difference.max(initial=0.0))
    return ErrorStatistics(
        max_abs=largest,
        max_rel=largest / scale if scale else (math.inf if largest else 0.0),
        rmse=float(np.sqrt((difference**2).mean())),
        p99_abs=float(np.quantile(difference, 0.99)),
    )


def _argmax_rows(array: NDArray[np.float64]) -> NDArray[np.int64]:
    answers: NDArray[np.int64] = np.nan_to_num(array, nan=-np.inf).argmax(axis=-1)
    return answers
