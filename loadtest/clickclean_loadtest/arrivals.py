"""When requests are due: the schedule that the service cannot slow down.

An open loop sends by the clock, whatever the answers do, and counts latency from the moment a
request was *due*. A closed loop (plain Locust) waits for a slow answer before it asks again, and so
leaves out exactly the requests that a stall would have delayed: coordinated omission. wrk2 corrects
it the same way (https://github.com/giltene/wrk2).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Arrival:
    """One request that is due: its place in the schedule and seconds after the start."""

    index: int
    due_s: float


class Arrivals:
    """A constant rate: request `i` is due `i / rate` seconds after the start.

    Shared by all Locust users; they are greenlets of one thread, so no lock is needed.
    """

    def __init__(self, rate: float, count: int) -> None:
        self.rate = rate
        self.count = count
        self.taken = 0

    def take(self) -> Arrival | None:
        """The next request, or None when all are taken."""
        if self.taken >= self.count:
            return None
        index = self.taken
        self.taken += 1
        return Arrival(index, index / self.rate)

    def holds(self, arrival: Arrival) -> bool:
        """Whether the request still belongs to the schedule after `cut`."""
        return arrival.index < self.count

    def cut(self, elapsed_s: float) -> None:
        """Keep only what was due `elapsed_s` seconds after the start: the run stops early."""
        due = int(max(elapsed_s, 0.0) * self.rate) + 1
        self.count = min(self.count, due)


class Beats:
    """A fixed beat that measures how late the generator's own event loop runs.

    Beats have due times like requests, so that a loop blocked for a second shows in as many beats
    as were due in that second, not in one.
    """

    def __init__(self, interval_s: float = 0.01) -> None:
        self.interval_s = interval_s
        self.lags_s: list[float] = []

    @property
    def next_due_s(self) -> float:
        """Seconds after the start at which the next beat is due."""
        return len(self.lags_s) * self.interval_s

    def note(self, elapsed_s: float) -> None:
        """Record every beat that was due by now."""
        while self.next_due_s <= elapsed_s:
            self.lags_s.append(elapsed_s - self.next_due_s)
