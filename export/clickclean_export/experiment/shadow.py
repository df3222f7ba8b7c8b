"""What mirrored calls say: they never answer, so they are counted and compared, not tested."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clickclean_export.experiment.log_reader import Shadows


@dataclass(frozen=True)
class Latency:
    """Quantiles in milliseconds; NaN without calls."""

    p50_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(frozen=True)
class ShadowSummary:
    """Mirrored calls in numbers.

    Attributes:
        mirrored: Calls.
        errors: Those that the challenger did not answer.
        agreed: Those with the same answer.
        agreement: Share of the answered calls that agreed, 0..1; NaN without any.
        max_difference: Largest difference of an output; NaN without any.
        champion: Latency in the same calls.
        challenger: Latency where it answered.
    """

    mirrored: int
    errors: int
    agreed: int
    agreement: float
    max_difference: float
    champion: Latency
    challenger: Latency


def summary_of(shadows: Shadows) -> ShadowSummary:
    """Count mirrored calls."""
    answered = ~shadows.error
    agreed = int((shadows.agree & answered).sum())
    differences = shadows.max_difference[answered]
    differences = differences[~np.isnan(differences)]
    return ShadowSummary(
        mirrored=len(shadows),
        errors=int(shadows.error.sum()),
        agreed=agreed,
        agreement=agreed / int(answered.sum()) if answered.any() else math.nan,
        max_difference=float(differences.max()) if len(differences) else math.nan,
        champion=latency_of(shadows.champion_ms),
        challenger=latency_of(shadows.challenger_ms[answered]),
    )


def latency_of(latency_ms: NDArray[np.float64]) -> Latency:
    """Return the quantiles of the finite latencies."""
    finite = latency_ms[np.isfinite(latency_ms)]
    if not len(finite):
        return Latency(math.nan, math.nan, math.nan)
    p50, p95, p99 = np.quantile(finite, (0.5, 0.95, 0.99))
    return Latency(float(p50), float(p95), float(p99))
