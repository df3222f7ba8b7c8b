"""What Prometheus reads, from the real library."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from clickclean_client import InvalidRequest, ModelNotFound, Unavailable
from clickclean_client._exceptions import Call, HookError, HookLibraryMissing
from clickclean_client.prometheus import DURATION_BUCKETS_S, PrometheusHook
from tests.client.observed_calls import FIRST, SECOND, attempt, begun, ended, tell

Labels = dict[str, str]
SECONDS = "clickclean_client_request_duration_seconds"


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def hook(registry: CollectorRegistry) -> PrometheusHook:
    return PrometheusHook(registry)


def read(registry: CollectorRegistry, name: str) -> list[tuple[Labels, float]]:
    """The samples of one name as a Prometheus server would read them."""
    text = generate_latest(registry).decode()
    return [
        (sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == f"clickclean_client_{name}"
    ]


def error(kind: Any = Unavailable, **facts: Any) -> Any:
    return kind(Call(**{"model": "digits", "code": "UNAVAILABLE", **facts}))


def test_a_call_is_timed_under_its_labels(
    hook: PrometheusHook, registry: CollectorRegistry
) -> None:
    tell(hook, ended(duration_s=0.2), ended(arm="challenger", answered_version="4", duration_s=3))
    champion = {"model": "digits", "version": "3", "arm": "", "outcome": "ok"}
    challenger = {"model": "digits", "version": "4", "arm": "challenger", "outcome": "ok"}
    assert read(registry, "request_duration_seconds_count") == [(champion, 1), (challenger, 1)]
    assert read(registry, "request_duration_seconds_sum") == [(champion, 0.2), (challenger, 3)]


def test_an_answer_at_exactly_200_ms_is_within_200_ms(
    hook: PrometheusHook, registry: CollectorRegistry
) -> None:
    tell(hook, *(ended(duration_s=seconds) for seconds in (0.0004, 0.2, 0.2001, 1.0, 1.01, 60.0)))
    counts = {
        labels["le"]: count for labels, count in read(registry, "request_duration_seconds_bucket")
    }
    assert [counts[edge] for edge in ("0.001", "0.15", "0.2", "0.25", "1.0", "+Inf")] == [
        *(1, 1, 2),
        *(3, 4, 6),
    ]
    assert len(counts) == len(DURATION_BUCKETS_S) + 1


def test_a_failure_is_counted_under_its_class(
    hook: PrometheusHook, registry: CollectorRegistry
) -> None:
    tell(hook, ended(error()), ended(error(InvalidRequest), attempts=(), request_bytes=0))
    outcomes = {
        (labels["version"], labels["outcome"]): count
        for labels, count in read(registry, "request_duration_seconds_count")
    }
    assert outcomes == {("", "Unavailable"): 1, ("", "InvalidRequest"): 1}
    # Nothing came back, and of the second call nothing was sent.
    assert read(registry, "request_size_bytes_count") == [({"model": "digits"}, 1)]
    assert read(registry, "response_size_bytes_count") == []


def test_calls_in_flight(hook: PrometheusHook, registry: CollectorRegistry) -> None:
    finish = [hook(begun()), hook(begun())]
    assert read(registry, "requests_in_flight") == [({}, 2)]
    finish[0](ended())
    finish[1](ended(error()))
    assert read(registry, "requests_in_flight") == [({}, 0)]


HEDGE = attempt(endpoint=SECOND, hedge=True)


@pytest.mark.parametrize(
    ("attempts", "retries", "hedges"),
    [
        ([attempt()], 0, 0),
        ([], 0, 0),
        # The first call of a client reads metadata and configuration.
        ([attempt(), attempt(), attempt()], 0, 0),
        ([attempt("Unavailable"), attempt("Unavailable"), attempt(endpoint=SECOND)], 2, 0),
        ([attempt("Unavailable")], 0, 0),
        # The slower one of the two is cancelled.
        ([attempt("Cancelled"), HEDGE], 0, 1),
        ([attempt("Cancelled"), HEDGE, attempt()], 0, 1),
        ([attempt("Unavailable"), HEDGE], 0, 1),
        ([attempt("Unavailable"), attempt("Cancelled"), HEDGE], 1, 1),
    ],
)
def test_retries_and_hedges(
    attempts: list[Any],
    retries: int,
    hedges: int,
    hook: PrometheusHook,
    registry: CollectorRegistry,
) -> None:
    tell(hook, ended(attempts=tuple(attempts)))
    assert sum(count for _, count in read(registry, "retries_total")) == retries
    assert sum(count for _, count in read(registry, "hedges_total")) == hedges
    assert sum(count for _, count in read(registry, "attempts_total")) == len(attempts)


def test_attempts_by_endpoint_and_outcome(
    hook: PrometheusHook, registry: CollectorRegistry
) -> None:
    tell(hook, ended(attempts=(attempt("Unavailable"), attempt(endpoint=SECOND))), ended())
    found = {(a["endpoint"], a["outcome"]): n for a, n in read(registry, "attempts_total")}
    assert found == {(FIRST, "Unavailable"): 1, (SECOND, "ok"): 1, (FIRST, "ok"): 1}


def test_names_that_callers_make_up_cannot_fill_the_memory(registry: CollectorRegistry) -> None:
    hook = PrometheusHook(registry, names_max=3)
    tell(hook, ended())
    for number in range(50):
        missing = error(ModelNotFound, model=f"typo{number}")
        endpoint = f"10.0.1.{number}:8001"
        tell(hook, ended(missing, model=f"typo{number}", attempts=(attempt(endpoint=endpoint),)))
    tell(hook, ended(), ended(error()))
    found = {
        (a["model"], a["version"]) for a, _ in read(registry, "request_duration_seconds_count")
    }
    # A known model's outage stays its own.
    assert found == {
        *(("digits", "3"), ("digits", "")),
        *(("typo0", ""), ("typo1", ""), ("other", "other")),
    }
    endpoints = {labels["endpoint"] for labels, _ in read(registry, "attempts_total")}
    assert len(endpoints) == 4
    assert "other" in endpoints
    assert len(read(registry, "request_size_bytes_count")) == 4


def test_after_many_releases_the_model_keeps_its_name(registry: CollectorRegistry) -> None:
    hook = PrometheusHook(registry, names_max=3)
    tell(hook, *(ended(answered_version=str(number)) for number in range(1, 10)))
    counts = {
        labels["version"]: count
        for labels, count in read(registry, "request_duration_seconds_count")
        if labels["model"] == "digits"
    }
    assert counts == {"1": 1, "2": 1, "3": 1, "other": 6}


def test_given_buckets_and_namespace(registry: CollectorRegistry) -> None:
    tell(PrometheusHook(registry, namespace="shop", buckets_s=(0.05, 0.2)), ended())
    text = generate_latest(registry).decode()
    assert 'shop_request_duration_seconds_bucket{arm="",le="0.05"' in text
    assert "clickclean_client" not in text


@pytest.mark.parametrize(
    "settings",
    [
        {"buckets_s": ()},
        {"buckets_s": (0.2, 0.1)},
        {"buckets_s": (0.1, 0.1)},
        {"buckets_s": (-1.0, 0.1)},
        {"buckets_s": (0.1, float("nan"))},
        {"buckets_s": ("0.1",)},
        {"namespace": "a b"},
        {"namespace": ""},
        {"names_max": 0},
        {"names_max": True},
    ],
)
def test_malformed_settings(settings: dict[str, Any], registry: CollectorRegistry) -> None:
    with pytest.raises(HookError) as caught:
        PrometheusHook(registry, **settings)
    assert caught.value.exit_code == 2
    assert generate_latest(registry) == b""


def test_a_second_hook_on_the_same_registry_is_refused_and_changes_nothing(
    hook: PrometheusHook, registry: CollectorRegistry
) -> None:
    tell(hook, ended())
    before = generate_latest(registry)
    with pytest.raises(HookError, match="already") as caught:
        PrometheusHook(registry)
    assert caught.value.hint == "Make one PrometheusHook and give it to every client."
    assert generate_latest(registry) == before


def test_a_name_that_another_metric_has_leaves_nothing_behind(registry: CollectorRegistry) -> None:
    Counter("clickclean_client_hedges", "Ours, of before.", registry=registry)
    before = generate_latest(registry)
    with pytest.raises(HookError, match="already"):
        PrometheusHook(registry)
    assert generate_latest(registry) == before


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(HookLibraryMissing) as caught:
        PrometheusHook()
    assert caught.value.exit_code == 4
    assert caught.value.hint == "pip install 'clickclean[prometheus]'"


MANY_PROCESSES = """
import json, os, sys
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector
from clickclean_client.prometheus import PrometheusHook
from tests.client.observed_calls import begun, ended

hook = PrometheusHook()
hook(begun())(ended())
hook(begun())
child = os.fork()
if child == 0:
    hook(begun())(ended())
    os._exit(0)
os.waitpid(child, 0)
registry = CollectorRegistry()
MultiProcessCollector(registry)
labels = {"model": "digits", "version": "3", "arm": "", "outcome": "ok"}
print(json.dumps([
    registry.get_sample_value("%s_count", labels),
    registry.get_sample_value("clickclean_client_requests_in_flight"),
]))
"""


def test_processes_that_were_forked_are_summed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", MANY_PROCESSES % SECONDS],
        env={
            **os.environ,
            "PROMETHEUS_MULTIPROC_DIR": str(tmp_path),
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [2, 1]
