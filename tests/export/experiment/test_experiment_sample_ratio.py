"""Whether each arm got its share of keys."""

import math

import numpy as np
import pytest
from scipy.stats import chisquare

from clickclean_export.experiment.sample_ratio import (
    CONCENTRATION,
    SampleRatio,
    check_sample_ratio,
    log_bayes_factor,
)
from tests.export.experiment.logs import split


def check(
    arm: np.ndarray[tuple[int], np.dtype[np.bool_]], *steps: tuple[float, float], alpha: float
) -> SampleRatio:
    each = len(arm) // len(steps)
    epoch = np.repeat(np.arange(len(steps)), each)
    return check_sample_ratio(arm[: len(epoch)], epoch, split(*steps), alpha=alpha)


def test_the_bayes_factor_is_the_product_of_its_predictions() -> None:
    arm = np.random.default_rng(1).random(300) < 0.3
    wanted, total, seen = 0.2, 0.0, 0
    for number, challenger in enumerate(arm):
        expected = (CONCENTRATION * wanted + seen) / (CONCENTRATION + number)
        total += math.log(expected / wanted if challenger else (1 - expected) / (1 - wanted))
        seen += bool(challenger)
    got = log_bayes_factor(np.array([seen]), np.array([300 - seen]), wanted)
    assert got[0] == pytest.approx(total, abs=1e-8)


def test_chi_square_is_pearsons() -> None:
    arm = np.arange(1_000) < 450
    got = check(arm, (0, 50), alpha=0.001)
    statistic, p_value = chisquare([450, 550], [500, 500])
    assert got.chi_square == pytest.approx(statistic)
    assert got.chi_square_p == pytest.approx(p_value)


@pytest.mark.parametrize("percent", [50.0, 10.0, 1.0])
def test_false_alarms_are_at_most_alpha(percent: float) -> None:
    rng = np.random.default_rng(2)
    alarms = sum(
        check(rng.random(5_000) < percent / 100, (0, percent), alpha=0.05).alarm for _ in range(300)
    )
    assert alarms <= 26  # 15 expected at most; more than 26 has a probability below 0.3 %


def test_false_alarms_are_at_most_alpha_over_a_ramp() -> None:
    rng = np.random.default_rng(3)
    steps = ((0, 1), (100, 10), (200, 50))
    shares = np.repeat([0.01, 0.1, 0.5], 2_000)
    alarms = sum(check(rng.random(6_000) < shares, *steps, alpha=0.05).alarm for _ in range(200))
    assert alarms <= 19


@pytest.mark.parametrize("seen", [0.485, 0.515])
def test_a_mismatch_of_one_and_a_half_points_is_caught(seen: float) -> None:
    rng = np.random.default_rng(4)
    caught = [check(rng.random(60_000) < seen, (0, 50), alpha=0.001).alarm for _ in range(20)]
    assert sum(caught) >= 19


def test_an_alarm_goes_on_when_the_counts_even_out_again() -> None:
    arm = np.concatenate([np.ones(1_000, np.bool_), np.zeros(1_000, np.bool_)])
    got = check(arm, (0, 50), alpha=0.001)
    assert got.chi_square_p == 1
    assert got.alarm
    assert got.p_value < 0.001
    assert got.alarm_row is not None
    assert got.log_evidence[got.alarm_row - 1] < -math.log(0.001) <= got.log_evidence.max()


def test_a_mismatch_of_a_later_epoch_is_caught() -> None:
    rng = np.random.default_rng(5)
    shares = np.repeat([0.01, 0.1, 0.4], 10_000)
    got = check(rng.random(30_000) < shares, (0, 1), (100, 10), (200, 50), alpha=0.001)
    assert got.alarm_row is not None
    assert got.alarm_row > 20_000
    assert [round(epoch.observed_percent) for epoch in got.epochs] == [1, 10, 40]


@pytest.mark.parametrize("percent", [0.0, 100.0])
def test_a_split_with_one_arm_is_shown_and_not_tested(percent: float) -> None:
    got = check(np.arange(100) < 50, (0, percent), alpha=0.001)
    assert (got.chi_square_p, got.alarm, got.p_value) == (1.0, False, 1.0)
    assert got.epochs[0].observed_percent == 50


def test_no_keys_are_no_alarm() -> None:
    got = check(np.empty(0, np.bool_), (0, 50), alpha=0.001)
    assert not got.alarm
    assert math.isnan(got.epochs[0].observed_percent)
