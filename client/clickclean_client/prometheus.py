"""Metrics of calls for Prometheus: `Client(..., hooks=[PrometheusHook()])`."""

from __future__ import annotations

import functools
import itertools
import math
import re
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from clickclean_client._exceptions import HookError, HookLibraryMissing
from clickclean_client._observe import CallEnd, CallStart

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

DURATION_BUCKETS_S: Final = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15),
    *(0.2, 0.25, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0),
)
"""Upper edges in seconds. The share of answers within a target is exact only at an edge: 0.2 is
the project's target, 1.0 the client's default deadline."""

_SIZE_BUCKETS: Final = tuple(float(4**power) for power in range(4, 16))  # 256 B to 1 GiB

_NAMESPACE: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_OTHER: Final = "other"


class PrometheusHook:
    """Counts and times calls; one instance may serve all clients of a process.

    The metrics, each with the prefix `namespace`:

    - `_request_duration_seconds`: histogram by model, version, arm, outcome. `version` is the one
      that answered, "" if none did; `outcome` is "ok" or the class name of the error.
    - `_requests_in_flight`: gauge.
    - `_attempts_total`: counter by endpoint and outcome.
    - `_retries_total`, `_hedges_total`: counters by model; attempts that followed a failed one of
      the same call, and those that were sent while another had no answer yet.
    - `_request_size_bytes`, `_response_size_bytes`: histograms by model, of the messages.

    Names come from callers and versions are never used up, so there is a limit: the first
    `names_max` pairs of model and version, the first `names_max` models and as many endpoints get
    labels of their own. Later versions of such a model, models and endpoints are "other".

    `registry` is the library's own one by default. `buckets_s` are the upper edges of the
    durations. In the library's multiprocess mode (`PROMETHEUS_MULTIPROC_DIR`) the processes' values
    are summed, the gauge over those that live.

    Raises:
        HookLibraryMissing: prometheus-client is not installed.
        HookError: buckets or namespace are malformed, or the registry has these metrics already.
    """

    def __init__(
        self,
        registry: CollectorRegistry | None = None,
        *,
        namespace: str = "clickclean_client",
        buckets_s: Sequence[float] = DURATION_BUCKETS_S,
        names_max: int = 100,
    ) -> None:
        try:
            from prometheus_client import REGISTRY, Counter, Gauge, Histogram
        except ImportError as exc:
            hook = "PrometheusHook"
            raise HookLibraryMissing(hook, "prometheus-client", "prometheus", str(exc)) from exc
        if not isinstance(namespace, str) or not _NAMESPACE.fullmatch(namespace):
            raise HookError(
                f"{namespace!r} is no prefix for metrics.", hint="It is of a-z A-Z 0-9 and _."
            )
        _check_buckets(buckets_s)
        self._names = _Names(names_max)
        # Registered below, so that nothing stays behind when one of them is refused.
        self._durations = Histogram(
            "request_duration_seconds",
            "Seconds from the beginning of a call to its end, retries included.",
            ("model", "version", "arm", "outcome"),
            namespace=namespace,
            buckets=tuple(buckets_s),
            registry=None,
        )
        self._in_flight = Gauge(
            "requests_in_flight",
            "Calls that have begun and not ended.",
            namespace=namespace,
            multiprocess_mode="livesum",
            registry=None,
        )
        self._attempts = Counter(
            "attempts",
            "Remote procedure calls that were sent.",
            ("endpoint", "outcome"),
            namespace=namespace,
            registry=None,
        )
        self._retries, self._hedges = (
            Counter(name, text, ("model",), namespace=namespace, registry=None)
            for name, text in (
                ("retries", "Attempts that followed a failed one of the same call."),
                ("hedges", "Attempts that were sent while another had no answer yet."),
            )
        )
        self._request_sizes, self._response_sizes = (
            Histogram(
                name,
                text,
                ("model",),
                namespace=namespace,
                buckets=_SIZE_BUCKETS,
                registry=None,
            )
            for name, text in (
                ("request_size_bytes", "Bytes of a request's message."),
                ("response_size_bytes", "Bytes of an answer's message."),
            )
        )
        self._register(REGISTRY if registry is None else registry)
        # `labels` builds and locks at every call; what is kept is bounded as the labels are.
        self._duration = functools.cache(self._durations.labels)
        self._attempt = functools.cache(self._attempts.labels)
        self._request_size = functools.cache(self._request_sizes.labels)
        self._response_size = functools.cache(self._response_sizes.labels)

    def __call__(self, start: CallStart) -> Callable[[CallEnd], None]:
        """Count a call as in flight; what is returned takes its end."""
        del start
        self._in_flight.inc()
        return self._ended

    def _ended(self, end: CallEnd) -> None:
        self._in_flight.dec()
        model, version = self._names.pair(end.model, end.answered_version)
        if not end.stream:
            # How long a stream takes says something about its length, not about its speed.
            self._duration(model, version, end.arm, end.outcome).observe(end.duration_s)
        if end.request_bytes:
            self._request_size(model).observe(end.request_bytes)
        if end.response_bytes:
            self._response_size(model).observe(end.response_bytes)
        for attempt in end.attempts:
            self._attempt(self._names.endpoint(attempt.endpoint), attempt.outcome).inc()
        if len(end.attempts) > 1:
            hedges = sum(attempt.hedge for attempt in end.attempts)
            retries = _retries(end)
            if hedges:
                self._hedges.labels(model).inc(hedges)
            if retries:
                self._retries.labels(model).inc(retries)

    def _register(self, registry: CollectorRegistry) -> None:
        metrics = (
            *(self._durations, self._in_flight, self._attempts, self._retries, self._hedges),
            *(self._request_sizes, self._response_sizes),
        )
        done = []
        try:
            for metric in metrics:
                registry.register(metric)
                done.append(metric)
        except ValueError as exc:
            for metric in done:
                registry.unregister(metric)
            raise HookError(
                "The registry has metrics of the same names already.",
                hint="Make one PrometheusHook and give it to every client.",
            ) from exc


class _Names:
    """Label values for names: themselves as long as there is room, then "other"."""

    def __init__(self, most: int) -> None:
        if isinstance(most, bool) or not isinstance(most, int) or most < 1:
            raise HookError(f"names_max must be a whole number of at least 1, not {most!r}.")
        self._most = most
        self._models: set[str] = set()
        self._pairs: set[tuple[str, str]] = set()
        self._endpoints: set[str] = set()
        self._adding = threading.Lock()

    def pair(self, model: str, version: str) -> tuple[str, str]:
        """Labels for a model and the version that answered."""
        pair = model, version
        if pair in self._pairs:
            return pair
        with self._adding:
            known = model in self._models
            if not known and len(self._models) >= self._most:
                return _OTHER, _OTHER
            self._models.add(model)
            # No version answered: always there, so that a known model's outage is seen as its own.
            if version and len(self._pairs) >= self._most:
                return model, _OTHER
            self._pairs.add(pair)
            return pair

    def endpoint(self, endpoint: str) -> str:
        """The label of an endpoint: of pods that come and go there is no end."""
        if endpoint in self._endpoints:
            return endpoint
        with self._adding:
            if len(self._endpoints) >= self._most:
                return _OTHER
            self._endpoints.add(endpoint)
            return endpoint


def _retries(end: CallEnd) -> int:
    # A call may need several procedures (metadata, then the inference), so the number of attempts
    # alone says nothing; and of a hedged pair the slower one ends as cancelled.
    in_turn = [attempt for attempt in end.attempts if not attempt.hedge]
    return sum(one.outcome not in {"ok", "Cancelled"} for one in in_turn[:-1])


def _check_buckets(buckets_s: Sequence[float]) -> None:
    edges = list(buckets_s)
    numbers = all(isinstance(edge, int | float) and not math.isnan(edge) for edge in edges)
    if not edges or not numbers or edges[0] <= 0:
        problem = "must be numbers of seconds above 0"
    elif any(low >= high for low, high in itertools.pairwise(edges)):
        problem = "must rise"
    else:
        return
    raise HookError(f"The buckets {edges!r} {problem}.", hint="The default is DURATION_BUCKETS_S.")
