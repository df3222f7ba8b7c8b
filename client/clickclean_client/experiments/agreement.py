"""How far two versions' answers to the same request are apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_RELATIVE = 1e-2
_ABSOLUTE = 1e-3

Outputs = Mapping[str, NDArray[Any]]


def agreement(champion: Outputs, challenger: Outputs, deciding: str) -> tuple[bool, float]:
    """Whether the deciding output says the same, and the largest difference in any output.

    Scores (floats of at least two axes, the last longer than 1) agree when each row has the same
    argmax over the last axis. Other floats have no argmax and agree within 1 % or 0.001. Anything
    else must be equal. The difference is the largest absolute one; inf where outputs cannot be
    subtracted: they are missing, differ in shape, in bytes, or in where NaN stands.
    """
    worst = max(_difference(array, challenger.get(name)) for name, array in champion.items())
    return _agree(champion[deciding], challenger.get(deciding)), worst


def _agree(one: NDArray[Any], other: NDArray[Any] | None) -> bool:
    if other is None or one.shape != other.shape:
        return False
    if one.dtype.kind != "f":
        return bool(np.array_equal(one, other))
    if one.ndim > 1 and one.shape[-1] > 1:
        return bool(np.array_equal(one.argmax(axis=-1), other.argmax(axis=-1)))
    return bool(np.allclose(one, other, rtol=_RELATIVE, atol=_ABSOLUTE, equal_nan=True))


def _difference(one: NDArray[Any], other: NDArray[Any] | None) -> float:
    if other is None or one.shape != other.shape:
        return np.inf
    if one.dtype.kind == "O" or other.dtype.kind == "O":
        return 0.0 if np.array_equal(one, other) else np.inf
    left, right = one.astype(np.float64), other.astype(np.float64)
    with np.errstate(invalid="ignore"):  # inf - inf is NaN, but equal elements are left out
        gap = np.abs(left - right)
    gap[(left == right) | (np.isnan(left) & np.isnan(right))] = 0.0
    worst = float(gap.max(initial=0.0))
    return np.inf if np.isnan(worst) else worst
