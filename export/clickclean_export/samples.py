"""What a version carries of its evaluation data: golden rows, and the rows it misread."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clickclean_client import Golden
from clickclean_export.dataset import Array, Dataset, Feed, LabelledDataset
from clickclean_export.hops import Answers, HopResult
from clickclean_export.manifest import GOLDEN, MISREAD
from clickclean_export.recipe import Recipe

GOLDEN_ROWS = 64
MISREAD_ROWS = 24


def write_golden(
    directory: Path, recipe: Recipe, data: LabelledDataset, answers: Answers, result: HopResult
) -> None:
    """Write the first rows with the CPU engine's answers as ``golden.npz``.

    A served answer must be nearer to the engine's than INT8 is to float: the tolerance of each
    output is the largest difference that the hop showed. Where INT8 does not touch an output, that
    is next to nothing, and other batch sizes and CPUs round otherwise; there the recipe's
    ``gates.float_tolerance`` holds, in relation to the largest value.

    Args:
        directory: The version's folder.
        recipe: Names the prediction output and the tolerance of float arithmetic.
        data: The evaluation data.
        answers: What the CPU engine answered.
        result: That hop in numbers.
    """
    feeds = _leading_feeds(data)
    outputs = {
        name: np.concatenate(arrays[: len(feeds)])[:GOLDEN_ROWS]
        for name, arrays in answers.outputs.items()
    }
    inputs = {
        name: np.concatenate([feed[name] for feed in feeds])[:GOLDEN_ROWS] for name in feeds[0]
    }
    Golden(
        inputs=inputs,
        outputs=outputs,
        tolerance={
            name: max(result.errors[name].max_abs, _rounding(array, recipe.gates.float_tolerance))
            for name, array in outputs.items()
        },
        labels=data.labels[: len(outputs[recipe.prediction])],
        prediction=recipe.prediction,
    ).save(directory / GOLDEN)


def write_misread(directory: Path, data: LabelledDataset, predicted: NDArray[np.int64]) -> None:
    """Write the first misread rows as ``misread.npz``: row, label, predicted, ``input.<name>``.

    Inputs whose free axes differ between batches cannot be one array, and are left out.

    Args:
        directory: The version's folder.
        data: The evaluation data.
        predicted: int64[rows], the answers.
    """
    wrong = np.flatnonzero(predicted != data.labels)[:MISREAD_ROWS]
    inputs = {
        f"input.{name}": np.concatenate([feed[name] for feed in data.feeds])[wrong]
        for name in data.feeds[0]
        if len({feed[name].shape[1:] for feed in data.feeds}) == 1
    }
    np.savez(
        directory / MISREAD,
        row=wrong,
        label=data.labels[wrong],
        predicted=predicted[wrong],
        **inputs,
    )


def one_row_and_full(data: Dataset) -> list[Feed]:
    """Return the smallest and the usual batch, to be timed."""
    full = data.feeds[0]
    one = {name: array[:1] for name, array in full.items()}
    return [one] if _rows(full) == 1 else [one, full]


def _rounding(array: Array, relative: float) -> float:
    """Return what float arithmetic may differ by; integers do not round."""
    if not np.issubdtype(array.dtype, np.floating):
        return 0.0
    return relative * float(np.abs(array).max(initial=0.0))


def _leading_feeds(data: Dataset) -> tuple[Feed, ...]:
    """Return the first batches that can be joined: free axes may differ between batches."""
    count = rows = 0
    for feed in data.feeds:
        if rows >= GOLDEN_ROWS or _trailing(feed) != _trailing(data.feeds[0]):
            break
        rows += _rows(feed)
        count += 1
    return data.feeds[:count]


def _trailing(feed: Feed) -> dict[str, tuple[int, ...]]:
    return {name: array.shape[1:] for name, array in feed.items()}


def _rows(feed: Feed) -> int:
    first: Array = next(iter(feed.values()))
    return len(first)
