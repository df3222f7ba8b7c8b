"""What a sample says about a mean or a share, with its uncertainty. numpy only."""

import math

import numpy as np
from numpy.typing import NDArray

Z95 = 1.959964  # two-sided 95 % of the normal distribution
BLOCKS = 20
T95_19 = 2.093024  # two-sided 95 % of Student's t with BLOCKS - 1 degrees of freedom
MEAN_SAMPLES_MIN = 2 * BLOCKS


def percentile(values: NDArray[np.float64], percent: float) -> float:
    """An observed value that at least `percent` of the sample do not exceed; 0 without a sample."""
    if values.size == 0:
        return 0.0
    return float(np.percentile(values, percent, method="inverted_cdf"))


def interval_of_mean(values: NDArray[np.float64]) -> tuple[float, float]:
    """95 % interval of the mean of a series, by batch means over 20 stretches of time.

    Latencies that follow each other are alike (a stall, a full queue), so the plain standard error
    is too small; the means of long stretches are nearly independent (A. M. Law, *Simulation
    Modeling and Analysis*, section 9.5.3).

    Args:
        values: float64[n] in the order of time, n >= 40.
    """
    means = np.array([part.mean() for part in np.array_split(values, BLOCKS)])
    half = T95_19 * float(means.std(ddof=1)) / math.sqrt(BLOCKS)
    middle = float(values.mean())
    return middle - half, middle + half


def interval_of_share(hits: int, tries: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927), sensible with no hits too.

    Returns:
        Shares from 0 to 1; (0, 1) without a try.
    """
    if tries == 0:
        return 0.0, 1.0
    share = hits / tries
    z2 = Z95 * Z95
    middle = (share + z2 / (2 * tries)) / (1 + z2 / tries)
    half = (
        Z95 * math.sqrt(share * (1 - share) / tries + z2 / (4 * tries * tries)) / (1 + z2 / tries)
    )
    return max(0.0, middle - half), min(1.0, middle + half)


def tries_without_hit(share: float) -> int:
    """How many tries without a hit show that the share is at most `share`."""
    return math.ceil(Z95 * Z95 * (1 - share) / share)
