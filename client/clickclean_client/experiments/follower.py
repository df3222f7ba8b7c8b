"""Calls with a key over a client's connection: reads splits in the background, logs, mirrors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from clickclean_client._ask import Ask, Flow, Step
from clickclean_client._attempts import Attempts, Done
from clickclean_client._calls import Calls, Feed
from clickclean_client._effects import Start
from clickclean_client._result import InferResult
from clickclean_client.experiments.mirror import Mirror, ShadowCounts
from clickclean_client.experiments.route import Route, checked_key
from clickclean_client.experiments.watch import Watch

if TYPE_CHECKING:
    from clickclean_client.experiments.log import ExperimentLog

READ_TIMEOUT_S: Final = 2.0


class Follower:
    """Follows the experiments of the models that are called with a key.

    `start` sends a request beside the calls: that of the driver.
    """

    def __init__(
        self,
        attempts: Attempts,
        calls: Calls,
        start: Callable[[Start | None], Any],
        *,
        log: ExperimentLog | None,
        refresh_s: float,
    ) -> None:
        self._start = start
        self._attempts = attempts
        self._refresh_s = refresh_s
        self._watches: dict[str, Watch] = {}
        self._mirror = Mirror(self._send, log)
        self._route = Route(calls, log.add if log is not None else None, self._mirror.offer)

    @property
    def shadows(self) -> ShadowCounts:
        """What became of mirrored requests."""
        return self._mirror.counts

    def infer(self, feed: Feed, ask: Ask, key: object) -> Flow[InferResult]:
        """One inference for a key.

        Raises:
            ClientError: the subclass that fits.
        """
        text = checked_key(key, ask)
        watch = self._watches.get(ask.model)
        if watch is None:
            watch = self._watches.setdefault(ask.model, Watch(ask.model, self._refresh_s))
        if watch.claim():
            self._send(watch.question(ask.aside(READ_TIMEOUT_S)), watch.answered)
        return self._route.infer(feed, ask, text, watch)

    def close(self) -> None:
        """Give up what is mirrored. May be repeated."""
        self._mirror.close()

    def _send(self, step: Step, done: Done) -> Any:
        return self._start(self._attempts.aside(step, done))
