"""What happened to every request of a run, kept as numbers until the run ends."""

from array import array
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from clickclean_loadtest.arrivals import Arrival

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

OUT_OF_TIME = frozenset({"DeadlineExceeded", "NotSent"})
"""Failures whose waiting time is a latency: leaving them out would hide the slowest requests."""


class Record:
    """Times in seconds after the start of the schedule, one entry per finished request."""

    def __init__(self) -> None:
        self._index = array("q")
        self._due_s = array("d")
        self._sent_s = array("d")
        self._done_s = array("d")
        self._kind = array("h")
        self._on_time = array("b")
        self._kinds: list[str] = [""]
        self.errors: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self.versions: Counter[str] = Counter()
        self.checked = 0
        self.labelled_rows = 0
        self.right_rows = 0

    def note(
        self, arrival: Arrival, *, sent_s: float, done_s: float, on_time: bool, kind: str, why: str
    ) -> None:
        """Record one finished request.

        Args:
            arrival: which one.
            sent_s: when it was sent, or given up without being sent.
            done_s: when the answer or the failure was there.
            on_time: a user was free when it was due, so that lateness is the generator's own.
            kind: "" for a right answer, else the kind of failure.
            why: the failure in words.
        """
        if kind not in self._kinds:
            self._kinds.append(kind)
        self._index.append(arrival.index)
        self._due_s.append(arrival.due_s)
        self._sent_s.append(sent_s)
        self._done_s.append(done_s)
        self._kind.append(self._kinds.index(kind))
        self._on_time.append(on_time)
        if kind:
            self.errors[kind] += 1
            self.examples.setdefault(kind, why)

    def __len__(self) -> int:
        return len(self._index)

    def recent_p50_ms(self, newest: int = 500) -> float:
        """Median latency of the newest requests, for the progress line; 0 before the first."""
        if not self._done_s:
            return 0.0
        spans = np.array(self._done_s[-newest:]) - np.array(self._due_s[-newest:])
        return float(np.median(spans)) * 1000

    def rows(self) -> "Rows":
        """Everything recorded, in the order in which the requests were due."""
        order = np.argsort(np.array(self._index, dtype=np.int64), kind="stable")
        kinds = np.array(self._kinds)[np.array(self._kind, dtype=np.int64)][order]
        return Rows(
            due_s=np.array(self._due_s, dtype=np.float64)[order],
            sent_s=np.array(self._sent_s, dtype=np.float64)[order],
            done_s=np.array(self._done_s, dtype=np.float64)[order],
            on_time=np.array(self._on_time, dtype=np.bool_)[order],
            kind=[str(kind) for kind in kinds],
        )


class Rows:
    """Finished requests as arrays of one length, in the order in which they were due."""

    def __init__(
        self, *, due_s: Floats, sent_s: Floats, done_s: Floats, on_time: Flags, kind: list[str]
    ) -> None:
        self.due_s = due_s
        self.sent_s = sent_s
        self.done_s = done_s
        self.on_time = on_time
        self.kind = kind

    def __len__(self) -> int:
        return len(self.kind)

    def since(self, due_s: float) -> "Rows":
        """Those due at `due_s` or later: the run without its warm-up."""
        first = int(np.searchsorted(self.due_s, due_s - 1e-9))
        return Rows(
            due_s=self.due_s[first:],
            sent_s=self.sent_s[first:],
            done_s=self.done_s[first:],
            on_time=self.on_time[first:],
            kind=self.kind[first:],
        )

    @property
    def timed(self) -> Flags:
        """Which requests have a latency: answered, or out of time (a lower bound)."""
        return np.array(
            [kind in ("", "WrongAnswer") or kind in OUT_OF_TIME for kind in self.kind],
            dtype=np.bool_,
        )

    @property
    def latency_ms(self) -> Floats:
        """From the intended start to the answer, of the timed requests."""
        return ((self.done_s - self.due_s) * 1000)[self.timed]

    @property
    def service_ms(self) -> Floats:
        """From the real start to the answer, of the timed requests (a closed loop's view)."""
        return ((self.done_s - self.sent_s) * 1000)[self.timed]

    @property
    def lag_ms(self) -> Floats:
        """How late requests left although a user was free: the generator's own lateness."""
        return ((self.sent_s - self.due_s) * 1000)[self.on_time]
