"""What a test switches on a fake server: calls that wait, fail, or are answered by the test.

The codes and texts are those of a real tritonserver 2.51 that was stopped, overloaded, asked
without a key, or whose model process was killed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from clickclean_client.protocol import grpc
from clickclean_client.testing._calls import Call, CallCounts, Target, checked_target
from clickclean_client.testing._errors import FakeServerError, Refusal, nearest, status_code

INFERENCE: Final = ("ModelInfer", "ModelStreamInfer")
NO_ID: Final = "[request id: <id_unknown>] "

PROTOCOLS: Final = {
    "health": ("ServerLive", "ServerReady", "ModelReady"),
    "metadata": ("ServerMetadata", "ModelMetadata"),
    "inference": INFERENCE,
    "shared-memory": (
        "SystemSharedMemoryStatus",
        "SystemSharedMemoryRegister",
        "SystemSharedMemoryUnregister",
        "CudaSharedMemoryStatus",
        "CudaSharedMemoryRegister",
        "CudaSharedMemoryUnregister",
    ),
    "model-config": ("ModelConfig",),
    "model-repository": ("RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload"),
    "statistics": ("ModelStatistics",),
    "trace": ("TraceSetting",),
    "logging": ("LogSettings",),
}
"""The groups of `--grpc-restricted-protocol` ("Limit Endpoint Access" in Triton's
docs/customization_guide/inference_protocols.md)."""

Answer = Callable[[Any], Any]
"""A request message -> the answer's message, or the bytes that are sent as they are. For
ModelStreamInfer: -> several of them."""


class Block:
    """Calls that wait until `set()`, or until they are given up or the server stops.

    As a context manager, it ends with the block of the `with` statement.
    """

    def __init__(self, changed: threading.Condition) -> None:
        self._changed = changed
        self._open = False

    def set(self) -> None:
        """Let them go on, and all that come later."""
        with self._changed:
            self._open = True
            self._changed.notify_all()

    def is_set(self) -> bool:
        """Whether calls go on."""
        return self._open

    def __enter__(self) -> Block:
        return self

    def __exit__(self, *_: object) -> None:
        self.set()


@dataclass
class _Failure:
    code: Any
    text: str
    times: int | None
    after_s: float


class Switches(CallCounts):
    """The switches of a fake server; all may be thrown while calls are under way.

    Attributes:
        delay_s: Every inference takes that much longer.
        token: Unless "", calls must carry `authorization: Bearer TOKEN`, as a proxy in front of
            Triton would demand.
    """

    def __init__(self) -> None:
        super().__init__()
        self.delay_s = 0.0
        self.token = ""
        self._running = False
        self._failures: dict[tuple[str, str], _Failure] = {}
        self._blocks: dict[tuple[str, str], Block] = {}
        self._answers: dict[tuple[str, str], Answer] = {}
        self._restricted: dict[str, tuple[str, str]] = {}
        self._draining = ""
        self._dead: dict[str, float] = {}

    def fail(
        self,
        target: Target,
        code: Any,
        text: str = "",
        *,
        times: int | None = None,
        after_s: float = 0.0,
    ) -> None:
        """Calls end with this status: all of them until `heal`, or so many `times`.

        `target` is the name of a remote procedure, or a (remote procedure, model) pair; `code`
        the name of a gRPC status, or a `grpc.StatusCode`. The failure comes `after_s`. In a
        stream, the failure of a model is an error message and the stream goes on, as in Triton.

        Raises:
            FakeServerError: no such procedure or status, or `times` is below 1.
        """
        key = checked_target(target)
        if times is not None and times < 1:
            raise FakeServerError(f"A call cannot fail {times} times.", hint="Leave `times` out.")
        failure = _Failure(status_code(code), text, times, after_s)
        with self._changed:
            self._failures[key] = failure

    def block(self, target: Target) -> Block:
        """Calls wait until `set()` of what is returned; `target` as for `fail`.

        Raises:
            FakeServerError: no such procedure.
        """
        key = checked_target(target)
        with self._changed:
            known = self._blocks.get(key)
            if known is None or known.is_set():
                known = self._blocks[key] = Block(self._changed)
            return known

    def answer(self, target: Target, answer: Answer) -> None:
        """Answer calls with messages of your own; `target` as for `fail`.

        `answer` gets the request message and returns the answer's message, or bytes that are
        sent as they are and may be no valid message. For ModelStreamInfer it returns several.
        It is asked instead of the models, in a thread for each call; `respond` of the server
        gives the message that is usual. It may raise `Refusal`.

        Raises:
            FakeServerError: no such procedure.
        """
        key = checked_target(target)
        with self._changed:
            self._answers[key] = answer

    def heal(self, target: Target | None = None) -> None:
        """Take back the failure and the answer of a target; without one, everything.

        Everything is also every block, `delay_s`, `drain`, `kill_model` and `restrict`.

        Raises:
            FakeServerError: no such procedure.
        """
        if target is not None:
            key = checked_target(target)
            with self._changed:
                self._failures.pop(key, None)
                self._answers.pop(key, None)
            return
        with self._changed:
            self._failures.clear()
            self._answers.clear()
            self._restricted.clear()
            self._dead.clear()
            self._draining = ""
            self.delay_s = 0.0
            for block in self._blocks.values():
                block.set()

    def overload(self, model: str = "", *, full: bool = False, times: int | None = None) -> None:
        """Refuse inference as a queue policy does: waited too long, or `full`.

        The model that is named, or all; `heal` ends it.
        """
        text = "Exceeds maximum queue size" if full else "Request timeout expired"
        for rpc in INFERENCE:
            self.fail((rpc, model), "UNAVAILABLE", NO_ID + text, times=times)

    def kill_model(self, model: str, *, after_s: float = 1.0) -> None:
        """The process of the model is dead: inference fails `after_s`, and it says it is ready.

        As with a real server, loading the model again (RepositoryModelLoad) revives it.
        """
        with self._changed:
            self._dead[model] = after_s

    def drain(self, code: str = "UNAVAILABLE") -> None:
        """Behave as a Triton that got SIGTERM: calls under way end well, new ones are refused.

        A real one says UNAVAILABLE first, and then NOT_FOUND to inference, as if it had never
        had the model; `code` is which. It takes connections until `stop()`.

        Raises:
            FakeServerError: it is neither.
        """
        if code not in ("UNAVAILABLE", "NOT_FOUND"):
            raise FakeServerError(
                f"A Triton that stops does not say {code!r}.",
                hint="It says UNAVAILABLE, then NOT_FOUND.",
            )
        with self._changed:
            self._draining = code

    def restrict(self, protocols: Iterable[str], key: str, *, header: str = "admin-key") -> None:
        """Demand a key for groups of calls, as `--grpc-restricted-protocol` does.

        `protocols` are names such as "model-repository" or "statistics". The key is expected in
        the header `triton-grpc-protocol-HEADER`.

        Raises:
            FakeServerError: no such group.
        """
        groups = [protocols] if isinstance(protocols, str) else list(protocols)
        for group in groups:
            if group not in PROTOCOLS:
                raise FakeServerError(
                    f"{group!r} is no protocol that Triton restricts.",
                    hint=nearest(group, PROTOCOLS),
                )
        with self._changed:
            for group in groups:
                rule = f"triton-grpc-protocol-{header}", key
                self._restricted.update(dict.fromkeys(PROTOCOLS[group], rule))

    def _admit(self, call: Call, *targets: tuple[str, str]) -> None:
        """Let a call wait and fail as the switches for these targets say; Refusal is raised."""
        with self._changed:
            # First, because calls that wait are under way, and those end well.
            if self._draining:
                self._refuse_while_draining(call)
            for key in targets:
                block = self._blocks.get(key)
                if block is not None and not block.is_set():
                    self._wait(call, block.is_set)
            failure = next((f for f in map(self._failure, targets) if f is not None), None)
        if failure is not None:
            self._pause(call, failure.after_s)
            raise Refusal(failure.code, failure.text)

    def _check_access(self, call: Call) -> None:
        headers = dict(call.context.invocation_metadata())
        if self.token and headers.get("authorization") != f"Bearer {self.token}":
            raise Refusal("UNAUTHENTICATED", "The bearer token is missing or wrong")
        name, key = self._restricted.get(call.rpc, ("", ""))
        if name and headers.get(name) != key:
            raise Refusal("UNAVAILABLE", f"This protocol is restricted, expecting header '{name}'")

    def _check_process(self, call: Call) -> None:
        """What an inference with a dead model process ends with."""
        with self._changed:
            after_s = self._dead.get(call.model)
        if after_s is None:
            return
        self._pause(call, after_s)
        instance = f"{call.model}_0_0"
        raise Refusal(
            "INTERNAL",
            f"Failed to process the request(s) for model instance '{instance}', "
            f"message: Stub process '{instance}' is not healthy.",
        )

    def _pause(self, call: Call, seconds: float) -> None:
        """Let time pass, but not after the caller gave up or the server stopped."""
        if seconds > 0:
            with self._changed:
                self._wait(call, lambda: False, seconds)

    def _wait(self, call: Call, ready: Callable[[], bool], timeout_s: float | None = None) -> None:
        def woken() -> None:
            with self._changed:
                self._changed.notify_all()

        def over() -> bool:
            return not self._running or not call.context.is_active()

        call.context.add_callback(woken)
        self._changed.wait_for(lambda: ready() or over(), timeout_s)
        if over():
            # Nobody hears it; it ends the thread.
            raise Refusal(grpc.StatusCode.CANCELLED, "The call was given up")

    def _failure(self, key: tuple[str, str]) -> _Failure | None:
        failure = self._failures.get(key)
        if failure is not None and failure.times is not None:
            failure.times -= 1
            if failure.times == 0:
                del self._failures[key]
        return failure

    def _refuse_while_draining(self, call: Call) -> None:
        if call.rpc in ("ServerLive", "ServerReady"):
            raise Refusal("UNAVAILABLE", "Server exiting")
        if call.rpc not in INFERENCE:
            raise Refusal("UNAVAILABLE", "Server not ready")
        if call.request is None:  # a stream that opens: its requests are refused one by one
            return
        if self._draining == "NOT_FOUND":
            text = f"Request for unknown model: '{call.model}' has no available versions"
            raise Refusal("NOT_FOUND", text)
        text = (
            "Server is stopping, scheduler for model has stopped accepting new inference requests"
        )
        raise Refusal("UNAVAILABLE", NO_ID + text)
