"""The UCI handwritten digits that scikit-learn ships, in three fixed, disjoint parts.

1797 real images of 8 by 8 pixels (E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten
Digits", UCI Machine Learning Repository, 1998, https://doi.org/10.24432/C50P49): 797 to train,
500 to calibrate INT8, 500 held out to evaluate. A calibration or evaluation source is a function
that yields batches: a dictionary with one array per model input, and the labels where they are
known.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

Batch = dict[str, NDArray[np.generic]]

_SPLIT_SEED = 20_260
_TRAIN, _CALIBRATION = 797, 500


def train() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the training images float32[797, 1, 8, 8] in 0..1 and labels int64[797]."""
    return _rows(slice(0, _TRAIN))


def calibration(batch: int = 50) -> Iterator[Batch]:
    """Yield the 500 calibration images as ``image`` float32[batch, 1, 8, 8], without labels."""
    images, _ = _rows(slice(_TRAIN, _TRAIN + _CALIBRATION))
    for start in range(0, len(images), batch):
        yield {"image": images[start : start + batch]}


def evaluation(batch: int = 50) -> Iterator[Batch]:
    """Yield the 500 held-out images as ``image`` and their digits as ``label`` int64[batch]."""
    images, labels = _rows(slice(_TRAIN + _CALIBRATION, None))
    for start in range(0, len(images), batch):
        yield {"image": images[start : start + batch], "label": labels[start : start + batch]}


def _rows(part: slice) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    digits = load_digits()
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(digits.target))[part]
    images = (digits.images[order] / 16.0).astype(np.float32)[:, np.newaxis]
    return images, digits.target[order].astype(np.int64)
