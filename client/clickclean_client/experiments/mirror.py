"""Shadow: requests that the champion has answered are sent to the challenger, beside the calls."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from clickclean_client._ask import Ask, Step
from clickclean_client._attempts import Done
from clickclean_client._exceptions import Cancelled, ClientError
from clickclean_client._forks import renew_in_child
from clickclean_client._response import result_from_response
from clickclean_client._rpcs import INFER
from clickclean_client.experiments.agreement import agreement
from clickclean_client.experiments.route import Mirrored
from clickclean_client.experiments.tables import Shadow, number_of
from clickclean_client.slots import challenger

if TYPE_CHECKING:
    from clickclean_client.experiments.log import ExperimentLog

IN_FLIGHT: Final = 4
"""Mirrored requests at once; they keep their inputs and outputs in memory."""

_log = logging.getLogger("clickclean_client")


@dataclass(frozen=True, slots=True)
class ShadowCounts:
    """What became of the requests of a client's shadow share.

    `dropped` were never sent, because as many as are allowed were under way.
    """

    answered: int
    failed: int
    dropped: int


@dataclass(frozen=True, slots=True)
class _Ended:
    """The challenger's answer, or error, to a mirrored request."""

    mirrored: Mirrored
    ask: Ask
    took_ms: float
    response: Any
    error: ClientError | None


class Mirror:
    """Sends copies to the challenger and compares the answers, in a thread of its own."""

    def __init__(self, send: Callable[[Step, Done], Any], log: ExperimentLog | None) -> None:
        self._begin = send
        self._log = log
        self._answered = self._failed = self._dropped = 0
        self._closed = False
        self.begin_in_child()
        renew_in_child(self)

    def begin_in_child(self) -> None:
        """After a fork: the thread and what it had to do are the parent's."""
        self._inbox: SimpleQueue[Mirrored | _Ended | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._under_way: dict[int, Any] = {}
        self._pending = 0

    @property
    def counts(self) -> ShadowCounts:
        """What became of them so far; those under way are not among them."""
        with self._lock:
            return ShadowCounts(self._answered, self._failed, self._dropped)

    def offer(self, mirrored: Mirrored) -> None:
        """Take a request to be mirrored, or drop it; returns at once and never raises."""
        with self._lock:
            if self._closed or self._pending >= IN_FLIGHT:
                self._dropped += 1
                return
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="clickclean-shadow", daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    # No thread can be had; the caller has its answer all the same.
                    self._dropped += 1
                    return
                self._thread = thread
            self._pending += 1
        self._inbox.put(mirrored)

    def close(self) -> None:
        """Cancel what is under way and stop. May be repeated."""
        with self._lock:
            self._closed = True
            thread, self._thread = self._thread, None
        self._inbox.put(None)
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        while (item := self._inbox.get()) is not None:
            if self._closed:
                continue
            try:
                if isinstance(item, Mirrored):
                    self._send(item)
                else:
                    self._judge(item)
            except Exception:  # noqa: BLE001 - logged with its traceback
                # Whatever a challenger answers, the caller has its own answer already.
                _log.exception("a mirrored request was given up")
                self._count(failed=1)
        for future in list(self._under_way.values()):
            future.cancel()

    def _send(self, mirrored: Mirrored) -> None:
        caller = mirrored.ask
        ask = caller.aside(caller.timeout_s)
        ask = ask.to(challenger(caller.model), "")
        began_s = time.monotonic()

        def done(response: Any, error: ClientError | None) -> None:
            took_ms = (time.monotonic() - began_s) * 1e3
            self._inbox.put(_Ended(mirrored, ask, took_ms, response, error))

        call = self._begin(Step(INFER, mirrored.request, ask), done)
        if call is not None:
            self._under_way[id(mirrored)] = call

    def _judge(self, ended: _Ended) -> None:
        mirrored, error = ended.mirrored, ended.error
        self._under_way.pop(id(mirrored), None)
        if isinstance(error, Cancelled):
            self._count(failed=1)
            return
        champion = mirrored.answered.result
        version, agree, worst = 0, False, float("nan")
        if error is None:
            try:
                answer = result_from_response(
                    ended.response,
                    mirrored.answered.metadata,
                    ended.ask.facts(),
                    batch=mirrored.answered.batch,
                    options=mirrored.answered.options,
                )
            except ClientError as exc:
                error = exc
            else:
                version = number_of(answer.version)
                deciding = mirrored.answered.metadata.outputs[0].name
                agree, worst = agreement(champion, answer, deciding)
        if self._log is not None:
            self._log.add(
                Shadow(
                    time_us=time.time_ns() // 1000,
                    experiment=mirrored.split.experiment,
                    model=ended.ask.model,
                    prediction_id=mirrored.prediction_id,
                    champion_version=number_of(champion.version),
                    challenger_version=version,
                    champion_ms=mirrored.champion_ms,
                    challenger_ms=ended.took_ms,
                    error=type(error).__name__ if error is not None else "",
                    agree=agree,
                    max_difference=worst,
                )
            )
        self._count(answered=1) if error is None else self._count(failed=1)

    def _count(self, *, answered: int = 0, failed: int = 0) -> None:
        with self._lock:
            self._pending -= 1
            self._answered += answered
            self._failed += failed
