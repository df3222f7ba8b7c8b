"""The load generator: each caller is a thread that asks again as soon as it has its answer.

A closed loop finds the rate that a server can reach; it hides what a stall does to latency
(coordinated omission). For that use ``clickclean loadtest``, which is an open loop.
"""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Call = Callable[[int], object]
"""Ask with the row of that number; raises when there is no answer."""
Connect = Callable[[], AbstractContextManager[Call]]

WARM_CALLS = 10
CALLS_MAX = 100_000  # per caller and round
START_TIMEOUT_S = 20.0
ROW_STRIDE = 7  # callers begin at different rows


@dataclass(frozen=True, eq=False)
class Sample:
    """One round of one contestant.

    Attributes:
        callers: Threads.
        wall_s: From the common start to the last answer.
        cpu_s: CPU time of this process meanwhile: the generator's cost.
        latency_ms: float64[answers], every answer of every caller.
        errors: Calls without an answer.
        first_error: In words, "" without any.
    """

    callers: int
    wall_s: float
    cpu_s: float
    latency_ms: NDArray[np.float64]
    errors: int
    first_error: str

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.latency_ms) / self.wall_s

    @property
    def cpu_us(self) -> float:
        """CPU of the generator per call, microseconds."""
        return self.cpu_s / max(1, len(self.latency_ms) + self.errors) * 1e6

    @property
    def cores(self) -> float:
        """Cores that the generator kept busy."""
        return self.cpu_s / self.wall_s

    def percentile_ms(self, percent: float) -> float:
        """Latency that ``percent`` of the answers did not exceed; NaN without an answer."""
        if not len(self.latency_ms):
            return float("nan")
        return float(np.percentile(self.latency_ms, percent))


class _Caller(threading.Thread):
    def __init__(
        self, connect: Connect, start: threading.Barrier, seconds: float, first_row: int
    ) -> None:
        super().__init__(daemon=True)
        self._connect, self._line, self._seconds = connect, start, seconds
        self._row = first_row
        self.latency_s: list[float] = []
        self.errors: list[str] = []
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            with self._connect() as call:
                for _ in range(WARM_CALLS):
                    self._ask(call)
                self.latency_s.clear()
                self.errors.clear()
                self._line.wait(START_TIMEOUT_S)
                end = time.perf_counter() + self._seconds
                for _ in range(CALLS_MAX):
                    if self._ask(call) >= end:
                        break
        except BaseException as error:  # noqa: BLE001 - told by the thread that waits for this one
            self.failure = error
            self._line.abort()

    def _ask(self, call: Call) -> float:
        self._row += 1
        began = time.perf_counter()
        try:
            call(self._row)
        except Exception as error:  # noqa: BLE001 - counted; the next call may be answered
            self.errors.append(f"{type(error).__name__}: {error}")
            return time.perf_counter()
        ended = time.perf_counter()
        self.latency_s.append(ended - began)
        return ended


def run_round(connect: Connect, *, callers: int, seconds: float) -> Sample:
    """Let ``callers`` threads ask for ``seconds``, each over a connection of its own.

    Raises:
        Exception: what a caller met before the common start.
    """
    line = threading.Barrier(callers + 1)
    threads = [_Caller(connect, line, seconds, ROW_STRIDE * n) for n in range(callers)]
    for thread in threads:
        thread.start()
    try:
        line.wait(START_TIMEOUT_S)
    except threading.BrokenBarrierError:
        for thread in threads:
            thread.join(START_TIMEOUT_S)
        causes = [thread.failure for thread in threads if thread.failure is not None]
        real = [cause for cause in causes if not isinstance(cause, threading.BrokenBarrierError)]
        raise (real or causes or [TimeoutError("the callers did not start")])[0] from None
    began, cpu = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.join()
    wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    errors = [error for thread in threads for error in thread.errors]
    latency_s = np.array([s for thread in threads for s in thread.latency_s], dtype=np.float64)
    return Sample(callers, wall_s, cpu_s, latency_s * 1e3, len(errors), errors[0] if errors else "")
