"""A span for each call: `Client(..., hooks=[OpenTelemetryHook()])`.

Imports are absolute, so `opentelemetry` below is the library and not this module.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal

from clickclean_client._exceptions import HookError, HookLibraryMissing
from clickclean_client._observe import AttemptRecord, CallEnd, CallStart

if TYPE_CHECKING:
    from opentelemetry.trace import Span, TracerProvider
    from opentelemetry.util.types import AttributeValue

_SERVICE: Final = "inference.GRPCInferenceService"
_METHOD: Final = f"{_SERVICE}/ModelInfer"
# The conventions for RPC as they are now, and the names of before, which backends still read.
# `rpc.method` has changed its meaning; the present one contains both.
# https://opentelemetry.io/docs/specs/semconv/non-normative/rpc-migration/
_RPC: Final[dict[str, AttributeValue]] = {
    "rpc.system.name": "grpc",
    "rpc.method": _METHOD,
    "rpc.system": "grpc",
    "rpc.service": _SERVICE,
}
# https://grpc.github.io/grpc/core/md_doc_statuscodes.html
_CODES: Final = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND"),
    *("ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION"),
    *("ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"),
    "UNAUTHENTICATED",
)

Propagate = Literal["sampled", "always", "never"]


class OpenTelemetryHook:
    """Makes a CLIENT span of each call and lets the server continue its trace.

    The span's parent is the caller's current one. It covers all attempts, each an event
    `attempt`, and carries the RPC attributes of OpenTelemetry and `clickclean.model`, `.version`
    (that answered), `.asked_version`, `.arm`, `.experiment`, `.attempts`, `.outcome` and
    `.request_id`. An error sets the status and is recorded as an exception.

    The context goes to the server as W3C `traceparent` and `tracestate`, whatever the program's
    own propagator is, because Triton reads no other. With "sampled" only that of traces which are
    sampled: Triton traces every request that brings a context, even one with the flag "not
    sampled". "always" is for other servers, "never" for none.

    `tracer_provider` is the global one by default.

    Raises:
        HookLibraryMissing: opentelemetry-api is not installed.
        HookError: `propagate` is none of the three words.
    """

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        *,
        propagate: Propagate = "sampled",
    ) -> None:
        try:
            from opentelemetry.trace import (
                SpanKind,
                StatusCode,
                get_tracer,
                set_span_in_context,
            )
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError as exc:
            hook = "OpenTelemetryHook"
            raise HookLibraryMissing(hook, "opentelemetry-api", "opentelemetry", str(exc)) from exc
        if propagate not in {"sampled", "always", "never"}:
            raise HookError(
                f"propagate must not be {propagate!r}.",
                hint='It is "sampled", "always" or "never".',
            )
        self._propagate = propagate
        self._tracer = get_tracer("clickclean_client", tracer_provider=tracer_provider)
        self._kind = SpanKind.CLIENT
        self._inject = TraceContextTextMapPropagator().inject
        self._with_span = set_span_in_context
        self._error = StatusCode.ERROR

    def __call__(self, start: CallStart) -> Callable[[CallEnd], None]:
        """Begin a span; what is returned ends it."""
        span = self._tracer.start_span(
            _METHOD, kind=self._kind, attributes=_RPC, start_time=start.start_ns
        )
        context = span.get_span_context()
        sends = context.trace_flags.sampled or self._propagate == "always"
        if sends and context.is_valid and self._propagate != "never":
            self._inject(start.headers, self._with_span(span))
        if not span.is_recording():
            return _nothing
        span.set_attributes(_asked(start))
        return lambda end: self._end(span, start, end)

    def _end(self, span: Span, start: CallStart, end: CallEnd) -> None:
        span.set_attributes(_answered(end))
        for attempt in end.attempts:
            span.add_event("attempt", _of_attempt(attempt), attempt.start_ns)
        end_ns = start.start_ns + int(end.duration_s * 1e9)
        if end.outcome != "ok":
            if end.error is not None:
                span.record_exception(end.error, timestamp=end_ns)
            span.set_status(self._error, str(end.error or end.outcome))
        span.end(end_ns)


def _nothing(_: CallEnd) -> None:
    """The end of a call that no span is recorded of."""


def _asked(start: CallStart) -> dict[str, AttributeValue]:
    found: dict[str, AttributeValue] = {"clickclean.model": start.model}
    if start.version:
        found["clickclean.asked_version"] = start.version
    if start.request_id:
        found["clickclean.request_id"] = start.request_id
    return found


def _answered(end: CallEnd) -> dict[str, AttributeValue]:
    found: dict[str, AttributeValue] = {
        "clickclean.attempts": len(end.attempts),
        "clickclean.outcome": end.outcome,
    }
    for name, value in (
        ("version", end.answered_version),
        ("arm", end.arm),
        ("experiment", end.experiment),
    ):
        if value:
            found[f"clickclean.{name}"] = value
    # "" where the client refused a call, or gave it up, before a server had said anything.
    code = "OK" if end.outcome == "ok" else getattr(end.error, "code", "")
    if code in _CODES:
        found["rpc.response.status_code"] = code
        found["rpc.grpc.status_code"] = _CODES.index(code)
    if end.outcome != "ok":
        # The status where a server gave one, as the conventions have it, else the class.
        found["error.type"] = code if code not in {"", "OK"} else end.outcome
    if end.attempts:
        found.update(_server(end))
    return found


def _server(end: CallEnd) -> dict[str, AttributeValue]:
    # With several endpoints: the one that answered, else the last one that was tried.
    answered = [attempt for attempt in end.attempts if attempt.outcome == "ok"]
    endpoint = (answered or end.attempts)[-1].endpoint
    host, _, port = endpoint.rpartition(":")
    if not host or not port.isdecimal():
        return {"server.address": endpoint}
    return {"server.address": host.strip("[]"), "server.port": int(port)}


def _of_attempt(attempt: AttemptRecord) -> dict[str, AttributeValue]:
    return {
        "clickclean.endpoint": attempt.endpoint,
        "clickclean.duration_s": attempt.duration_s,
        "clickclean.outcome": attempt.outcome,
        "clickclean.hedge": attempt.hedge,
    }
