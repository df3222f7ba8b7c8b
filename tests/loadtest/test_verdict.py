from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from clickclean_loadtest.target import Target
from clickclean_loadtest.verdict import Evidence, Verdict, judge

TARGET = Target(mean_ms=200.0, p99_ms=500.0, error_rate_max=0.001)


def latencies(mean_ms: float, count: int = 1000, spread: float = 0.2) -> NDArray[np.float64]:
    return np.random.default_rng(0).gamma(1 / spread**2, mean_ms * spread**2, size=count)


FINE = Evidence(
    rate=50.0,
    requests=1000,
    errors=0,
    latency_ms=latencies(20.0),
    lag_ms=np.full(1000, 0.5),
    late_share=0.0,
    users=75,
)


def verdict_of(evidence: Evidence, target: Target = TARGET) -> Verdict:
    return judge(evidence, target)[0]


def test_exit_codes_are_those_of_the_design() -> None:
    assert {verdict.value: verdict.exit_code for verdict in Verdict} == {
        "meet": 0,
        "miss": 10,
        "inconclusive": 11,
        "generator-bound": 12,
    }


def test_a_fast_service_meets() -> None:
    verdict, reasons = judge(FINE, TARGET)
    assert verdict is Verdict.MEET
    assert len(reasons) == 3


def test_a_slow_mean_misses_and_is_named_first() -> None:
    verdict, reasons = judge(replace(FINE, latency_ms=latencies(250.0)), TARGET)
    assert verdict is Verdict.MISS
    assert reasons[0].startswith("mean 2")
    assert "over the target of 200 ms" in reasons[0]


def test_a_slow_tail_misses_though_the_mean_is_fine() -> None:
    latency_ms = latencies(20.0)
    latency_ms[::25] = 800.0
    verdict, reasons = judge(replace(FINE, latency_ms=latency_ms), TARGET)
    assert verdict is Verdict.MISS
    assert "40 of 1000 requests took longer than 500 ms" in reasons[0]


def test_a_mean_at_the_limit_is_inconclusive() -> None:
    evidence = replace(FINE, latency_ms=latencies(200.0, spread=0.5))
    assert verdict_of(evidence, replace(TARGET, p99_ms=None)) is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(("count", "wanted"), [(380, "inconclusive"), (381, "meet")])
def test_a_p99_needs_enough_requests(count: int, wanted: str) -> None:
    evidence = replace(FINE, requests=count, latency_ms=latencies(20.0, count))
    assert verdict_of(evidence) == wanted


def test_a_mean_needs_enough_requests() -> None:
    target = replace(TARGET, p99_ms=None)
    few = replace(FINE, requests=39, latency_ms=latencies(20.0, 39))
    assert verdict_of(few, target) is Verdict.INCONCLUSIVE
    assert verdict_of(replace(few, latency_ms=latencies(20.0, 40)), target) is Verdict.MEET


def test_nothing_counted_is_inconclusive() -> None:
    nothing = replace(FINE, requests=0, latency_ms=np.array([]), lag_ms=np.array([]))
    assert verdict_of(nothing) is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(("errors", "wanted"), [(1, "meet"), (2, "miss")])
def test_errors_over_the_limit_miss(errors: int, wanted: str) -> None:
    assert verdict_of(replace(FINE, errors=errors)) == wanted


def test_a_service_that_only_fails_misses_for_lack_of_answers() -> None:
    dead = replace(FINE, errors=1000, latency_ms=np.array([]))
    verdict, reasons = judge(dead, TARGET)
    assert verdict is Verdict.MISS
    assert reasons[0] == "1000 of 1000 requests failed (100.00%), over the limit of 0.10%"


def test_a_late_generator_is_never_blamed_on_the_service() -> None:
    late = replace(FINE, latency_ms=latencies(900.0), lag_ms=np.full(1000, 30.0))
    verdict, reasons = judge(late, TARGET)
    assert verdict is Verdict.GENERATOR_BOUND
    assert "mean lag 30.0 ms is more than 10% of the 200 ms target" in reasons[0]


def test_a_target_met_in_spite_of_a_late_generator_is_met_and_the_lateness_is_told() -> None:
    verdict, reasons = judge(replace(FINE, lag_ms=np.full(1000, 30.0)), TARGET)
    assert verdict is Verdict.MEET
    assert "the generator itself ran late" in reasons[-1]


def test_a_rarely_late_generator_is_caught_by_its_p99() -> None:
    slow = replace(FINE, latency_ms=latencies(900.0))
    lag_ms = np.full(1000, 0.5)
    assert verdict_of(replace(slow, lag_ms=lag_ms)) is Verdict.MISS
    lag_ms[:20] = 90.0
    assert verdict_of(replace(slow, lag_ms=lag_ms)) is Verdict.GENERATOR_BOUND


def test_too_few_users_for_the_target_are_the_generators_fault() -> None:
    busy = replace(FINE, latency_ms=latencies(900.0), users=5, late_share=0.3)
    verdict, reasons = judge(busy, TARGET)
    assert verdict is Verdict.GENERATOR_BOUND
    assert "too few users: 5 are all busy when answers take 100 ms" in reasons[0]


def test_busy_users_are_the_services_fault_when_there_are_enough() -> None:
    busy = replace(FINE, latency_ms=latencies(3000.0), late_share=0.9)
    assert verdict_of(busy) is Verdict.MISS


def test_an_interrupted_run_can_miss_but_not_meet() -> None:
    stopped = replace(FINE, complete=False, unfinished=3)
    assert verdict_of(stopped) is Verdict.INCONCLUSIVE
    assert verdict_of(replace(stopped, latency_ms=latencies(900.0))) is Verdict.MISS


@pytest.mark.parametrize(("limit", "wanted"), [(0.9, "meet"), (0.96, "miss"), (None, "meet")])
def test_accuracy_is_judged_when_asked(limit: float | None, wanted: str) -> None:
    assert verdict_of(replace(FINE, accuracy=0.95, accuracy_min=limit)) == wanted
