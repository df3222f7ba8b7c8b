"""The real tritonserver continues the trace that the hook hands on."""

import http.server
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from clickclean_client import Client
from clickclean_client.opentelemetry import OpenTelemetryHook
from clickclean_server import shell_command
from clickclean_server.ports import PortWishes
from tests.client.observed_calls import ended, tell
from tests.server.tiny_models import TinyRepository, linear

CALLS = 20
ROW = np.ones((1, 4), np.float32)

Span = dict[str, Any]


class Collector(http.server.ThreadingHTTPServer):
    """Takes spans as OTLP over HTTP, in JSON as this server sends them."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Post)
        self.spans: list[Span] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1/traces"


class _Post(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        assert isinstance(self.server, Collector)
        for resource in body["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                self.server.spans.extend(scope["spans"])
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Not into the tests' output."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@contextmanager
def tracing_server(repository: Path, collector: Collector, log: Path) -> Iterator[str]:
    """The server of `clickclean serve --print-command`, with tracing; where it listens."""
    ports = PortWishes().choose()
    line = shell_command(
        repository, grpc_port=ports.grpc, http_port=ports.http, metrics_port=ports.metrics
    )
    for setting in (
        "mode=opentelemetry",
        "level=TIMESTAMPS",
        "rate=0",  # only requests that bring a context
        f"opentelemetry,url={collector.url}",
        "opentelemetry,bsp_schedule_delay=50",
    ):
        line += f" --trace-config={setting}"
    with log.open("wb") as stream:
        server = subprocess.Popen(
            ["/bin/bash", "-c", f"exec env {line}"],
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        yield f"127.0.0.1:{ports.grpc}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def until_ready(endpoint: str, log: Path) -> None:
    with Client(endpoint) as client:
        deadline_s = time.monotonic() + 60
        while not client.is_ready("linear"):
            assert time.monotonic() < deadline_s, log.read_text()[-3000:]
            time.sleep(0.05)


def call(hook: OpenTelemetryHook, endpoint: str) -> tuple[str, str]:
    """Trace id and span id that the server was given, "" for none."""
    headers = tell(hook, ended()).headers
    with Client(endpoint, timeout_s=20, headers=headers) as client:
        client.infer("linear", x=ROW)
    _, trace_id, span_id, _ = headers.get("traceparent", "---").split("-")
    return trace_id, span_id


def test_triton_continues_the_trace(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    repository = TinyRepository(tmp_path / "repository")
    repository.add("linear", linear())
    recorded = TracerProvider(shutdown_on_exit=False)
    unsampled = TracerProvider(ALWAYS_OFF, shutdown_on_exit=False)
    log = tmp_path / "log"
    with tracing_server(repository.root, collector, log) as endpoint:
        until_ready(endpoint, log)
        given = {call(OpenTelemetryHook(recorded), endpoint) for _ in range(CALLS)}
        assert call(OpenTelemetryHook(unsampled), endpoint) == ("", "")
        always = OpenTelemetryHook(unsampled, propagate="always")
        flagged_off = {call(always, endpoint) for _ in range(CALLS)}
    # Stopped, it has sent everything. It reads some contexts wrongly (docs/client.md), not half.
    requests = [span for span in collector.spans if span["name"] == "InferRequest"]
    parents = {(span["traceId"], span["parentSpanId"]) for span in requests}
    assert len(requests) == len(parents)
    assert parents <= given | flagged_off
    assert len(parents & given) > CALLS / 2, log.read_text()[-3000:]
    # The reason why such contexts are not sent unless asked for.
    assert len(parents & flagged_off) > CALLS / 2
    # Below each is the model, and below that its computation.
    assert {span["traceId"] for span in collector.spans if span["name"] == "compute"} == {
        trace_id for trace_id, _ in parents
    }
