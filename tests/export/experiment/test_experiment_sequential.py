"""The interval that holds at every look: its formula, and its promise in simulation."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad

from clickclean_export.experiment.errors import PlanError
from clickclean_export.experiment.sequential import (
    EPOCH_UNITS_MIN,
    Sequence,
    confidence_sequence,
    mixture_for,
    units_needed,
    units_needed_for_mean,
)

ALPHA, TUNED, UNITS_MIN = 0.05, 500, 100
Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]


def follow(
    value: NDArray[np.float64],
    arm: NDArray[np.bool_],
    epoch: NDArray[np.int64] | None = None,
    *,
    tuned: int = TUNED,
) -> Sequence:
    return confidence_sequence(
        value, arm, epoch, alpha=ALPHA, tuned_units=tuned, units_min=UNITS_MIN
    )


def binary(mean: float) -> Draw:
    return lambda rng, n: (rng.random(n) < mean).astype(np.float64)


def test_p_is_the_likelihood_ratio_of_a_normal_mixture() -> None:
    rng = np.random.default_rng(1)
    arm = rng.random(1_000) < 0.4
    value = rng.normal(np.where(arm, 0.15, 0.0), 1.0)
    got = follow(value, arm)
    t, r = float(got.effective_units[-1]), mixture_for(TUNED, ALPHA)
    n1, n0 = int(arm.sum()), int((~arm).sum())
    assert t == pytest.approx(n1 * n0 / (n1 + n0))
    pooled = value.var(ddof=1)
    variance = max(value[arm].var(ddof=1), pooled) / n1 + max(value[~arm].var(ddof=1), pooled) / n0
    difference = value[arm].mean() - value[~arm].mean()
    assert got.difference[-1] == pytest.approx(difference)
    deviation = math.sqrt(variance * t)  # of one effective unit

    def ratio(distance: float) -> float:
        """The likelihood ratio, mixed over drifts, of a difference that far from the truth."""
        score = distance / deviation

        def weighted(drift: float) -> float:
            prior = math.exp(-(drift**2) * r / 2) * math.sqrt(r / (2 * math.pi))
            return math.exp(drift * score * t - drift**2 * t / 2) * prior

        return float(quad(weighted, -1, 1, epsabs=0, points=[0.0, score])[0])

    # Exactly those differences are outside whose ratio is above 1 / alpha.
    width = float(got.high[-1] - got.low[-1]) / 2
    assert ratio(width) == pytest.approx(1 / ALPHA, rel=1e-6)
    assert got.p_value[-1] == pytest.approx(
        min(1.0, 1 / ratio(difference), got.p_value[-2]), rel=1e-6
    )


def test_the_interval_excludes_0_exactly_when_the_p_value_says_so() -> None:
    rng = np.random.default_rng(2)
    arm = rng.random(3_000) < 0.5
    got = follow(rng.normal(np.where(arm, 0.2, 0.0), 1.0), arm)
    row = got.crossing(ALPHA)
    assert row is not None
    excluded = np.flatnonzero((got.low > 0) | (got.high < 0))
    assert excluded[0] == row


def test_the_mixture_is_narrowest_where_it_is_tuned_to() -> None:
    def width(t: float, r: float) -> float:
        return math.sqrt((t + r) * (math.log1p(t / r) - 2 * math.log(ALPHA))) / t

    r = mixture_for(TUNED, ALPHA)
    assert width(TUNED, r) < min(width(TUNED, r * 1.05), width(TUNED, r / 1.05))


def test_nothing_is_said_before_both_arms_have_enough() -> None:
    arm = np.arange(2_000) % 20 == 0
    got = follow(np.random.default_rng(3).random(2_000), arm)
    early = got.challenger_units < UNITS_MIN
    assert early.sum() > 1_900
    assert np.isinf(got.low[early]).all()
    assert (got.p_value[early] == 1).all()
    assert np.isfinite(got.low[~early]).all()


def test_outcomes_that_are_all_alike_decide_nothing() -> None:
    got = follow(np.ones(1_000), np.arange(1_000) % 2 == 0)
    assert got.p_value[-1] == 1
    assert np.isinf(got.high).all()
    assert len(follow(np.empty(0), np.empty(0, np.bool_)).p_value) == 0


def test_the_answer_does_not_depend_on_where_0_lies() -> None:
    rng = np.random.default_rng(4)
    arm, value = rng.random(1_000) < 0.5, rng.normal(size=1_000)
    near, far = follow(value, arm), follow(value + 1e6, arm)
    np.testing.assert_allclose(near.low[-1], far.low[-1], rtol=1e-5)


def test_epochs_are_compared_within_and_weighed_by_effective_units() -> None:
    rng = np.random.default_rng(5)
    epoch = np.repeat([0, 1], [2_000, 1_000])
    arm = rng.random(3_000) < np.array([0.1, 0.5])[epoch]
    value = rng.normal(np.array([10.0, 0.0])[epoch], 1.0)
    got = follow(value, arm, epoch)
    parts = []
    for number in (0, 1):
        ours, theirs = value[(epoch == number) & ~arm], value[(epoch == number) & arm]
        parts.append(
            (len(ours) * len(theirs) / (len(ours) + len(theirs)), theirs.mean() - ours.mean())
        )
    weights = [weight for weight, _ in parts]
    assert got.effective_units[-1] == pytest.approx(sum(weights))
    assert got.difference[-1] == pytest.approx(
        sum(weight * each for weight, each in parts) / sum(weights)
    )
    assert got.low[-1] < 0 < got.high[-1]
    assert follow(value, arm).high[-1] < -1  # what throwing them together would have said


def test_an_epoch_with_hardly_any_units_takes_no_part() -> None:
    rng = np.random.default_rng(6)
    epoch = np.repeat([0, 1], [500, 500])
    arm = np.where(epoch == 0, np.arange(1_000) < EPOCH_UNITS_MIN - 1, rng.random(1_000) < 0.5)
    got = follow(rng.normal(size=1_000), arm, epoch)
    assert got.effective_units[499] == 0
    assert int(got.champion_units[-1] + got.challenger_units[-1]) == 500


@pytest.mark.parametrize("share", [0.5, 0.1])
@pytest.mark.parametrize(
    "draw",
    [
        pytest.param(binary(0.05), id="5 %"),
        pytest.param(binary(0.5), id="50 %"),
        pytest.param(binary(0.95), id="95 %"),
        pytest.param(lambda rng, n: rng.lognormal(0, 1.5, n), id="log-normal"),
        pytest.param(lambda rng, n: rng.standard_t(3, n), id="t"),
    ],
)
def test_looking_at_every_unit_gives_no_more_than_alpha_false_alarms(
    draw: Draw, share: float
) -> None:
    rng = np.random.default_rng(7)
    alarms = 0
    for _ in range(120):
        arm = rng.random(3_000) < share
        alarms += follow(draw(rng, 3_000), arm).crossing(ALPHA) is not None
    # 5 % of 120 is 6; above 13 has a probability below 0.3 % if the promise just holds.
    assert alarms <= 13


def test_a_ramp_with_other_days_gives_no_more_than_alpha_false_alarms() -> None:
    rng = np.random.default_rng(8)
    epoch = np.repeat([0, 1, 2], 2_000)
    share, mean = np.array([0.02, 0.1, 0.5])[epoch], np.array([0.95, 0.9, 0.8])[epoch]
    alarms = 0
    for _ in range(120):
        arm = rng.random(6_000) < share
        value = (rng.random(6_000) < mean).astype(np.float64)
        alarms += follow(value, arm, epoch).crossing(ALPHA) is not None
    assert alarms <= 13


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_a_loss_of_two_points_is_found_with_the_units_that_are_stated(share: float) -> None:
    units = units_needed(0.95, -0.02, alpha=ALPHA, power=0.8, share=share)
    rng = np.random.default_rng(9)
    found = better = 0
    for _ in range(100):
        arm = rng.random(units) < share
        value = (rng.random(units) < np.where(arm, 0.93, 0.95)).astype(np.float64)
        got = follow(value, arm, tuned=round(units * share * (1 - share)))
        row = got.crossing(ALPHA)
        found += row is not None
        better += row is not None and bool(got.difference[row] > 0)
    assert found >= 72
    assert better == 0


def test_more_is_needed_for_less() -> None:
    def needed(effect: float = -0.02, power: float = 0.8, share: float = 0.5) -> int:
        return units_needed(0.95, effect, alpha=ALPHA, power=power, share=share)

    assert needed(-0.01) > 3 * needed()
    assert needed(power=0.9) > needed()
    assert needed(share=0.1) > 2 * needed()
    assert units_needed_for_mean(1.0, (5.0, 5.0), alpha=ALPHA, power=0.8) < units_needed_for_mean(
        1.0, (5.0, 10.0), alpha=ALPHA, power=0.8
    )


@pytest.mark.parametrize(
    ("baseline", "effect", "power", "share"),
    [(0.95, 0.1, 0.8, 0.5), (0.5, 0.0, 0.8, 0.5), (0.5, 0.1, 1.0, 0.5), (0.5, 0.1, 0.8, 0.0)],
)
def test_an_impossible_question_is_refused(
    baseline: float, effect: float, power: float, share: float
) -> None:
    with pytest.raises(PlanError):
        units_needed(baseline, effect, alpha=ALPHA, power=power, share=share)
