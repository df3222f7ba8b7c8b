"""One channel to one server, deadlines, and the mapping of what goes wrong on the way."""

from __future__ import annotations

import copy
import math
import re
import time
from collections.abc import Callable, Generator, Mapping
from typing import Any, Final, TypeVar

from clickclean_client._errors import error_from_status
from clickclean_client._exceptions import Call, ClientError, DeadlineExceeded, InvalidRequest
from clickclean_client._names import checked_model, checked_version
from clickclean_client.protocol import MAX_MESSAGE_BYTES, grpc, service_pb2_grpc

_ENDPOINT: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):([0-9]{1,5})")
_HEADER: Final = re.compile(r"[0-9a-z_.-]+")
_LONGEST_TIMEOUT_S: Final = 86_400.0

_CHANNEL_OPTIONS: Final = (
    # Options replace gRPC's defaults one by one: without both lines a message is limited to 4 MB.
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # Without it all channels of the process to one address share a connection.
    ("grpc.use_local_subchannel_pool", 1),
    # gRPC waits up to 120 s between attempts to connect; a restarted server is back in 2 s.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)

_Result = TypeVar("_Result")


class Ask:
    """What one call of the user is about, and the time that all its steps share.

    `model` and `version` are the caller's words, which answers and errors repeat. `name` and
    `number` say where in the server a step goes: the same, or a slot of that model.
    """

    def __init__(self, endpoint: str, model: str, version: str, timeout_s: float) -> None:
        self.endpoint = endpoint
        self.model = model
        self.version = version
        self.timeout_s = timeout_s
        self.name = model
        self.number = version
        self._start_s = time.monotonic()
        self._end_s = self._start_s + timeout_s

    @property
    def left_s(self) -> float:
        return self._end_s - time.monotonic()

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._start_s

    def to(self, name: str, number: str, *, share: float = 1.0) -> Ask:
        """The same call, sent to another name of the server, with a share of the time left."""
        other = copy.copy(self)
        other.name = name
        other.number = number
        if share < 1:
            other._end_s -= (1 - share) * self.left_s
        return other

    def facts(self, code: str = "", message: str = "") -> Call:
        """What an error that arises now is made from."""
        return Call(
            self.endpoint, self.model, self.version, self.elapsed_s, self.timeout_s, code, message
        )


Step = tuple[str, Any, Ask]
"""A remote procedure's name, its request, and the call that it is a part of."""

Flow = Generator[Step, Any, _Result]
"""Logic without I/O, as httpx writes its authentication: it yields what is to be sent, and gets
the response, or has the `ClientError` raised where it yielded. What it returns is the result."""


Done = Callable[[Any, ClientError | None], None]


class Transport:
    """A gRPC channel with its headers; safe for many threads. Construction does no I/O.

    Raises:
        InvalidRequest: endpoint, timeout or headers are malformed.
    """

    def __init__(self, endpoint: str, *, timeout_s: float, headers: Mapping[str, str]) -> None:
        self.endpoint = _checked_endpoint(endpoint)
        self._timeout_s = self._checked_timeout(timeout_s)
        self._headers = tuple(self._checked_header(k, v) for k, v in headers.items())
        self._channel = grpc.insecure_channel(endpoint, options=_CHANNEL_OPTIONS)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        # The bytes of `_wire`, as they are.
        self._stub.ModelInfer = self._channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer"
        )
        self._closed = False

    def ask(
        self, model: str, version: str | int | None = None, *, timeout_s: float | None = None
    ) -> Ask:
        """Start the clock of a call about a model; no timeout takes the one of construction.

        Raises:
            InvalidRequest: model, version or timeout are malformed.
        """
        call = Call(self.endpoint)
        return Ask(
            self.endpoint,
            checked_model(model, call),
            checked_version(version, call),
            self._chosen_timeout(timeout_s),
        )

    def ask_server(self, *, timeout_s: float | None = None) -> Ask:
        """Start the clock of a call about the server itself.

        Raises:
            InvalidRequest: the timeout is malformed.
        """
        return Ask(self.endpoint, "", "", self._chosen_timeout(timeout_s))

    def call(self, rpc: str, request: Any, ask: Ask) -> Any:
        """Send one request by the name of its remote procedure and return the response.

        Raises:
            ClientError: the subclass that `_errors` gives to the status.
        """
        if self._closed:
            raise _closed_error(ask)
        left_s = ask.left_s
        if left_s <= 0:
            raise DeadlineExceeded(ask.facts())
        try:
            return getattr(self._stub, rpc)(request, timeout=left_s, metadata=self._headers)
        except grpc.RpcError as exc:
            code = exc.code()
            raise error_from_status(code, ask.facts(code.name, exc.details() or "")) from exc
        except ValueError as exc:
            # What gRPC raises on a channel that another thread closes in this moment.
            if not self._closed:
                raise
            raise _closed_error(ask) from exc

    def run(self, flow: Flow[_Result]) -> _Result:
        """Send what a flow yields, one step after another, until it returns.

        Raises:
            ClientError: what the flow raises, or does not catch.
        """
        try:
            step = next(flow)
            while True:
                try:
                    response = self.call(*step)
                except ClientError as exc:
                    step = flow.throw(exc)
                else:
                    step = flow.send(response)
        except StopIteration as end:
            result: _Result = end.value
            return result

    def begin(self, rpc: str, request: Any, ask: Ask, done: Done) -> Any | None:
        """Send a request and return at once; `done` gets the response, or else the error.

        `done` is called in a thread of gRPC and must neither wait nor raise. What is returned
        has a `cancel()`; None means that the client is closed, and `done` is not called.
        """
        if self._closed:
            return None
        try:
            future = getattr(self._stub, rpc).future(
                request, timeout=max(0.0, ask.left_s), metadata=self._headers
            )
        except ValueError:
            return None

        def finish(ended: Any) -> None:
            code = ended.code()
            if code is grpc.StatusCode.OK:
                done(ended.result(), None)
            else:
                done(None, error_from_status(code, ask.facts(code.name, ended.details() or "")))

        future.add_done_callback(finish)
        return future

    def close(self) -> None:
        """Close the channel; calls under way end with `Cancelled`. May be repeated."""
        self._closed = True
        self._channel.close()

    def _chosen_timeout(self, timeout_s: float | None) -> float:
        return self._timeout_s if timeout_s is None else self._checked_timeout(timeout_s)

    def _checked_timeout(self, timeout_s: float) -> float:
        # bool is an int for Python, but timeout_s=True is a mistake.
        if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float):
            problem = f"timeout_s must be a number of seconds, not {timeout_s!r}"
        elif math.isnan(timeout_s) or not 0 < timeout_s <= _LONGEST_TIMEOUT_S:
            problem = f"timeout_s must be above 0 and at most {_LONGEST_TIMEOUT_S:g} s, "
            problem += f"not {timeout_s!r}"
        else:
            return float(timeout_s)
        raise InvalidRequest(
            Call(self.endpoint), problem, hint="Every call has a deadline; 1.0 is the default."
        )

    def _checked_header(self, key: str, value: str) -> tuple[str, str]:
        name = key.lower() if isinstance(key, str) else ""
        ok = _HEADER.fullmatch(name) and not name.endswith("-bin") and not name.startswith("grpc-")
        if ok and isinstance(value, str) and value.isascii() and value.isprintable():
            return name, value
        # The value may be a secret, so it is not shown.
        raise InvalidRequest(
            Call(self.endpoint),
            f"the header {key!r} cannot be sent",
            hint="A name is of a-z 0-9 _ . -, a value of printable ASCII.",
        )


def _closed_error(ask: Ask) -> InvalidRequest:
    return InvalidRequest(
        ask.facts(),
        "the client is closed",
        hint="Keep the client open as long as calls are made; it serves many threads.",
    )


def _checked_endpoint(endpoint: str) -> str:
    match = _ENDPOINT.fullmatch(endpoint) if isinstance(endpoint, str) else None
    if match is None or not 0 < int(match[1]) < 2**16:
        raise InvalidRequest(
            Call(),
            f"{endpoint!r} is no endpoint",
            hint='Write "host:port" without a scheme, for instance "127.0.0.1:8001".',
        )
    return endpoint
