"""What the logic of a client asks of a driver: the whole of its I/O."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Final, NamedTuple, TypeVar

from clickclean_client._pool import Peer

_Result = TypeVar("_Result")


class Attempt(NamedTuple):
    """Effect: send one request. The driver gives back the response's bytes, or a `Failure`."""

    peer: Peer
    path: str
    data: bytes
    timeout_s: float
    headers: tuple[tuple[str, str], ...]
    compression: str


class Failure(NamedTuple):
    """A request ended with this `grpc.StatusCode` and text."""

    code: Any
    text: str
    cause: BaseException | None = None


CLOSED: Final = Failure(None, "")
"""What a driver gives back when its client is closed."""


class Pause(NamedTuple):
    """Effect: wait."""

    seconds: float


class Race(NamedTuple):
    """Effect: send a request, and after a while another one unless there is an answer.

    `second` gives the other one when its time has come, or None. The driver gives back a list of
    (attempt, answer): each that was sent, in this order, with its bytes or `Failure`, or None if
    it was cancelled because the other one was answered.
    """

    first: Attempt
    after_s: float
    second: Callable[[], Attempt | None]


class Start(NamedTuple):
    """Effect: send a request and go on; `done` gets what an `Attempt` gives. It must not wait."""

    attempt: Attempt
    done: Callable[[bytes | Failure], None]


class Resolve(NamedTuple):
    """Effect: look up the addresses of the endpoints' names; waits that long, or not at all."""

    wait_s: float


class Open(NamedTuple):
    """Effect: send a request whose answer is a stream.

    The driver gives back a handle for `Next` that has a `cancel()`, or a `Failure`.
    """

    attempt: Attempt


class Next(NamedTuple):
    """Effect: the next message of a stream; the driver gives back bytes, `Failure` or None."""

    stream: Any


class Item(NamedTuple):
    """Effect: the driver hands this value to the caller."""

    value: Any


Effect = Attempt | Pause | Race | Start | Resolve | Open | Next | Item
Effects = Generator[Effect, Any, _Result]
