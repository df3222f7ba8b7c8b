"""What came in: every call that reached a fake server, counted."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from clickclean_client.protocol import service_pb2
from clickclean_client.testing._errors import FakeServerError, nearest

_METHODS: Final = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
REQUESTS: Final[dict[str, Any]] = {
    method.name: getattr(service_pb2, method.input_type.name) for method in _METHODS
}
"""The name of each remote procedure of Triton's protocol -> the class of its request."""

Target = str | tuple[str, str]
"""What a switch is about: the name of a remote procedure, or it and the name of a model."""

_BY_NAME: Final = {"ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics"}


@dataclass(frozen=True, slots=True)
class Call:
    """One call, or one request of a stream; `model` and `version` are as asked for, or ""."""

    rpc: str
    request: Any
    context: Any
    model: str = ""
    version: str = ""

    @classmethod
    def of(cls, rpc: str, request: Any, context: Any) -> Call:
        """The call that this request makes."""
        if rpc in _BY_NAME:
            return cls(rpc, request, context, request.name, request.version)
        model = getattr(request, "model_name", "")
        return cls(rpc, request, context, model, getattr(request, "model_version", ""))


def checked_target(target: Target) -> tuple[str, str]:
    """Remote procedure and model, "" for every model.

    Raises:
        FakeServerError: there is no such remote procedure.
    """
    rpc, model = (target, "") if isinstance(target, str) else target
    if rpc not in REQUESTS:
        raise FakeServerError(
            f"{rpc!r} is no remote procedure of Triton's protocol.", hint=nearest(rpc, REQUESTS)
        )
    return rpc, model


class CallCounts:
    """What a fake server remembers of the calls that reached it, refused ones too.

    Attributes:
        calls: How often each remote procedure was called; a stream counts once.
        asked: The same by remote procedure, model and version as asked for ("" = none named);
            of a stream, every request counts.
        headers: The metadata of the last call. Names are in lower case.
        peers: The addresses of all connections that calls came over, as gRPC writes them.
        left_s: What was left of the last call's deadline when it came; `inf` without one. gRPC
            rounds up what it writes into a header, by up to a second for long deadlines.
        last_request: The last message by remote procedure.
        most_at_once: How many calls were under way at one time, at most.
    """

    def __init__(self) -> None:
        # Guards all state of a server; calls that wait for something wait for it.
        self._changed = threading.Condition()
        self._under_way = 0
        self.forget_calls()

    def forget_calls(self) -> None:
        """Count from zero again."""
        with self._changed:
            self.calls: Counter[str] = Counter()
            self.asked: Counter[tuple[str, str, str]] = Counter()
            self.headers: dict[str, str] = {}
            self.peers: set[str] = set()
            self.left_s = float("inf")
            self.last_request: dict[str, Any] = {}
            self.most_at_once = self._under_way

    def wait_for(self, target: Target, count: int = 1, *, timeout_s: float = 10.0) -> None:
        """Wait until a remote procedure was called that often, by another thread or process.

        With a (remote procedure, model) pair, requests about that model count, of any version.

        Raises:
            FakeServerError: it was not within `timeout_s`, or there is no such procedure.
        """
        rpc, model = checked_target(target)
        with self._changed:
            if self._changed.wait_for(lambda: self._times(rpc, model) >= count, timeout_s):
                return
            subject = f"{rpc} of {model!r}" if model else rpc
            raise FakeServerError(
                f"{subject} was called {self._times(rpc, model)} times within {timeout_s:g} s, "
                f"not {count}.",
                hint=f"Calls that came: {dict(self.calls) or 'none'}.",
            )

    def _times(self, rpc: str, model: str) -> int:
        if not model:
            return self.calls[rpc]
        return sum(n for (r, m, _), n in self.asked.items() if (r, m) == (rpc, model))

    @contextmanager
    def _counted(self, call: Call) -> Iterator[None]:
        left_s = call.context.time_remaining()
        with self._changed:
            self.calls[call.rpc] += 1
            self.headers = dict(call.context.invocation_metadata())
            self.peers.add(call.context.peer())
            self.left_s = float("inf") if left_s is None else left_s
            self._under_way += 1
            self.most_at_once = max(self.most_at_once, self._under_way)
            if call.request is not None:
                self._note_request(call)
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._under_way -= 1

    def _note_request(self, call: Call) -> None:
        with self._changed:
            self.last_request[call.rpc] = call.request
            if call.model:
                self.asked[call.rpc, call.model, call.version] += 1
            self._changed.notify_all()
