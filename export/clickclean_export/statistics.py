"""How sure a gate can be: intervals for proportions and a paired test.

All bounds are one-sided at 95 %, because a gate asks one question: is it good enough?
"""

import math
from dataclasses import dataclass

CONFIDENCE = 0.95


def lower_bound(successes: int, trials: int) -> float:
    """Return the one-sided exact lower bound of a proportion.

    C. J. Clopper, E. S. Pearson, "The use of confidence or fiducial limits illustrated in the case
    of the binomial", Biometrika 26 (1934), 404-413.

    Args:
        successes: 0..trials.
        trials: At least 1.
    """
    from scipy.stats import beta

    if successes == 0:
        return 0.0
    return float(beta.ppf(1 - CONFIDENCE, successes, trials - successes + 1))


def trials_needed(proportion: float, threshold: float, *, at_most: int = 10_000_000) -> int | None:
    """Return how many trials make ``lower_bound`` reach ``threshold``, the proportion holding.

    Returns:
        The number of trials, or None when the proportion is not above the threshold or the
        number exceeds ``at_most``.
    """
    if proportion <= threshold:
        return None
    low, high = 1, 1
    while lower_bound(math.floor(proportion * high), high) < threshold:
        low, high = high, high * 2
        if high > at_most:
            return None
    while low < high:
        middle = (low + high) // 2
        if lower_bound(math.floor(proportion * middle), middle) >= threshold:
            high = middle
        else:
            low = middle + 1
    return high


@dataclass(frozen=True)
class PairedTest:
    """Two models on the same samples: is the candidate's accuracy at least ratio x reference's?

    Attributes:
        both_right, reference_only, candidate_only, both_wrong: Numbers of samples.
        ratio: The smallest acceptable ratio of accuracies.
        z: Score statistic; large speaks for the candidate. -inf when nothing is right.
    """

    both_right: int
    reference_only: int
    candidate_only: int
    both_wrong: int
    ratio: float

    @property
    def samples(self) -> int:
        """Number of pairs."""
        return self.both_right + self.reference_only + self.candidate_only + self.both_wrong

    @property
    def observed_ratio(self) -> float:
        """Accuracy of the candidate as a share of the reference's; NaN if that is 0."""
        reference = self.both_right + self.reference_only
        return (self.both_right + self.candidate_only) / reference if reference else math.nan

    @property
    def z(self) -> float:
        """Score statistic of the ratio of two paired proportions.

        J.-M. Nam, W. C. Blackwelder, "Analysis of the ratio of marginal probabilities in a
        matched-pair setting", Statistics in Medicine 21 (2002), 689-699; the restricted estimate
        in closed form after N.-S. Tang, M.-L. Tang, I. S. F. Chan, "On tests of equivalence via
        non-unity relative risk for matched-pair design", Statistics in Medicine 22 (2003),
        1217-1233.
        """
        n, theta = self.samples, self.ratio
        a, lost, won = self.both_right, self.reference_only, self.candidate_only
        if a + lost + won == 0:
            return -math.inf
        quadratic = n * (1 + theta)
        linear = (a + lost) * theta**2 - (a + won + 2 * lost)
        constant = lost * (1 - theta) * (a + lost + won) / n
        root = math.sqrt(max(0.0, linear**2 - 4 * quadratic * constant))
        lost_under_null = (-linear + root) / (2 * quadratic)
        variance = n * (1 + theta) * lost_under_null + (a + lost + won) * (theta - 1)
        difference = (a + won) - theta * (a + lost)
        if variance <= 0:
            return math.copysign(math.inf, difference) if difference else 0.0
        return difference / math.sqrt(variance)

    @property
    def proven(self) -> bool:
        """Whether the data show, at 95 %, that the ratio is reached."""
        return self.z >= _critical()

    @property
    def samples_needed(self) -> int | None:
        """How many samples would prove it if these proportions held; None if they never would."""
        if not math.isfinite(self.z) or self.z <= 0:
            return None
        return math.ceil(self.samples * (_critical() / self.z) ** 2)


def _critical() -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(CONFIDENCE)
