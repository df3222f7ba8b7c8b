"""Failures while a request is computed or waits: models that raise, queues, deadlines, cancels."""

import time
from contextlib import suppress
from pathlib import Path

from clickclean_client.protocol import grpc
from failing_server import (
    Calls,
    Model,
    Repository,
    Seen,
    after,
    calls_to,
    infer_request,
    triton,
)
from failing_table import MAYBE, NO, Table

QUEUE = "default_queue_policy {{ {} }}"
MODELS = (
    Model("plain"),
    Model("single", policy="-"),
    Model(
        "impatient",
        policy=QUEUE.format("timeout_action: REJECT default_timeout_microseconds: 200000"),
        max_batch=1,
    ),
    Model(
        "asked",
        policy=QUEUE.format(
            "timeout_action: REJECT default_timeout_microseconds: 9000000 "
            "allow_timeout_override: true"
        ),
        max_batch=1,
    ),
    Model("full", policy=QUEUE.format("max_queue_size: 1"), max_batch=1),
)
BUSY_S = 0.6
# Triton's code for an error of one request -> gRPC's, and the class for it.
OWN_ERRORS = {
    "UNKNOWN": ("UNKNOWN", "ServerFault"),
    "INTERNAL": ("INTERNAL", "ServerFault"),
    "NOT_FOUND": ("NOT_FOUND", "ModelNotFound"),
    "INVALID_ARG": ("INVALID_ARGUMENT", "InvalidRequest"),
    "UNAVAILABLE": ("UNAVAILABLE", "Unavailable"),
    "UNSUPPORTED": ("UNIMPLEMENTED", "ProtocolError"),
    "ALREADY_EXISTS": ("ALREADY_EXISTS", "ServerFault"),
    "CANCELLED": ("CANCELLED", "Cancelled"),
}


def measure(folder: Path, table: Table) -> None:
    """Ask one server whose models fail as they are told."""
    repository = Repository(folder, MODELS)
    with triton(repository, folder / "log") as server:
        server.load(*(model.name for model in MODELS))
        with calls_to(server.endpoint) as calls:
            for model in MODELS:
                calls.infer(model.name)
            _model_errors(calls, table, repository)
            _queues(calls, table, repository)
            _deadlines(calls, table, repository)
        _cancels(server.endpoint, table, repository)


def _model_errors(calls: Calls, table: Table, repository: Repository) -> None:
    def note(case: str, seen: Seen, code: str, part: str, *, raises: str, how: str) -> None:
        table.note(
            case,
            seen,
            code,
            part,
            computed=MAYBE,
            raises=raises,
            how=how,
            reached=repository.reached,
        )

    note(
        "execute raises",
        calls.infer("single", order="raise"),
        "INTERNAL",
        "Failed to process the request(s) for model",
        raises="ServerFault",
        how="a Python model whose execute() raises ValueError",
    )
    note(
        "execute returns fewer responses than requests",
        calls.infer("single", order="short list"),
        "INTERNAL",
        "Failed to process the request(s) for model",
        raises="ServerFault",
        how="execute() returns []",
    )
    note(
        "execute returns no response for a request",
        calls.infer("single", order="no response", timeout_s=1.5),
        "DEADLINE_EXCEEDED",
        "",
        raises="DeadlineExceeded",
        how="execute() returns [None]: no answer ever comes",
    )
    for what, (code, raises) in OWN_ERRORS.items():
        note(
            f"the model refuses one request with {what}",
            calls.infer("single", order=what),
            code,
            "",
            raises=raises,
            how=f"InferenceResponse(error=TritonError(text, TritonError.{what})); the text is the"
            " model's, and the code the same as that of failures of the server",
        )
    note(
        "an error text over 16 KB",
        calls.infer("single", order="20000"),
        "RESOURCE_EXHAUSTED",
        "Stream removed (received metadata size exceeds hard limit",
        raises="ServerFault",
        how="a per-request error of 20,000 characters; refused by gRPC in the client",
    )
    tries = [calls.infer("single", order="10000") for _ in range(100)]
    cut = [one for one in tries if one.code == "RESOURCE_EXHAUSTED"]
    if cut:
        note(
            "an error text of 8 to 16 KB",
            cut[0],
            "RESOURCE_EXHAUSTED",
            "Stream removed (received metadata size exceeds soft limit",
            raises="ServerFault",
            how=f"a per-request error of 10,000 characters; {len(cut)} of {len(tries)} by chance",
        )


def _queues(calls: Calls, table: Table, repository: Repository) -> None:
    def note(case: str, seen: Seen, part: str, how: str) -> None:
        table.note(
            case,
            seen,
            "UNAVAILABLE",
            part,
            computed=NO,
            raises="Overloaded",
            how=how,
            reached=repository.reached,
        )

    busy = calls.begin("impatient", BUSY_S)
    time.sleep(0.1)
    note(
        "a queue timeout of the model's config",
        calls.infer("impatient"),
        "Request timeout expired",
        f"default_timeout_microseconds 200000 behind a batch of {BUSY_S} s: the refusal is sent"
        " when the batch has ended, not after 0.2 s",
    )
    busy.result()
    busy = calls.begin("asked", BUSY_S)
    time.sleep(0.1)
    note(
        "a queue timeout of the request",
        calls.infer("asked", queue_us=100_000),
        "Request timeout expired",
        f"allow_timeout_override, timeout 100000 in the request, behind a batch of {BUSY_S} s",
    )
    busy.result()
    busy = calls.begin("full", BUSY_S)
    time.sleep(0.1)
    queued = calls.begin("full")
    time.sleep(0.1)
    note(
        "a full queue",
        calls.infer("full"),
        "Exceeds maximum queue size",
        "max_queue_size 1 behind a batch and a queued request: refused at once",
    )
    busy.result()
    queued.result()


def _deadlines(calls: Calls, table: Table, repository: Repository) -> None:
    def note(case: str, seen: Seen, computed: str, how: str) -> None:
        table.note(
            case,
            seen,
            "DEADLINE_EXCEEDED",
            "",
            computed=computed,
            raises="DeadlineExceeded",
            how=how,
            reached=repository.reached,
        )

    seen = calls.infer("plain", BUSY_S, timeout_s=0.2)
    time.sleep(BUSY_S)
    note("a deadline while the model computes", seen, MAYBE, "timeout 0.2 s; the model goes on")
    for model, how in (
        ("plain", "dynamic batching: the batch that was formed next is computed all the same"),
        ("single", "no dynamic batching: computed later all the same"),
    ):
        busy = calls.begin(model, BUSY_S)
        time.sleep(0.1)
        seen = calls.infer(model, timeout_s=0.1)
        busy.result()
        time.sleep(0.2)
        note(f"a deadline in the queue of {model!r}", seen, MAYBE, how)
    seen = calls.infer("plain", timeout_s=0)
    time.sleep(0.2)
    note("a deadline of 0 s", seen, MAYBE, "timeout 0")


def _cancels(endpoint: str, table: Table, repository: Repository) -> None:
    def note(case: str, seen: Seen, part: str, how: str) -> None:
        table.note(
            case,
            seen,
            "CANCELLED",
            part,
            computed=MAYBE,
            raises="Cancelled",
            how=how,
            reached=repository.reached,
        )

    with calls_to(endpoint) as calls:
        request = infer_request("plain", BUSY_S)
        future = calls.stub.ModelInfer.future(request, timeout=3)
        cancel = after(0.2, future.cancel)
        start = time.monotonic()
        with suppress(grpc.FutureCancelledError):
            future.result()
        took_s = time.monotonic() - start
        cancel.join()
        seen = Seen(future.code().name, future.details(), took_s, request.id)
        note("a cancel by the caller", seen, "Locally cancelled by application", "future.cancel()")
        time.sleep(BUSY_S)
    with calls_to(endpoint) as calls:
        calls.infer("plain")
        close = after(0.2, calls.channel.close)
        seen = calls.infer("plain", BUSY_S)
        close.join()
        note("a channel closed by the caller", seen, "Channel closed", "channel.close()")
        time.sleep(BUSY_S)
