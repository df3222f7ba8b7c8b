"""One call of the user: what it is about, its time, and what was done for it so far."""

from __future__ import annotations

import copy
import time
from collections.abc import Generator
from typing import Any, Final, NamedTuple, TypeVar

from clickclean_client._exceptions import Call
from clickclean_client._observe import AttemptRecord
from clickclean_client._settings import Timeout

_Result = TypeVar("_Result")

NO_HEADERS: Final[tuple[tuple[str, str], ...]] = ()


class Progress:
    """What was done for one call of the user; all its steps share it."""

    __slots__ = ("attempts", "endpoint", "records", "request_bytes", "response_bytes")

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.attempts = 0
        self.request_bytes = 0
        self.response_bytes = 0
        self.records: list[AttemptRecord] | None = None


class Ask:
    """What one call of the user is about, and the time that all its steps share.

    `model` and `version` are the caller's words, which answers and errors repeat. `name` and
    `number` say where in the server a step goes: the same, or a slot of that model. `repeatable`
    is false for what must not run twice.
    """

    __slots__ = (
        "_end_s",
        "_start_s",
        "attempt_s",
        "compression",
        "headers",
        "key",
        "model",
        "name",
        "number",
        "progress",
        "repeatable",
        "timeout_s",
        "version",
    )

    def __init__(
        self,
        endpoint: str,
        model: str,
        version: str,
        timeout: Timeout,
        *,
        headers: tuple[tuple[str, str], ...] = NO_HEADERS,
        compression: str = "none",
    ) -> None:
        self.model = model
        self.version = version
        self.timeout_s = timeout.total_s
        self.attempt_s = timeout.attempt_s
        self.headers = headers
        self.compression = compression
        self.repeatable = True
        self.name = model
        self.number = version
        # What is asked of the server, as the pool remembers it.
        self.key = (model, version)
        self.progress = Progress(endpoint)
        self._start_s = time.monotonic()
        self._end_s = self._start_s + timeout.total_s

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
        other.key = (name, number)
        if share < 1:
            other._end_s -= (1 - share) * self.left_s
        return other

    def aside(self, timeout_s: float) -> Ask:
        """A call of its own about the same model, for what is done beside the caller's."""
        return Ask(self.progress.endpoint, self.model, "", Timeout(timeout_s), headers=self.headers)

    def facts(self, code: str = "", message: str = "") -> Call:
        """What an error that arises now is made from."""
        return Call(
            self.progress.endpoint,
            self.model,
            self.version,
            self.elapsed_s,
            self.timeout_s,
            code,
            message,
            self.progress.attempts,
        )


class Step(NamedTuple):
    """A remote procedure's name, its request, and the call that it is a part of."""

    rpc: str
    request: Any
    ask: Ask


Flow = Generator[Step, Any, _Result]
"""Logic without I/O, as httpx writes its authentication: it yields what is to be sent, and gets
the response, or has the `ClientError` raised where it yielded. What it returns is the result."""
