"""From a step to the requests that are sent for it: where, how long, and how often. No I/O.

This is the one place that knows deadlines, retries, hedges and endpoints. It yields effects, which
`_driver` and `_async_driver` carry out, each in its own way.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from clickclean_client._ask import Ask, Flow, Step
from clickclean_client._effects import (
    CLOSED,
    Attempt,
    Effects,
    Failure,
    Pause,
    Race,
    Resolve,
    Start,
)
from clickclean_client._endings import closed_error, out_of_time
from clickclean_client._errors import Repeat, rule_of
from clickclean_client._exceptions import (
    ClientError,
    DeadlineExceeded,
    InvalidRequest,
    Overloaded,
    ProtocolError,
    ServerFault,
    Unavailable,
)
from clickclean_client._latencies import Latencies
from clickclean_client._lookup import Lookup
from clickclean_client._observe import AttemptRecord
from clickclean_client._pool import Peer, Pool
from clickclean_client._probes import probe
from clickclean_client._request import InferMessage
from clickclean_client._rpcs import INFER, RPCS
from clickclean_client._settings import Hedge, Retry
from clickclean_client._wire import read_like_before

_Result = TypeVar("_Result")

_SLOWEST: Final = 0.99
_MOST: Final = 0.9
_USEFUL_S: Final = 1e-3
"""With less time than this left no other attempt is worth its token."""
_COARSE_US: Final = 100_000
_WELL_WITHIN: Final = 1.5
_NAMES_MAX: Final = 1_000


Done = Callable[[Any, ClientError | None], None]


@dataclass(slots=True)
class Sent:
    """A request that is under way."""

    peer: Peer
    began_s: float
    hedge: bool = False


class Attempts:
    """Sends steps; safe for many threads."""

    def __init__(
        self, pool: Pool, lookup: Lookup, retry: Retry | None, hedge: Hedge | None
    ) -> None:
        self._pool = pool
        self._lookup = lookup
        self._retry = retry
        self._hedge = hedge
        self._budget = (retry or Retry()).budget
        self._latencies: dict[str, Latencies] = {}
        self._random = random.Random()  # noqa: S311 - for pauses

    def run(self, flow: Flow[_Result]) -> Effects[_Result]:
        """Send what a flow yields, one step after another, until it returns.

        Raises:
            ClientError: what the flow raises, or does not catch.
        """
        try:
            step = next(flow)
            while True:
                try:
                    response = yield from self.send(step)
                except ClientError as exc:
                    step = flow.throw(exc)
                else:
                    step = flow.send(response)
        except StopIteration as end:
            result: _Result = end.value
            return result
        finally:
            flow.close()

    def send(self, step: Step) -> Effects[Any]:
        """One step, with as many requests as it takes.

        Raises:
            ClientError: the last failure.
        """
        rpc, request, ask = step
        infer = rpc == INFER
        hedged = infer and self._hedge is not None and ask.repeatable
        tried: list[Peer] = []
        failure: ClientError | None = None
        while True:
            if ask.left_s <= 0:
                raise out_of_time(ask, failure)
            if self._lookup.due() or self._pool.blocked:
                yield from self._upkeep(ask)
            sent = self._chosen(ask, tried)
            cut_s = self._cut_s(ask, sent.peer, tried) if infer else None
            try:
                attempt = self.attempt(rpc, request, ask, sent.peer, cut_s)
                if hedged:
                    reply, sent = yield from self._race(attempt, step, sent, tried)
                else:
                    reply = yield attempt
            except BaseException:
                self.unanswered(ask, sent)
                raise
            if not isinstance(reply, Failure):
                return self._take(reply, rpc, ask, sent)
            earlier = failure
            failure, repeat = self.failed(reply, ask, sent, cut=cut_s is not None)
            tried.append(sent.peer)
            pause = self.pause(repeat, ask, tried)
            if pause is None:
                timed_out = isinstance(failure, DeadlineExceeded)
                raise out_of_time(ask, earlier, failure) if timed_out else failure
            if pause.seconds:
                yield pause

    def aside(self, step: Step, done: Done) -> Start | None:
        """One request beside the calls, for a driver's `start`; None if there is no endpoint.

        `done` gets the response or the error, once, wherever the driver has it; it must not wait.
        """
        rpc, request, ask = step
        try:
            sent = self._chosen(ask, ())
        except Unavailable as exc:
            done(None, exc)
            return None
        attempt = self.attempt(rpc, request, ask, sent.peer)

        def ended(reply: bytes | Failure) -> None:
            try:
                if isinstance(reply, Failure):
                    raise self.failed(reply, ask, sent)[0]
                response = self._take(reply, rpc, ask, sent)
            except ClientError as exc:
                done(None, exc)
            else:
                done(response, None)

        return Start(attempt, ended)

    def pick(self, ask: Ask, tried: Collection[Peer]) -> Effects[Sent]:
        """Where the next request goes, for those who send it themselves.

        Raises:
            Unavailable: there are no addresses.
        """
        if self._lookup.due() or self._pool.blocked:
            yield from self._upkeep(ask)
        return self._chosen(ask, tried)

    def _upkeep(self, ask: Ask) -> Effects[None]:
        """What has to be done now and then, and is done while there are calls."""
        if self._lookup.due():
            yield Resolve(0.0 if self._pool.peers else ask.left_s)
        due = self._pool.probe_due()
        if due is not None:
            yield probe(self._pool, *due, ask)

    def _chosen(self, ask: Ask, tried: Collection[Peer]) -> Sent:
        try:
            peer = self._pool.pick(ask.key, tried)
        except LookupError:
            problem = self._lookup.problem or "its name was not looked up in time"
            raise Unavailable(ask.facts(), problem) from None
        ask.progress.endpoint = peer.address
        return Sent(peer, time.monotonic())

    def attempt(
        self, rpc: str, request: Any, ask: Ask, peer: Peer, cut_s: float | None = None
    ) -> Attempt:
        """One request, with what is left of the time, or less."""
        timeout_s = max(ask.left_s, _USEFUL_S / 10)
        for limit_s in (cut_s, ask.attempt_s):
            if limit_s is not None and limit_s < timeout_s:
                timeout_s = limit_s
        if isinstance(request, InferMessage):
            timeout_us = int(timeout_s * 1e6)
            if timeout_us > _COARSE_US:
                # Whole milliseconds, so that the field is seldom written anew.
                timeout_us -= timeout_us % 1000
            data = request.encode(timeout_us)
        else:
            data = request.SerializeToString()
        progress = ask.progress
        progress.attempts += 1
        progress.request_bytes += len(data)
        return Attempt(peer, RPCS[rpc].path, data, timeout_s, ask.headers, ask.compression)

    def answered(self, ask: Ask, sent: Sent) -> None:
        """A request was answered, and the answer makes sense."""
        self._pool.answered(sent.peer, ask.key)
        self._budget.earn()
        self._record(ask, sent, "ok")

    def unanswered(self, ask: Ask, sent: Sent) -> None:
        """The caller has given a request up."""
        self._pool.unanswered(sent.peer, ask.key)
        self._record(ask, sent, "Cancelled")

    def _race(
        self, attempt: Attempt, step: Step, sent: Sent, tried: list[Peer]
    ) -> Effects[tuple[bytes | Failure, Sent]]:
        """The first answer of one or two requests; the other one is accounted for here."""
        ask = step.ask
        after_s = self._hedge_after_s(ask)
        if after_s is None or after_s >= ask.left_s:
            return (yield attempt), sent
        both = [sent]

        def second() -> Attempt | None:
            if not self._budget.take():
                return None
            other = self._chosen(ask, [*tried, sent.peer])
            other.hedge = True
            both.append(other)
            return self.attempt(step.rpc, step.request, ask, other.peer)

        try:
            replies = yield Race(attempt, after_s, second)
        except BaseException:
            for other in both[1:]:
                self.unanswered(ask, other)
            raise
        ends = [(each, reply) for each, (_, reply) in zip(both, replies, strict=True)]
        best, reply = max(ends, key=_worth)
        assert reply is not None  # noqa: S101 - a race ends when one of them has
        for each, its_reply in ends:
            if each is best:
                continue
            if isinstance(its_reply, Failure):
                self.failed(its_reply, ask, each)
                tried.append(each.peer)
            elif each.hedge:
                self.unanswered(ask, each)
            else:
                # Outpaced by a request that began later: that is a sign, if several come.
                self._pool.faulted(each.peer, ask.key, answered=False)
                self._times(ask.name).add(time.monotonic() - each.began_s)
                self._record(ask, each, "Cancelled")
        ask.progress.endpoint = best.peer.address
        return reply, best

    def _take(self, reply: bytes, rpc: str, ask: Ask, sent: Sent) -> Any:
        """Read an answer.

        Raises:
            ProtocolError: it cannot be read.
        """
        ask.progress.response_bytes += len(reply)
        try:
            response = read_like_before(reply) if rpc == INFER else None
            if response is None:
                response = RPCS[rpc].read(reply, ask.facts())
        except ProtocolError as exc:
            self._pool.faulted(sent.peer, ask.key)
            self._record(ask, sent, type(exc).__name__)
            raise
        if rpc == INFER:
            self._times(ask.name).add(time.monotonic() - sent.began_s)
        self.answered(ask, sent)
        return response

    def failed(
        self, reply: Failure, ask: Ask, sent: Sent, *, cut: bool = False
    ) -> tuple[ClientError, Repeat]:
        """Tell the pool what a failure says about the peer, and make the error."""
        pool, peer, key = self._pool, sent.peer, ask.key
        ask.progress.endpoint = peer.address
        if reply is CLOSED:
            pool.unanswered(peer, key)
            return closed_error(ask), Repeat.NEVER
        rule = rule_of(reply.code, reply.text)
        repeat = rule.repeat
        took_s = time.monotonic() - sent.began_s
        call = ask.facts(reply.code.name, reply.text)
        if rule.kind is DeadlineExceeded and ask.left_s > _USEFUL_S:
            # Only this attempt was given up, or a proxy ended it that has less patience.
            repeat = Repeat.ELSEWHERE
            call = call._replace(timeout_s=round(took_s, 3))
        error = rule.kind(call, hint=rule.hint)
        error.__cause__ = reply.cause
        if isinstance(error, Unavailable):
            pool.lost(peer)
            self._lookup.hurry()
        elif isinstance(error, DeadlineExceeded):
            self._times(ask.name).add(took_s)
            (pool.failed if cut else pool.faulted)(peer, key, answered=False)
        elif isinstance(error, Overloaded):
            pool.rejected(peer, key)
        elif repeat in {Repeat.ELSEWHERE, Repeat.ONCE}:
            pool.failed(peer, key)
        elif isinstance(error, ServerFault):
            pool.faulted(peer, key)
        elif isinstance(error, InvalidRequest):
            pool.answered(peer, key)
        else:
            pool.unanswered(peer, key)
        self._record(ask, sent, type(error).__name__)
        return error, repeat

    def pause(self, repeat: Repeat, ask: Ask, tried: list[Peer]) -> Pause | None:
        """The pause before the next attempt, whose token is taken; None if there shall be none."""
        retry = self._retry
        if retry is None or not ask.repeatable or len(tried) >= retry.attempts:
            return None
        elsewhere = any(peer not in tried for peer in self._pool.peers)
        if repeat is Repeat.NEVER or (repeat is not Repeat.ANYWHERE and not elsewhere):
            return None
        if repeat is Repeat.ONCE and len(tried) > 1:
            return None
        seconds = 0.0
        if not elsewhere:
            seconds = retry.backoff_s * 2 ** (len(tried) - 1) * self._random.uniform(0.5, 1.0)
        if seconds >= ask.left_s or not self._budget.take():
            return None
        return Pause(seconds)

    def _cut_s(self, ask: Ask, peer: Peer, tried: list[Peer]) -> float | None:
        """After what time an attempt is given up for another endpoint; None = it has all."""
        retry = self._retry
        if retry is None or not retry.patience or len(self._pool.peers) == 1 or self._hedge:
            return None
        if not ask.repeatable or len(tried) + 1 >= retry.attempts or self._budget.tokens < 1:
            return None
        usual_s = self._times(ask.name).quantile_s(_SLOWEST)
        if usual_s is None or not self._pool.another(ask.key, peer):
            return None
        cut_s = max(retry.patience_min_s, retry.patience * usual_s)
        # The other endpoint needs time, too: half of it, if it usually answers well within that.
        half_s = ask.left_s / 2
        if cut_s <= half_s:
            return cut_s
        most_s = self._times(ask.name).quantile_s(_MOST)
        return half_s if most_s is not None and most_s * _WELL_WITHIN <= half_s else None

    def _hedge_after_s(self, ask: Ask) -> float | None:
        assert self._hedge is not None  # noqa: S101 - asked for by `send` alone
        if self._hedge.after_s is not None:
            return self._hedge.after_s
        return self._times(ask.name).quantile_s(self._hedge.quantile)

    def _times(self, name: str) -> Latencies:
        times = self._latencies.get(name)
        if times is None:
            if len(self._latencies) >= _NAMES_MAX:
                self._latencies.clear()
            times = self._latencies.setdefault(name, Latencies())
        return times

    def _record(self, ask: Ask, sent: Sent, outcome: str) -> None:
        records = ask.progress.records
        if records is not None:
            took_s = time.monotonic() - sent.began_s
            start_ns = time.time_ns() - int(took_s * 1e9)
            records.append(AttemptRecord(sent.peer.address, start_ns, took_s, outcome, sent.hedge))


def _worth(end: tuple[Sent, bytes | Failure | None]) -> int:
    """Which end of a race counts: an answer, else a failure that forbids to send it again."""
    _, reply = end
    if not isinstance(reply, Failure):
        return 0 if reply is None else 3
    final = reply.code is None or rule_of(reply.code, reply.text).repeat is Repeat.NEVER
    return 2 if final else 1
