"""The spans that OpenTelemetry's own SDK records."""

import sys
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from opentelemetry.trace import (
    NonRecordingSpan,
    NoOpTracerProvider,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    use_span,
)

from clickclean_client import DeadlineExceeded, InvalidRequest, ProtocolError, Unavailable
from clickclean_client._exceptions import Call, HookError, HookLibraryMissing
from clickclean_client.opentelemetry import _CODES, OpenTelemetryHook
from clickclean_client.protocol import grpc
from tests.client.observed_calls import FIRST, SECOND, START_NS, attempt, begun, ended, tell

PARENT = SpanContext(0xABC, 0xDEF, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
METHOD = "inference.GRPCInferenceService/ModelInfer"


def recording(sampler: Sampler = ALWAYS_ON) -> tuple[TracerProvider, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider, exporter


def span_of(*ends: Any, start: Any = None) -> ReadableSpan:
    provider, exporter = recording()
    tell(OpenTelemetryHook(provider), *ends, start=start)
    (span,) = exporter.get_finished_spans()
    return span


def attributes_of(span: Any) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_a_call_that_was_answered() -> None:
    start = begun(version="3", request_id="r-1")
    end = ended(version="3", arm="champion", experiment="digits-3-x", duration_s=0.25)
    span = span_of(end, start=start)
    assert (span.name, span.kind) == (METHOD, SpanKind.CLIENT)
    assert attributes_of(span) == {
        "rpc.system.name": "grpc",
        "rpc.method": METHOD,
        "rpc.system": "grpc",
        "rpc.service": "inference.GRPCInferenceService",
        "rpc.response.status_code": "OK",
        "rpc.grpc.status_code": 0,
        "server.address": "10.0.0.1",
        "server.port": 8001,
        "clickclean.model": "digits",
        "clickclean.version": "3",
        "clickclean.asked_version": "3",
        "clickclean.arm": "champion",
        "clickclean.experiment": "digits-3-x",
        "clickclean.attempts": 1,
        "clickclean.outcome": "ok",
        "clickclean.request_id": "r-1",
    }
    assert (span.start_time, span.end_time) == (START_NS, START_NS + 250_000_000)
    assert span.status.status_code is StatusCode.UNSET


def test_each_attempt_is_an_event_at_its_time() -> None:
    attempts = (attempt("Unavailable"), attempt(endpoint=SECOND, hedge=True))
    span = span_of(ended(attempts=attempts))
    assert [(event.name, event.timestamp) for event in span.events] == [
        ("attempt", START_NS + 1_000_000)
    ] * 2
    assert [attributes_of(event) for event in span.events] == [
        {
            "clickclean.endpoint": endpoint,
            "clickclean.duration_s": 0.004,
            "clickclean.outcome": outcome,
            "clickclean.hedge": hedge,
        }
        for endpoint, outcome, hedge in ((FIRST, "Unavailable", False), (SECOND, "ok", True))
    ]
    # The server is the one that answered.
    assert attributes_of(span)["server.address"] == "10.0.0.2"


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (Unavailable(Call(FIRST, "digits", code="UNAVAILABLE")), "UNAVAILABLE", "UNAVAILABLE"),
        # The server was not asked, or had not answered yet.
        (InvalidRequest(Call(model="digits"), "x is missing"), None, "InvalidRequest"),
        (DeadlineExceeded(Call(model="digits", timeout_s=1)), None, "DeadlineExceeded"),
        (ProtocolError(Call(model="digits", code="OK")), "OK", "ProtocolError"),
    ],
)
def test_a_call_that_failed(error: Any, status: str | None, kind: str) -> None:
    span = span_of(ended(error))
    found = attributes_of(span)
    assert found.get("rpc.response.status_code") == status
    assert found["error.type"] == kind
    assert found["clickclean.outcome"] == type(error).__name__
    assert "clickclean.version" not in found
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, str(error))
    recorded = attributes_of(span.events[-1])
    assert recorded["exception.type"].endswith(type(error).__name__)
    assert recorded["exception.message"] == str(error)


def test_a_call_that_something_else_ended() -> None:
    span = span_of(ended(outcome="KeyboardInterrupt", answered_version=""))
    assert (span.status.status_code, span.status.description) == (
        StatusCode.ERROR,
        "KeyboardInterrupt",
    )
    assert attributes_of(span)["error.type"] == "KeyboardInterrupt"


def test_grpc_codes_have_the_numbers_of_grpc() -> None:
    assert {code.name: code.value[0] for code in grpc.StatusCode} == {
        name: number for number, name in enumerate(_CODES)
    }


@pytest.mark.parametrize(
    ("endpoint", "server"),
    [
        ("[::1]:8001", {"server.address": "::1", "server.port": 8001}),
        ("triton.svc:8001", {"server.address": "triton.svc", "server.port": 8001}),
        ("unix:/run/triton", {"server.address": "unix:/run/triton"}),
    ],
)
def test_the_server_in_the_words_of_the_conventions(endpoint: str, server: dict[str, Any]) -> None:
    found = attributes_of(span_of(ended(attempts=(attempt(endpoint=endpoint),))))
    assert {name: value for name, value in found.items() if name.startswith("server.")} == server


def test_the_server_is_the_one_that_answered_also_when_a_hedge_came_too_late() -> None:
    late = attempt("Cancelled", SECOND, hedge=True)
    assert attributes_of(span_of(ended(attempts=(attempt(), late))))["server.address"] == "10.0.0.1"


def test_a_call_without_attempts_names_no_server() -> None:
    assert "server.address" not in attributes_of(span_of(ended(attempts=())))


def test_the_span_is_the_callers_child_and_the_server_gets_its_context() -> None:
    provider, exporter = recording()
    with provider.get_tracer("service").start_as_current_span("request") as parent:
        start = tell(OpenTelemetryHook(provider), ended())
    span, _ = exporter.get_finished_spans()
    context = span.get_span_context()
    assert context is not None
    assert span.parent is not None
    assert span.parent.span_id == parent.get_span_context().span_id
    (name, value), *others = start.headers.items()
    version, trace_id, span_id, flags = value.split("-")
    assert (name, version, others) == ("traceparent", "00", [])
    assert (int(trace_id, 16), int(span_id, 16)) == (context.trace_id, context.span_id)
    assert int(flags, 16) & TraceFlags.SAMPLED


@pytest.mark.parametrize(
    ("propagate", "sampler", "sampled"),
    [
        ("sampled", ALWAYS_ON, 1),
        ("sampled", ALWAYS_OFF, None),
        ("always", ALWAYS_ON, 1),
        ("always", ALWAYS_OFF, 0),
        ("never", ALWAYS_ON, None),
        ("never", ALWAYS_OFF, None),
    ],
)
def test_which_contexts_the_server_gets(
    propagate: Any, sampler: Sampler, sampled: int | None
) -> None:
    provider, exporter = recording(sampler)
    start = tell(OpenTelemetryHook(provider, propagate=propagate), ended())
    sent = start.headers.get("traceparent")
    # The flags are the last two of its hexadecimal digits; 2 of them says "random".
    assert (int(sent[-2:], 16) & TraceFlags.SAMPLED if sent else None) == sampled
    assert bool(exporter.get_finished_spans()) is (sampler is ALWAYS_ON)


def test_a_program_without_a_tracer_hands_the_context_of_its_caller_on() -> None:
    with use_span(NonRecordingSpan(PARENT)):
        start = tell(OpenTelemetryHook(NoOpTracerProvider()), ended())
    assert start.headers == {"traceparent": f"00-{0xABC:032x}-{0xDEF:016x}-01"}


def test_a_program_without_a_trace_sends_nothing() -> None:
    assert tell(OpenTelemetryHook(NoOpTracerProvider()), ended()).headers == {}
    # The library's own provider, which nobody has set here.
    assert tell(OpenTelemetryHook(), ended(), ended()).headers == {}


def test_an_unknown_word_for_propagation_is_refused() -> None:
    with pytest.raises(HookError, match="'sometimes'") as caught:
        OpenTelemetryHook(propagate="sometimes")  # type: ignore[arg-type]
    assert caught.value.exit_code == 2


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", None)
    with pytest.raises(HookLibraryMissing) as caught:
        OpenTelemetryHook()
    assert caught.value.exit_code == 4
    assert caught.value.hint == "pip install 'clickclean[opentelemetry]'"
