"""Evidence by betting that one arm's mean exceeds the other's by more than a limit.

I. Waudby-Smith, A. Ramdas, "Estimating means of bounded random variables by betting", Journal of
the Royal Statistical Society B 86 (2024), arXiv 2010.09686. Somebody bets a part of their money on
each difference d in [-1, 1] being above the limit m: capital x (1 + stake (d - m)). If the mean of
d, given the past, never exceeds m, capital cannot be expected to grow, and by Ville's inequality it
reaches 1 / alpha with probability at most alpha, at whatever time somebody looks and however small
the numbers are. Here many stakes are bet side by side, each with the same share of the money, so
that gross and slight excesses are both found.
"""

import numpy as np
from numpy.typing import NDArray

STAKES = np.geomspace(0.002, 0.98, 20)
"""Parts of the largest stake at which capital cannot become negative."""
_BISECTIONS = 30


def pair_up(challenger: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Cut calls into the shortest successive blocks that hold both arms.

    Arms are compared within a block, so within the same moment: what befalls both (a slow
    network, a restart, a ramp of the split) cancels. The cut looks at arms only, never at values.

    Args:
        challenger: bool[calls], in the order of time.

    Returns:
        int64[blocks + 1]: where each block begins, and where the last one ends. Calls after that
        wait for the other arm.
    """
    calls = len(challenger)
    turns = np.flatnonzero(challenger[1:] != challenger[:-1]) + 1
    # Of each call, the next one of the other arm.
    following = np.append(turns, calls)[np.searchsorted(turns, np.arange(calls), side="right")]
    steps = following.tolist()
    edges, start = [0], 0
    while start < calls and (other := steps[start]) < calls:
        start = other + 1
        edges.append(start)
    return np.array(edges, np.int64)


def block_differences(
    value: NDArray[np.float64], challenger: NDArray[np.bool_], edges: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return float64[blocks], the challenger's mean minus the champion's in each block.

    Args:
        value: float64[calls], 0..1.
        challenger: bool[calls].
        edges: Of ``pair_up``.
    """
    if len(edges) == 1:
        return np.empty(0)
    starts, end = edges[:-1], int(edges[-1])
    value, arm = value[:end], challenger[:end].astype(np.float64)
    theirs = np.add.reduceat(arm, starts)
    ours = np.diff(edges) - theirs
    difference: NDArray[np.float64] = (
        np.add.reduceat(value * arm, starts) / theirs
        - np.add.reduceat(value * (1 - arm), starts) / ours
    )
    return difference


def log_capital(difference: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    """Return float64[blocks], the logarithm of the capital after each block.

    Args:
        difference: float64[blocks], -1..1.
        limit: Largest mean that is allowed, -1 < limit < 1.
    """
    total: NDArray[np.float64] = np.full(len(difference), -np.inf)
    for stake in STAKES / (1 + limit):
        total = np.logaddexp(total, np.cumsum(np.log1p(stake * (difference - limit))))
    total -= np.log(len(STAKES))
    return total


def at_least(difference: NDArray[np.float64], alpha: float) -> float:
    """Return the lower end of the one-sided confidence sequence for the mean difference.

    The largest limit whose bet has reached 1 / alpha by the last block; -1 when none has.
    """
    values, counts = np.unique(difference, return_counts=True)
    low, high = -1.0, 1.0
    for _ in range(_BISECTIONS):
        limit = (low + high) / 2
        if _log_capital_at_end(values, counts, limit) >= -np.log(alpha):
            low = limit
        else:
            high = limit
    return low


def exceeds(difference: NDArray[np.float64], limit: float, alpha: float) -> bool:
    """Tell whether the mean difference is above ``limit`` for sure, by the last block."""
    values, counts = np.unique(difference, return_counts=True)
    return _log_capital_at_end(values, counts, limit) >= -float(np.log(alpha))


def _log_capital_at_end(
    values: NDArray[np.float64], counts: NDArray[np.int64], limit: float
) -> float:
    """Do as the last element of ``log_capital``; the order of differences does not matter."""
    stakes = STAKES[:, None] / (1 + limit)
    each = np.log1p(stakes * (values - limit)) @ counts
    return float(np.logaddexp.reduce(each) - np.log(len(STAKES)))
