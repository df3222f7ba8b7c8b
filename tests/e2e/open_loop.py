"""Calls at a fixed rate, whatever becomes of the earlier ones."""

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from clickclean_client import CallEnd, CallStart, ClientError


@dataclass(frozen=True, slots=True)
class Sent:
    """One call, in seconds of the monotonic clock; `error` is the class, "" for an answer."""

    due_s: float
    began_s: float
    ended_s: float
    error: str
    text: str


@dataclass(frozen=True, slots=True)
class Tried:
    """One attempt of a call, by when it ended on the monotonic clock."""

    ended_s: float
    endpoint: str
    ok: bool


class Attempts:
    """A hook that keeps every attempt."""

    def __init__(self) -> None:
        self.tried: list[Tried] = []
        self.counts: list[tuple[float, int]] = []  # when the call began, its attempts

    def __call__(self, _: CallStart) -> Callable[[CallEnd], None]:
        """Called at the beginning of a call."""
        began_s = time.monotonic()
        # What is called at the end compares two clocks that both began here.
        offset_s = began_s - time.time_ns() / 1e9

        def end(ended: CallEnd) -> None:
            for one in ended.attempts:
                ended_s = one.start_ns / 1e9 + one.duration_s + offset_s
                self.tried.append(Tried(ended_s, one.endpoint, one.outcome == "ok"))
            self.counts.append((began_s, len(ended.attempts)))

        return end


class OpenLoop:
    """Threads that share one schedule, for the block: call k is due at k / rate.

    When all threads wait for answers, calls begin late: `began_s - due_s`. Without `keep` nothing
    is kept of the calls.
    """

    def __init__(
        self, ask: Callable[[], object], *, rate: float, threads: int, keep: bool = True
    ) -> None:
        self.calls: list[Sent] = []
        self._keep = keep
        self._ask = ask
        self._rate = rate
        self._numbers = itertools.count()
        self._start_s = 0.0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def _run(self) -> None:
        while True:
            due_s = self._start_s + next(self._numbers) / self._rate
            if self._stop.wait(max(0.0, due_s - time.monotonic())):
                return
            began_s = time.monotonic()
            error = text = ""
            try:
                self._ask()
            except ClientError as exc:
                error, text = type(exc).__name__, f"{exc} [{exc.code} {exc.server_message}]"
            except Exception as exc:  # noqa: BLE001 - whatever it is, the caller got no answer
                error, text = type(exc).__name__, str(exc)
            if self._keep:
                self.calls.append(Sent(due_s, began_s, time.monotonic(), error, text))

    def between(self, start_s: float, end_s: float) -> list[Sent]:
        """The calls that were due then, as far as they have ended."""
        return [one for one in list(self.calls) if start_s <= one.due_s < end_s]

    def __enter__(self) -> "OpenLoop":
        self._start_s = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
