"""The same UCI digits as lists of inked pixels: as many tokens as a digit has ink."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

PAD = 64


def rows(part: slice) -> tuple[list[NDArray[np.int64]], NDArray[np.float32], NDArray[np.int64]]:
    """Return token lists, numbers float32[n, 4] (ink per quadrant, 0..1) and labels."""
    digits = load_digits()
    order = np.random.default_rng(11).permutation(len(digits.target))[part]
    images = digits.images[order] / 16.0
    tokens = [np.flatnonzero(image.ravel() > 0.4).astype(np.int64) for image in images]
    quadrants = images.reshape(-1, 2, 4, 2, 4).mean(axis=(2, 4)).reshape(-1, 4)
    return tokens, quadrants.astype(np.float32), digits.target[order].astype(np.int64)


def batches(part: slice, size: int) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield batches padded to their own longest row, so that the length differs between them."""
    tokens, numbers, labels = rows(part)
    for start in range(0, len(tokens), size):
        chosen = tokens[start : start + size]
        padded = np.full((len(chosen), max(map(len, chosen))), PAD, dtype=np.int64)
        for row, items in enumerate(chosen):
            padded[row, : len(items)] = items
        stop = start + len(chosen)
        yield {"tokens": padded, "numbers": numbers[start:stop], "label": labels[start:stop]}


def calibration() -> Iterator[dict[str, NDArray[Any]]]:
    """Yield 300 rows; the labels that come along are ignored."""
    return batches(slice(997, 1297), 20)


def evaluation() -> Iterator[dict[str, NDArray[Any]]]:
    """Yield 500 held-out rows."""
    return batches(slice(1297, None), 20)
