"""Calls with a key over a client's connection: reads splits in the background, logs, mirrors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from clickclean_client._calls import Arrays, Calls
from clickclean_client._exceptions import InvalidRequest
from clickclean_client._result import InferResult
from clickclean_client._transport import Ask, Transport
from clickclean_client.experiments.mirror import Mirror, ShadowCounts
from clickclean_client.experiments.route import Route, checked_key
from clickclean_client.experiments.watch import Watch

if TYPE_CHECKING:
    from clickclean_client.experiments.log import ExperimentLog

READ_TIMEOUT_S: Final = 2.0
_LONGEST_REFRESH_S: Final = 3600.0


class Follower:
    """Follows the experiments of the models that are called with a key.

    Raises:
        InvalidRequest: `refresh_s` is not above 0 and at most an hour.
    """

    def __init__(
        self, transport: Transport, calls: Calls, *, log: ExperimentLog | None, refresh_s: float
    ) -> None:
        number = isinstance(refresh_s, int | float) and not isinstance(refresh_s, bool)
        if not number or math.isnan(refresh_s) or not 0 < refresh_s <= _LONGEST_REFRESH_S:
            raise InvalidRequest(
                transport.ask_server().facts(),
                f"experiment_refresh_s must be a number of seconds, not {refresh_s!r}",
                hint=f"Give more than 0 and at most {_LONGEST_REFRESH_S:g}; 2.0 is the default.",
            )
        self._transport = transport
        self._refresh_s = float(refresh_s)
        self._watches: dict[str, Watch] = {}
        self._mirror = Mirror(transport, log)
        self._route = Route(calls, log.add if log is not None else None, self._mirror.offer)

    @property
    def shadows(self) -> ShadowCounts:
        """What became of mirrored requests."""
        return self._mirror.counts

    def infer(self, arrays: Arrays, ask: Ask, request_id: str, key: object) -> InferResult:
        """One inference for a key.

        Raises:
            ClientError: the subclass that fits.
        """
        text = checked_key(key, ask)
        watch = self._watches.get(ask.model)
        if watch is None:
            watch = self._watches.setdefault(ask.model, Watch(ask.model, self._refresh_s))
        if watch.claim():
            self._read(watch, ask)
        return self._transport.run(self._route.infer(arrays, ask, request_id, text, watch))

    def close(self) -> None:
        """Give up what is mirrored. May be repeated."""
        self._mirror.close()

    def _read(self, watch: Watch, ask: Ask) -> None:
        own = Ask(ask.endpoint, ask.model, "", READ_TIMEOUT_S)
        self._transport.begin(*watch.question(own), watch.answered)
