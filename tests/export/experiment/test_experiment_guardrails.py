"""Harm is found within few calls, and harmless challengers are left alone."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from clickclean_export.experiment.betting import (
    at_least,
    block_differences,
    log_capital,
    pair_up,
)
from clickclean_export.experiment.guardrails import (
    HOUR_US,
    KEYS_MIN,
    LATENCIES_MIN,
    before_first_error,
    check_errors,
    check_latency,
    running_percentiles,
)
from clickclean_export.experiment.log_reader import Exposures
from tests.export.experiment.logs import PLAN


def calls(
    arm: NDArray[np.bool_],
    *,
    error: NDArray[np.bool_] | None = None,
    latency: NDArray[np.float64] | None = None,
    unit: NDArray[np.int64] | None = None,
    gap_us: int = 20_000,
) -> Exposures:
    rows = len(arm)
    keys = np.arange(rows) if unit is None else unit
    return Exposures(
        time_us=np.arange(rows) * gap_us,
        challenger=arm,
        version=np.where(arm, 3, 2),
        unit=keys,
        latency_ms=np.full(rows, 10.0) if latency is None else latency,
        error=np.zeros(rows, np.bool_) if error is None else error,
        fallback=np.zeros(rows, np.bool_),
        units=int(keys.max(initial=-1)) + 1,
    )


def test_blocks_are_the_shortest_that_hold_both_arms() -> None:
    arm = np.array([0, 0, 1, 1, 0, 1, 0, 0, 0], np.bool_)
    edges = pair_up(arm)
    assert edges.tolist() == [0, 3, 5, 7]
    value = np.array([1, 0, 1, 0, 1, 1, 0, 1, 1], np.float64)
    assert block_differences(value, arm, edges).tolist() == [0.5, -1.0, 1.0]


@pytest.mark.parametrize("arm", [[], [True], [False, False], [True, True, True]])
def test_calls_of_one_arm_make_no_block(arm: list[bool]) -> None:
    edges = pair_up(np.array(arm, np.bool_))
    assert edges.tolist() == [0]
    assert len(block_differences(np.ones(len(arm)), np.array(arm, np.bool_), edges)) == 0


@pytest.mark.parametrize("limit", [0.0, 0.1, 0.5])
def test_a_bet_on_what_is_just_allowed_is_a_fair_game(limit: float) -> None:
    # d is 1 or -1 with mean `limit`: over all sequences of 8, capital is 1 on average.
    win = (1 + limit) / 2
    expected = 0.0
    for signs in product((1.0, -1.0), repeat=8):
        chance = win ** signs.count(1.0) * (1 - win) ** signs.count(-1.0)
        expected += chance * float(np.exp(log_capital(np.array(signs), limit)[-1]))
    assert expected == pytest.approx(1.0)


def test_the_lower_end_is_the_largest_limit_that_was_beaten() -> None:
    difference = (np.random.default_rng(1).random(400) < 0.3).astype(np.float64)
    lower = at_least(difference, 0.05)
    assert 0.15 < lower < 0.3
    wealth = -np.log(0.05)
    assert (
        log_capital(difference, lower - 1e-6)[-1]
        >= wealth
        > (log_capital(difference, lower + 1e-6)[-1])
    )
    assert at_least(np.empty(0), 0.05) == -1


def test_a_key_counts_up_to_its_first_error_within_an_hour() -> None:
    unit = np.array([0, 1, 0, 0, 1, 0, 0])
    error = np.array([0, 0, 1, 1, 0, 0, 1], np.bool_)
    log = calls(np.zeros(7, np.bool_), error=error, unit=unit, gap_us=HOUR_US // 5)
    # Calls 5 and 6 are in the next hour, where the key counts again.
    assert before_first_error(log).tolist() == [0, 1, 2, 4, 5, 6]


def test_one_key_that_always_fails_stops_nothing() -> None:
    rng = np.random.default_rng(2)
    unit = rng.integers(0, 200, 5_000)
    arm = unit < 20
    assert not check_errors(PLAN, calls(arm, error=unit == 7, unit=unit)).breached


@pytest.mark.parametrize(("rate", "calls_max"), [(1.0, 20), (0.5, 60)])
def test_a_challenger_that_fails_is_stopped_within_few_calls(rate: float, calls_max: int) -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        arm = rng.random(3_000) < 0.1
        got = check_errors(PLAN, calls(arm, error=arm & (rng.random(3_000) < rate)))
        assert got.breached
        assert got.calls <= calls_max
        assert got.at_least > got.limit
        assert got.breached_us in got.time_us


def test_a_failure_of_both_arms_stops_nothing() -> None:
    rng = np.random.default_rng(4)
    outage = (np.arange(5_000) > 2_000) & (np.arange(5_000) < 2_500)
    log = calls(rng.random(5_000) < 0.1, error=outage & (rng.random(5_000) < 0.9))
    assert not check_errors(PLAN, log).breached


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_false_stops_are_at_most_alpha_exactly_at_the_limit(share: float) -> None:
    plan = replace(PLAN, guardrail_alpha=0.1)  # 5 % for each
    rng = np.random.default_rng(5)
    errors = slow = 0
    for _ in range(100):
        arm = rng.random(1_500) < share
        rate = np.where(arm, 0.02 + plan.error_rate_margin, 0.02)
        latency = rng.lognormal(2, 0.5, 1_500) * np.where(arm, plan.latency_ratio_max, 1.0)
        errors += check_errors(plan, calls(arm, error=rng.random(1_500) < rate)).breached
        slow += check_latency(plan, calls(arm, latency=latency)).breached
    # 5 expected at most; more than 12 has a probability below 0.2 %.
    assert errors <= 12
    assert slow <= 12


@pytest.mark.parametrize("tail", [False, True])
def test_a_slow_challenger_is_stopped_be_it_in_general_or_in_its_tail(tail: bool) -> None:
    rng = np.random.default_rng(6)
    arm = rng.random(10_000) < 0.1
    harmed = arm & (rng.random(10_000) < 0.2) if tail else arm
    latency = rng.lognormal(2, 0.5, 10_000) * np.where(harmed, 5.0 if tail else 2.5, 1.0)
    got = check_latency(PLAN, calls(arm, latency=latency))
    assert got.breached
    assert got.calls < 400
    assert got.at_least > got.limit


def test_a_threshold_is_known_before_the_calls_it_judges() -> None:
    rng = np.random.default_rng(7)
    latency, arm = rng.lognormal(2, 0.5, 2_000), rng.random(2_000) < 0.3
    before = running_percentiles(latency, arm)
    for row in (100, 700, 1_500):
        changed = np.concatenate([latency[:row], latency[row:] * 100])
        np.testing.assert_array_equal(
            before[:, : row + 1], running_percentiles(changed, arm)[:, : row + 1]
        )
    first = int(np.flatnonzero(np.isfinite(before[0]))[0])
    assert int((~arm[:first]).sum()) == LATENCIES_MIN


def test_few_slow_callers_are_not_a_slow_version() -> None:
    rng = np.random.default_rng(8)
    unit = rng.integers(0, 100, 5_000)
    arm = unit < KEYS_MIN - 1
    latency = rng.lognormal(2, 0.5, 5_000) * np.where(arm, 9.0, 1.0)
    assert not check_latency(PLAN, calls(arm, latency=latency, unit=unit)).breached


def test_latency_of_failed_calls_does_not_count() -> None:
    rng = np.random.default_rng(9)
    arm = rng.random(5_000) < 0.5
    error = arm & (rng.random(5_000) < 0.5)
    latency = np.where(error, 1e4, rng.lognormal(2, 0.5, 5_000))
    assert not check_latency(PLAN, calls(arm, error=error, latency=latency)).breached


def test_no_calls_breach_nothing() -> None:
    none = calls(np.empty(0, np.bool_))
    for guardrail in (check_errors(PLAN, none), check_latency(PLAN, none)):
        assert not guardrail.breached
        assert guardrail.p_value == 1
