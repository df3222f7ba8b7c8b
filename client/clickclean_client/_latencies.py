"""How long answers of one model took of late."""

from __future__ import annotations

import math
from typing import Final

_FIRST_S: Final = 50e-6
_STEPS_PER_OCTAVE: Final = 8
_BUCKETS: Final = 24 * _STEPS_PER_OCTAVE  # 50 us to 14 minutes
_KEPT: Final = 2_000
_FRESH: Final = 50

ENOUGH: Final = 30
"""Answers below which a quantile means nothing."""


class Latencies:
    """A histogram with buckets 9 % apart that forgets: at 2,000 answers every count is halved.

    Threads add without a lock; a count that gets lost between two of them does not matter.
    """

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self._total = 0
        self._known: dict[float, float] = {}
        self._age = 0

    def add(self, seconds: float) -> None:
        """One answer took so long, or longer if it was given up."""
        place = 0
        if seconds > _FIRST_S:
            place = min(int(math.log2(seconds / _FIRST_S) * _STEPS_PER_OCTAVE), _BUCKETS - 1)
        self._counts[place] += 1
        self._total += 1
        self._age += 1
        if self._age >= _FRESH:
            self._age = 0
            self._known.clear()
            if self._total >= _KEPT:
                self._counts = [count // 2 for count in self._counts]
                self._total = sum(self._counts)

    def quantile_s(self, share: float) -> float | None:
        """The time that this share of answers did not exceed; None below 30 answers.

        At most 9 % too large; up to 50 answers old.
        """
        if self._total < ENOUGH:
            return None
        known = self._known.get(share)
        if known is None:
            known = self._known[share] = self._look_up(share)
        return known

    def _look_up(self, share: float) -> float:
        counts = self._counts
        left = share * sum(counts)
        place = -1
        while left > 0 and place < _BUCKETS - 1:
            place += 1
            left -= counts[place]
        return float(_FIRST_S * 2.0 ** ((place + 1) / _STEPS_PER_OCTAVE))
