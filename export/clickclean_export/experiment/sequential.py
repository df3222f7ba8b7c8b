"""The difference of two means, with an interval that holds at every look.

The interval is the asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and
Ramdas, "Time-uniform central limit theory and asymptotic confidence sequences", Annals of
Statistics 52 (2024), arXiv 2103.06476, theorem 2.2; the p-value is its mixture likelihood ratio,
which is the mSPRT of Johari, Koomen, Pekelis and Walsh, "Always valid inference", Operations
Research 70 (2022), arXiv 1512.04922.

Two arms of unequal size, within one epoch: with n1 and n0 units let t = n1 n0 / (n1 + n0), the
effective number of units, and D the difference of means. t D grows like a Brownian motion with
variance s^2 t and drift (true difference) t, whatever the order in which the arms grow, because
Cov(D_i, D_j) = Var(D_j) for i < j. Epochs add: M = sum t_e D_e, t = sum t_e (weights of Cochran,
Mantel and Haenszel, which do not depend on the outcomes), D = M / t and
s^2 = sum t_e^2 (v1_e / n1_e + v0_e / n0_e) / t. A normal mixture with variance 1 / r gives

    interval: D +- s sqrt((t + r) (ln((t + r) / r) + 2 ln(1 / alpha))) / t
    p:        sqrt((t + r) / r) exp(-(D^2 t / s^2) t / (2 (t + r))), its running minimum
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clickclean_export.experiment.errors import PlanError

EPOCH_UNITS_MIN = 20
"""Units of each arm before an epoch takes part; a variance of fewer is worth nothing."""


@dataclass(frozen=True, eq=False)
class Sequence:
    """The difference challenger minus champion after each unit; all arrays are [units].

    Attributes:
        champion_units: int64, units of epochs that take part.
        challenger_units: int64.
        effective_units: float64.
        difference: float64, NaN as long as no epoch takes part.
        low: float64, end of the interval; -inf as long as nothing can be said.
        high: float64.
        p_value: float64, always valid: running minimum; 1 as long as nothing can be said.
    """

    champion_units: NDArray[np.int64]
    challenger_units: NDArray[np.int64]
    effective_units: NDArray[np.float64]
    difference: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    p_value: NDArray[np.float64]

    def crossing(self, alpha: float) -> int | None:
        """Row of the first look at which the interval at ``alpha`` does not hold 0."""
        below = np.flatnonzero(self.p_value <= alpha)
        return int(below[0]) if len(below) else None


def mixture_for(tuned_units: float, alpha: float) -> float:
    """Return the r that makes the interval narrowest at that many effective units.

    With u = t / r the width is least where u - ln(1 + u) = 2 ln(1 / alpha), so
    u = -W(-alpha^2 / e) - 1 with the lower branch of Lambert's W (appendix B of arXiv 2103.06476).
    """
    from scipy.special import lambertw

    return tuned_units / (-float(lambertw(-(alpha**2) / math.e, -1).real) - 1)


def confidence_sequence(
    value: NDArray[np.float64],
    challenger: NDArray[np.bool_],
    epoch: NDArray[np.int64] | None = None,
    *,
    alpha: float,
    tuned_units: int,
    units_min: int,
) -> Sequence:
    """Follow the difference of means, unit by unit.

    The variance of an arm is the larger of its own and of both arms together within the epoch.
    With few units an arm of the rare kind (5 % clicks, heavy tails) often shows too small a
    variance, and this together with too low a mean; the pooled one does not. It costs power only
    where the arms really differ in variance.

    Args:
        value: float64[units], in the order of arrival, finite.
        challenger: bool[units].
        epoch: int64[units], 0, 1, ...; None for a split that never changed.
        alpha: Largest probability that the interval ever misses the true difference.
        tuned_units: Effective units at which the interval is to be narrowest.
        units_min: Units that each arm needs; before, the interval is infinite.
    """
    units = len(value)
    # For numbers alone: sums of squares of values far from 0 would lose digits.
    centred = value - value.mean() if units else value
    champions, challengers = np.zeros(units, np.int64), np.zeros(units, np.int64)
    weight, moment, variance = np.zeros(units), np.zeros(units), np.zeros(units)
    for number in np.unique(epoch) if epoch is not None else (None,):
        member = np.ones(units, np.bool_) if epoch is None else epoch == number
        n1, mean1, v1, sum1, squares1 = _running(centred, member & challenger)
        n0, mean0, v0, sum0, squares0 = _running(centred, member & ~challenger)
        n = np.maximum(n1 + n0, 2)
        pooled = np.maximum(squares1 + squares0 - (sum1 + sum0) ** 2 / n, 0) / (n - 1)
        takes_part = np.minimum(n1, n0) >= EPOCH_UNITS_MIN
        champions += np.where(takes_part, n0, 0)
        challengers += np.where(takes_part, n1, 0)
        t = np.where(takes_part, n1 * n0 / n, 0.0)
        weight += t
        moment += t * (mean1 - mean0)
        variance += t**2 * (
            np.maximum(v1, pooled) / np.maximum(n1, 1) + np.maximum(v0, pooled) / np.maximum(n0, 1)
        )
    r = mixture_for(tuned_units, alpha)
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = moment / weight
        s2 = variance / weight
        width = np.sqrt(s2 * (weight + r) * (np.log1p(weight / r) - 2 * math.log(alpha))) / weight
        log_p = 0.5 * np.log1p(weight / r) - difference**2 * weight / s2 * weight / (
            2 * (weight + r)
        )
    # Without any variance (all outcomes alike so far) nothing can be said.
    ready = (np.minimum(champions, challengers) >= units_min) & (s2 > 0)
    width = np.where(ready, width, np.inf)
    p = np.exp(np.minimum(np.where(ready, log_p, 0.0), 0.0))
    return Sequence(
        champions,
        challengers,
        weight,
        difference,
        np.where(ready, difference - width, -np.inf),
        np.where(ready, difference + width, np.inf),
        np.minimum.accumulate(p),
    )


def units_needed(
    baseline: float, effect: float, *, alpha: float, power: float, share: float = 0.5
) -> int:
    """Return how many units with an outcome of 0 or 1, both arms together, find an effect.

    Args:
        baseline: Mean of the champion, 0..1.
        effect: Challenger minus champion, not 0; 0.95 and -0.02 is a loss of two points.
        alpha: Of the confidence sequence.
        power: Probability to have found it by then, below 1.
        share: Of units that go to the challenger, above 0 and below 1.

    Raises:
        PlanError: an argument lies outside.
    """
    other = baseline + effect
    if not (0 <= baseline <= 1 and 0 <= other <= 1):
        raise PlanError("effect", f"takes {baseline} to {other}; a share lies from 0 to 1")
    deviations = math.sqrt(baseline * (1 - baseline)), math.sqrt(other * (1 - other))
    return units_needed_for_mean(effect, deviations, alpha=alpha, power=power, share=share)


def units_needed_for_mean(
    effect: float,
    deviations: tuple[float, float],
    *,
    alpha: float,
    power: float,
    share: float = 0.5,
) -> int:
    """Return how many units find a difference of means, for any outcome of finite variance.

    The number N at which the interval, tuned to be narrowest there, excludes 0 with probability
    ``power``: width(N) + z_power x standard error = abs(effect). That many always suffice; the
    test stops earlier more often than not, since it may stop at any look.

    Args:
        effect: Challenger minus champion, in units of the outcome, not 0.
        deviations: Standard deviation of the champion's outcome and of the challenger's.
        alpha: Of the confidence sequence.
        power: Probability to have found it by then, below 1.
        share: Of units that go to the challenger, above 0 and below 1.

    Raises:
        PlanError: an argument lies outside.
    """
    from scipy.stats import norm

    if effect == 0:
        raise PlanError("effect", "is 0; no number of units finds it")
    if not 0 < share < 1:
        raise PlanError("share", f"is {share}; both arms need units")
    if not (0 < power < 1 and 0 < alpha < 1):
        raise PlanError("power or alpha", "lies outside 0..1")
    champion, challenger = deviations[0] ** 2, deviations[1] ** 2
    # As the sequence itself: an arm's variance is at least that of both together.
    pooled = share * challenger + (1 - share) * champion + share * (1 - share) * effect**2
    per_unit = max(challenger, pooled) / share + max(champion, pooled) / (1 - share)
    true_per_unit = challenger / share + champion / (1 - share)
    u = 1 / mixture_for(1.0, alpha)
    boundary = math.sqrt((1 + 1 / u) * (math.log1p(u) - 2 * math.log(alpha)))
    reach = boundary * math.sqrt(per_unit) + float(norm.ppf(power)) * math.sqrt(true_per_unit)
    return max(math.ceil((reach / effect) ** 2), math.ceil(2 * EPOCH_UNITS_MIN))


def _running(
    value: NDArray[np.float64], member: NDArray[np.bool_]
) -> tuple[
    NDArray[np.int64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
]:
    """Return the running count, mean, variance, sum and sum of squares of the members."""
    count: NDArray[np.int64] = np.cumsum(member, dtype=np.int64)
    total = np.cumsum(np.where(member, value, 0.0))
    squares = np.cumsum(np.where(member, value**2, 0.0))
    mean = total / np.maximum(count, 1)
    variance = np.maximum(squares - total * mean, 0.0) / np.maximum(count - 1, 1)
    return count, mean, variance, total, squares
