"""How much may be sent beyond what callers asked for."""

from __future__ import annotations

import math
import threading

from clickclean_client._exceptions import Call, InvalidRequest
from clickclean_client._forks import renew_in_child


class RetryBudget:
    """Tokens for retries and hedges; safe for many threads.

    Each costs one. A call that succeeds earns `ratio` of a token, up to `reserve`, so that in the
    long run at most `ratio` is sent beyond the calls themselves, and no more than `reserve` in an
    outage in which nothing succeeds. The idea is that of Finagle's retry budgets and of gRPC's
    retry throttling (https://github.com/grpc/proposal/blob/master/A6-client-retries.md).

    Attributes: `taken` and `refused` count tokens given out and not given out.

    Raises:
        InvalidRequest: `ratio` is not in 0..1, or `reserve` is negative.
    """

    def __init__(self, ratio: float = 0.1, reserve: float = 50.0) -> None:
        for name, value, most in (("ratio", ratio, 1.0), ("reserve", reserve, 1e6)):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or math.isnan(value) or not 0 <= value <= most:
                raise InvalidRequest(
                    Call(), f"{name} is {value!r}", hint=f"Give a number from 0 to {most:g}."
                )
        self.ratio = float(ratio)
        self.reserve = float(reserve)
        self.taken = 0
        self.refused = 0
        # A young process may repeat a few calls before it has earned anything.
        self._tokens = self.reserve / 5
        self.begin_in_child()
        renew_in_child(self)

    def begin_in_child(self) -> None:
        """After a fork: whoever held the lock is not there."""
        self._lock = threading.Lock()

    @property
    def tokens(self) -> float:
        """What may be taken now."""
        return self._tokens

    def earn(self) -> None:
        """A call succeeded."""
        # Most of the time it is full, and then nobody needs the lock.
        if self._tokens < self.reserve:
            with self._lock:
                self._tokens = min(self.reserve, self._tokens + self.ratio)

    def take(self) -> bool:
        """Take the token of one more attempt, if there is one."""
        with self._lock:
            if self._tokens < 1:
                self.refused += 1
                return False
            self._tokens -= 1
            self.taken += 1
            return True

    def __repr__(self) -> str:
        return f"RetryBudget(ratio={self.ratio:g}, reserve={self.reserve:g})"


PROCESS = RetryBudget()
"""What the clients of this process share unless they are given one."""
