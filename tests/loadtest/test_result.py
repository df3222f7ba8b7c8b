import json
from dataclasses import replace

import numpy as np
import pytest

from clickclean_loadtest import LatencySummary, LoadResult, LoadTestError, Target, Verdict
from clickclean_loadtest.measure import warmup_of
from clickclean_loadtest.result import stride_for

RESULT = LoadResult(
    model="digits",
    endpoint="127.0.0.1:8001",
    versions={"3": 900, "4": 100},
    started_at="2026-01-02T03:04:05.678+00:00",
    duration_s=18.0,
    warmup_s=2.0,
    warmup_requests=100,
    rate=50.0,
    achieved_rate=49.9,
    users=75,
    requests=900,
    errors={"DeadlineExceeded": 9},
    error_examples={"DeadlineExceeded": "Model 'digits' gave no answer"},
    latency=LatencySummary(10.5, 9.0, 14.0, 16.0, 123.4, 200.0),
    service_time=LatencySummary(9.5, 8.0, 13.0, 15.0, 22.4, 190.0),
    generator_lag_mean_ms=0.1,
    generator_lag_p99_ms=1.5,
    late_share=0.01,
    checked=1000,
    accuracy=0.975,
    target=Target(200.0, None, 0.01, source="manifest of version 3"),
    verdict=Verdict.MEET,
    reasons=("mean 10.5 ms",),
    sample_stride=1,
    sample_at_s=(2.0, 2.02),
    sample_ms=(9.0, 12.0),
)


def test_a_result_survives_json() -> None:
    assert LoadResult.from_json(RESULT.to_json()) == RESULT
    bare = replace(RESULT, accuracy=None, versions={}, errors={}, sample_at_s=(), sample_ms=())
    assert LoadResult.from_json(bare.to_json()) == bare


def test_the_json_says_what_a_script_needs_without_our_code() -> None:
    tree = json.loads(RESULT.to_json())
    assert (tree["format"], tree["verdict"], tree["exit_code"]) == (1, "meet", 0)
    assert tree["error_rate"] == pytest.approx(0.01)
    assert tree["latency"]["p99_ms"] == 123.4


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 2}', RESULT.to_json().replace('"meet"', '"fine"')]
)
def test_what_is_no_result_is_refused(text: str) -> None:
    with pytest.raises(LoadTestError, match=r"load test result r\.json"):
        LoadResult.from_json(text, where="r.json")


def test_the_table_aligns_numbers_on_the_right() -> None:
    lines = RESULT.table().splitlines()
    rows = lines[: lines.index("verdict: meet")]
    assert len({line.rindex(" ms") for line in rows if line.endswith(" ms")}) == 1
    assert lines[-1] == "  - mean 10.5 ms"


def test_a_summary_of_nothing_is_zero() -> None:
    assert LatencySummary.of(np.array([])) == LatencySummary(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def test_the_warm_up_is_two_seconds_or_a_tenth() -> None:
    assert warmup_of(100.0) == 2.0
    assert warmup_of(10.0) == pytest.approx(1.0)


def test_samples_are_thinned_to_a_bound() -> None:
    assert stride_for(100_000, 100_000) == 1
    assert len(range(0, 100_001, stride_for(100_001, 100_000))) <= 100_000
    assert stride_for(0, 100_000) == 1
