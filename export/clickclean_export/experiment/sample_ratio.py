"""Does each arm get the share of keys that it should? If not, nothing else can be believed.

A mismatch means that keys are lost on one side: an arm that crashes before it logs, a client with
an old salt, a filter that knows the arm. Two answers are given. Pearson's chi-square test, which
people expect, holds for one look at a time chosen before. The alarm holds at every look: M. Lindon,
A. Malek, "Anytime-Valid Inference For Multinomial Count Data", NeurIPS 2022, arXiv 2011.03567,
whose Bayes factor of a Dirichlet alternative against the wanted share theta is, for two arms,

    B(a + n1, b + n0) / (B(a, b) theta^n1 (1 - theta)^n0),   a = k theta, b = k (1 - theta)

A keyed hash deals each new key independently of the past, so under the wanted share the factor is
a martingale. Every epoch gets its own; the alarm weighs the k-th epoch with 1 / (k (k + 1)), and
those weights add up to 1, so any number of ramps shares one alpha.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clickclean_export.experiment.plan import SplitChange

CONCENTRATION = 1_000.0
"""k: the alternative expects a share some 1.6 points off at 50 %; small ones are found best."""


@dataclass(frozen=True)
class EpochShare:
    """Keys first seen in one epoch.

    Attributes:
        percent: What the split said.
        champion: Keys.
        challenger: Keys.
    """

    percent: float
    champion: int
    challenger: int

    @property
    def observed_percent(self) -> float:
        """Share of the challenger in percent; NaN without keys."""
        keys = self.champion + self.challenger
        return 100 * self.challenger / keys if keys else math.nan


@dataclass(frozen=True, eq=False)
class SampleRatio:
    """What the counts of keys say.

    Attributes:
        epochs: In order; those of 0 % or 100 % are shown, not tested.
        chi_square: Summed over the tested epochs.
        chi_square_p: For one look; 1 when nothing was tested.
        alpha: Of the alarm.
        p_value: Always valid.
        alarm: Whether it fell to ``alpha`` at any time.
        alarm_row: Row of the key that rang it, None if it did not.
        log_evidence: float64[keys], after each key in the order of first calls.
    """

    epochs: tuple[EpochShare, ...]
    chi_square: float
    chi_square_p: float
    alpha: float
    p_value: float
    alarm: bool
    alarm_row: int | None
    log_evidence: NDArray[np.float64]


def log_bayes_factor(
    challenger: NDArray[np.int64], champion: NDArray[np.int64], share: float
) -> NDArray[np.float64]:
    """Return the logarithm of the Bayes factor against ``share`` for running counts.

    Args:
        challenger: int64[...], keys.
        champion: int64[...], keys.
        share: Wanted share of the challenger, above 0 and below 1.
    """
    from scipy.special import betaln

    a, b = CONCENTRATION * share, CONCENTRATION * (1 - share)
    factor: NDArray[np.float64] = (
        betaln(a + challenger, b + champion)
        - betaln(a, b)
        - challenger * math.log(share)
        - champion * math.log1p(-share)
    )
    return factor


def check_sample_ratio(
    challenger: NDArray[np.bool_],
    epoch: NDArray[np.int64],
    changes: Sequence[SplitChange],
    *,
    alpha: float,
) -> SampleRatio:
    """Compare the keys of each arm with the split.

    Args:
        challenger: bool[keys], arm at the first call, in the order of first calls.
        epoch: int64[keys], 0..epochs-1.
        changes: The epochs.
        alpha: Largest probability of a false alarm, over all time.
    """
    from scipy.stats import chi2

    shares: list[EpochShare] = []
    chi_square, tested = 0.0, 0
    evidence = np.zeros(len(challenger))
    unspent = 1.0
    for number, change in enumerate(changes):
        member = epoch == number
        n1 = int((member & challenger).sum())
        n0 = int(member.sum()) - n1
        shares.append(EpochShare(change.percent, n0, n1))
        if n1 + n0 == 0 or not 0 < change.share < 1:
            continue
        tested += 1
        wanted = (n1 + n0) * change.share
        chi_square += (n1 - wanted) ** 2 / wanted + (n1 - wanted) ** 2 / (n1 + n0 - wanted)
        weight = 1 / (tested * (tested + 1))
        unspent -= weight
        factor = log_bayes_factor(
            np.cumsum(member & challenger), np.cumsum(member & ~challenger), change.share
        )
        evidence += weight * np.exp(np.minimum(factor, 600.0))
    log_evidence = np.log(evidence + unspent)
    most = float(log_evidence.max(initial=0.0))
    reached = np.flatnonzero(log_evidence >= -math.log(alpha))
    return SampleRatio(
        tuple(shares),
        chi_square,
        float(chi2.sf(chi_square, tested)) if tested else 1.0,
        alpha,
        math.exp(-most),
        bool(len(reached)),
        int(reached[0]) if len(reached) else None,
        log_evidence,
    )
