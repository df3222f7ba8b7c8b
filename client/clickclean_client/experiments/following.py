"""Makes what follows experiments when a key is given for the first time.

Most callers never give one, and they shall not pay for the import.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from clickclean_client._attempts import Attempts
from clickclean_client._calls import Calls
from clickclean_client._effects import Start
from clickclean_client._exceptions import Call, InvalidRequest

if TYPE_CHECKING:
    from clickclean_client.experiments.follower import Follower
    from clickclean_client.experiments.log import ExperimentLog
    from clickclean_client.experiments.mirror import ShadowCounts

_LONGEST_REFRESH_S: Final = 3600.0


class Following:
    """The follower of one client, or none yet; safe for many threads.

    `start` sends a request beside the calls: that of the driver, which sets it.

    Raises:
        InvalidRequest: `refresh_s` is not above 0 and at most an hour.
    """

    start: Callable[[Start | None], Any]

    def __init__(
        self, attempts: Attempts, calls: Calls, *, log: ExperimentLog | None, refresh_s: float
    ) -> None:
        number = isinstance(refresh_s, int | float) and not isinstance(refresh_s, bool)
        if not number or math.isnan(refresh_s) or not 0 < refresh_s <= _LONGEST_REFRESH_S:
            raise InvalidRequest(
                Call(),
                f"experiment_refresh_s must be a number of seconds, not {refresh_s!r}",
                hint=f"Give more than 0 and at most {_LONGEST_REFRESH_S:g}; 2.0 is the default.",
            )
        self._attempts = attempts
        self._calls = calls
        self._log = log
        self._refresh_s = float(refresh_s)
        self._lock = threading.Lock()
        self._follower: Follower | None = None

    @property
    def follower(self) -> Follower:
        """The follower, made at its first use."""
        from clickclean_client.experiments.follower import Follower

        if self._follower is None:
            with self._lock:
                if self._follower is None:
                    self._follower = Follower(
                        self._attempts,
                        self._calls,
                        self.start,
                        log=self._log,
                        refresh_s=self._refresh_s,
                    )
        return self._follower

    @property
    def shadows(self) -> ShadowCounts:
        """What became of mirrored requests."""
        return self.follower.shadows

    def close(self) -> None:
        """Give up what is mirrored. May be repeated."""
        if self._follower is not None:
            self._follower.close()
