"""Compare one output with the expected one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class GoldenCheck:
    """The result of a comparison.

    `output` is the output that decided: one that is unusable, else the one with the largest
    difference in relation to its tolerance. `worst` is its largest absolute difference (inf
    where it cannot be compared, and for differing bytes), `tolerance` the allowed one.
    `reason` is one sentence, "" when ok.
    """

    ok: bool
    output: str
    worst: float
    tolerance: float
    reason: str


def compare_output(
    name: str, expected: NDArray[Any], got: NDArray[Any] | None, tolerance: float
) -> GoldenCheck:
    """Compare by absolute difference; bytes and infinities must be equal, NaN never is."""
    worst, reason = _difference(expected, got)
    if not reason and worst > tolerance:
        reason = f"is off by {worst:.6g}, allowed is {tolerance:.6g}"
    sentence = f"The output {name!r} {reason}." if reason else ""
    return GoldenCheck(not reason, name, worst, tolerance, sentence)


def severity(check: GoldenCheck) -> tuple[bool, float]:
    """A key that sorts the check that decides to the end."""
    return not check.ok, check.worst / check.tolerance if check.tolerance else check.worst


def byte_items(array: NDArray[Any]) -> list[bytes]:
    """The elements of a BYTES tensor in C order, `str` as UTF-8."""
    return [
        item.encode() if isinstance(item, str) else bytes(item) for item in array.ravel().tolist()
    ]


def _difference(expected: NDArray[Any], got: NDArray[Any] | None) -> tuple[float, str]:
    """The largest absolute difference, or inf and the reason why there is none."""
    if got is None:
        return np.inf, "is missing"
    if got.shape != expected.shape:
        return np.inf, f"has the shape {list(got.shape)}, not {list(expected.shape)}"
    if expected.dtype.kind in "OSU" and got.dtype.kind in "OSU":
        same = byte_items(got) == byte_items(expected)
        return (0.0, "") if same else (np.inf, "holds other bytes than expected")
    if got.dtype != expected.dtype:
        return np.inf, f"is {got.dtype}, not {expected.dtype}"
    with np.errstate(invalid="ignore"):  # inf - inf is NaN, but equal elements are left out
        gap = np.abs(got.astype(np.float64) - expected.astype(np.float64))
    # Large integers may differ by less than a float64 shows, so unequal is never quite 0.
    gap = np.where(got == expected, 0.0, np.maximum(gap, np.finfo(np.float64).tiny))
    if np.isnan(gap).any():
        return np.inf, "holds NaN"
    return float(gap.max(initial=0.0)), ""
