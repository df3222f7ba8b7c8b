"""Two contestants in turn, block by block, so that whatever else the machine does meets both.

On a shared machine the rate of one and the same program changes by a factor of two within a minute.
The ratio of two neighbouring blocks changes much less, so ratios are taken pair by pair, and the
median over the pairs is reported with a bootstrap interval (Efron and Tibshirani, An Introduction
to the Bootstrap, 1993, chapter 13: percentile intervals).
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol, Self

import numpy as np

Call = Callable[[int], object]
"""Ask once, with the row of that number."""
AsyncCall = Callable[[int], Awaitable[object]]

RESAMPLES = 2_000
INTERVAL_PERCENT = (2.5, 97.5)
PATIENCE_S = 30.0
ROW_STRIDE = 7  # callers begin at different rows


class NoAnswerError(Exception):
    """Not one call of a turn was answered, so there is nothing to compare."""

    def __init__(self, first_error: str) -> None:
        super().__init__(f"no call of a turn was answered: {first_error or 'no call ended'}")


@dataclass(frozen=True)
class Block:
    """What a contestant did in one turn.

    Attributes:
        rate: Answers per second.
        p50_ms: Median latency.
        cpu_us: CPU time of this process per call, microseconds, gRPC's threads included.
        errors: Calls without an answer; a queue policy may refuse some.
        first_error: In words, "" without any.
    """

    rate: float
    p50_ms: float
    cpu_us: float
    errors: int
    first_error: str


class Turn:
    """Notes what happens while a team works; appending to a list needs no lock."""

    def __init__(self) -> None:
        self._latency_s: list[float] = []
        self._errors: list[str] = []
        self._began_s, self._cpu_s = time.perf_counter(), time.process_time()

    def ask(self, call: Call, row: int) -> None:
        """Call once."""
        began_s = time.perf_counter()
        try:
            call(row)
        except Exception as error:  # noqa: BLE001 - counted; the next call may be answered
            self._errors.append(f"{type(error).__name__}: {error}")
        else:
            self._latency_s.append(time.perf_counter() - began_s)

    async def ask_async(self, call: AsyncCall, row: int) -> None:
        """Call once and await the answer."""
        began_s = time.perf_counter()
        try:
            await call(row)
        except Exception as error:  # noqa: BLE001 - counted; the next call may be answered
            self._errors.append(f"{type(error).__name__}: {error}")
        else:
            self._latency_s.append(time.perf_counter() - began_s)

    def end(self) -> Block:
        """Return what was noted.

        Raises:
            NoAnswerError: no call was answered.
        """
        cpu_s, wall_s = time.process_time() - self._cpu_s, time.perf_counter() - self._began_s
        answers = len(self._latency_s)
        first_error = self._errors[0] if self._errors else ""
        if not answers:
            raise NoAnswerError(first_error)
        return Block(
            rate=answers / wall_s,
            p50_ms=median(self._latency_s) * 1e3,
            cpu_us=cpu_s / (answers + len(self._errors)) * 1e6,
            errors=len(self._errors),
            first_error=first_error,
        )


class Team(Protocol):
    """The callers of one contestant, who work when it is their turn."""

    def block(self) -> Block:
        """Take a turn."""


class OneCaller:
    """Makes ``calls`` calls in a row."""

    def __init__(self, call: Call, *, calls: int) -> None:
        self._call, self._calls = call, calls
        self._row = 0

    def block(self) -> Block:
        """Take a turn."""
        turn = Turn()
        for _ in range(self._calls):
            self._row += 1
            turn.ask(self._call, self._row)
        return turn.end()


class Tasks:
    """As many tasks of one event loop as there are calls, each asking again and again."""

    def __init__(
        self, runner: asyncio.Runner, calls: Sequence[AsyncCall], *, seconds: float
    ) -> None:
        self._runner, self._calls, self._seconds = runner, calls, seconds

    def block(self) -> Block:
        """Take a turn."""
        return self._runner.run(self._work())

    async def _work(self) -> Block:
        turn = Turn()
        end_s = time.perf_counter() + self._seconds

        async def caller(row: int, call: AsyncCall) -> None:
            # At least once: on a crowded machine a whole turn may pass before a caller runs.
            await turn.ask_async(call, row)
            while time.perf_counter() < end_s:
                row += 1
                await turn.ask_async(call, row)

        await asyncio.gather(*(caller(ROW_STRIDE * n, call) for n, call in enumerate(self._calls)))
        return turn.end()


class Threads:
    """As many threads as there are calls; they live through all turns and work in their own."""

    def __init__(self, calls: Sequence[Call], *, seconds: float) -> None:
        self._seconds = seconds
        self._line = threading.Barrier(len(calls) + 1)
        self._turn = Turn()
        self._end_s = 0.0
        self._threads = [
            threading.Thread(target=self._live, args=(call, ROW_STRIDE * n), daemon=True)
            for n, call in enumerate(calls)
        ]
        for thread in self._threads:
            thread.start()

    def block(self) -> Block:
        """Take a turn."""
        self._turn = Turn()
        self._end_s = time.perf_counter() + self._seconds
        self._line.wait(PATIENCE_S)
        self._line.wait(PATIENCE_S + self._seconds)
        return self._turn.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._line.abort()
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def _live(self, call: Call, row: int) -> None:
        try:
            while True:
                self._line.wait()
                # At least once: on a crowded machine a whole turn may pass before a caller runs.
                self._turn.ask(call, row)
                while time.perf_counter() < self._end_s:
                    row += 1
                    self._turn.ask(call, row)
                self._line.wait()
        except threading.BrokenBarrierError:
            return


@dataclass(frozen=True)
class Ratio:
    """Median over the pairs of (one's figure : the other's), and its 95 % interval."""

    median: float
    low: float
    high: float


Pairs = list[tuple[Block, Block]]


def take_turns(one: Team, other: Team, *, pairs: int) -> Pairs:
    """Let two teams work in turn; who begins changes from pair to pair.

    The first block of each is thrown away: it opens connections.
    """
    one.block()
    other.block()
    found = []
    for number in range(pairs):
        if number % 2:
            second, first = other.block(), one.block()
        else:
            first, second = one.block(), other.block()
        found.append((first, second))
    return found


def ratio_of(pairs: Sequence[tuple[float, float]]) -> Ratio:
    """Compare figures that were measured side by side."""
    ratios = np.array([one / other for one, other in pairs])
    drawn = np.random.default_rng(0).choice(ratios, (RESAMPLES, len(ratios)))
    low, high = np.percentile(np.median(drawn, axis=1), INTERVAL_PERCENT)
    return Ratio(float(np.median(ratios)), float(low), float(high))
