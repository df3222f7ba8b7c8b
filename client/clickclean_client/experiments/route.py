"""One call with a key: to its arm, or to the champion when the challenger fails. No I/O."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from clickclean_client._ask import Ask, Flow
from clickclean_client._calls import Answered, Calls, Feed
from clickclean_client._exceptions import (
    Cancelled,
    ClientError,
    InvalidRequest,
    ModelNotFound,
)
from clickclean_client._request import InferMessage
from clickclean_client._result import InferResult
from clickclean_client.experiments.assignment import (
    bucket_of,
    buckets_below,
    digest,
    is_challenger,
    unit_of,
)
from clickclean_client.experiments.split import Split
from clickclean_client.experiments.tables import Exposure, number_of
from clickclean_client.experiments.watch import Watch
from clickclean_client.slots import challenger

CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"

CHALLENGER_SHARE: Final = 0.75
"""How much of the time left a challenger gets; the champion needs the rest if none answers."""


@dataclass(frozen=True, slots=True)
class Mirrored:
    """An inference that the champion has answered and the challenger shall answer, too."""

    ask: Ask
    split: Split
    answered: Answered
    request: InferMessage
    prediction_id: str
    champion_ms: float


@dataclass(frozen=True, slots=True)
class Route:
    """Where calls with a key go. `note` takes what is logged, `mirror` what is mirrored.

    Both must return at once and never raise.
    """

    calls: Calls
    note: Callable[[Exposure], None] | None
    mirror: Callable[[Mirrored], None]
    # Of its own, because programs seed the one of the module.
    numbers: random.Random = field(default_factory=random.Random)

    def infer(self, feed: Feed, ask: Ask, key: str, watch: Watch) -> Flow[InferResult]:
        """One inference for a key.

        Raises:
            ClientError: the champion's, or the challenger's if no time was left for the champion.
        """
        split = yield from watch.known(ask)
        prediction_id = feed.request_id or new_id(self.numbers)
        if split is None:
            answered = yield from self.calls.infer(feed, ask)
            answered.result.prediction_id = prediction_id
            return answered.result
        return (yield from _Trip(self, split, feed, ask, prediction_id).go(key, watch))


@dataclass(slots=True)
class _Trip:
    """One call while an experiment runs."""

    route: Route
    split: Split
    feed: Feed
    ask: Ask
    prediction_id: str
    arm: str = field(default=CHAMPION, init=False)
    unit: str = field(default="", init=False)

    def go(self, key: str, watch: Watch) -> Flow[InferResult]:
        digested = digest(self.split.salt, key)
        self.unit = unit_of(digested)
        failure: ClientError | None = None
        if bucket_of(digested) < buckets_below(self.split.percent):
            self.arm = CHALLENGER
            slot = self.ask.to(challenger(self.ask.model), "", share=CHALLENGER_SHARE)
            try:
                answered = yield from self._ask(slot)
            except Cancelled:
                raise
            except ClientError as exc:
                # Whether the inputs are wrong is for the champion to say: those of a challenger
                # may have changed.
                failure = exc
                if isinstance(exc, ModelNotFound):
                    watch.drop()
            else:
                return self._finish(answered, None)
        return (yield from self._champion(failure))

    def _champion(self, failure: ClientError | None) -> Flow[InferResult]:
        try:
            if failure is not None and self.ask.left_s <= 0:
                raise failure
            answered = yield from self._ask(self.ask)
        except (Cancelled, InvalidRequest):
            raise
        except ClientError as exc:
            self._note(failure or exc, version=0, fallback=False)
            raise
        result = self._finish(answered, failure)
        split = self.split
        request = answered.request
        if failure is None and split.shadow_percent and request is not None:
            share = split.shadow_percent
            if is_challenger(f"{split.salt}/shadow", self.prediction_id, share):
                took_ms = self.ask.elapsed_s * 1e3
                # Now: what lies in shared memory is the caller's again after this call.
                copy = request.to(challenger(self.ask.model), "")
                self.route.mirror(
                    Mirrored(self.ask, split, answered, copy, self.prediction_id, took_ms)
                )
        return result

    def _ask(self, ask: Ask) -> Flow[Answered]:
        return self.route.calls.infer(self.feed, ask)

    def _finish(self, answered: Answered, failure: ClientError | None) -> InferResult:
        result = answered.result
        result.arm = self.arm
        result.experiment = self.split.experiment
        result.prediction_id = self.prediction_id
        version = number_of(result.version)
        self._note(failure, version=version, fallback=failure is not None)
        return result

    def _note(self, failure: ClientError | None, *, version: int, fallback: bool) -> None:
        if self.route.note is None:
            return
        self.route.note(
            Exposure(
                time_us=time.time_ns() // 1000,
                experiment=self.split.experiment,
                model=self.ask.model,
                arm=self.arm,
                version=version,
                prediction_id=self.prediction_id,
                unit=self.unit,
                latency_ms=self.ask.elapsed_s * 1e3,
                error=type(failure).__name__ if failure is not None else "",
                fallback=fallback,
            )
        )


def new_id(numbers: random.Random) -> str:
    """A random UUID (version 4, RFC 9562) in hex; without the system call of `uuid.uuid4`."""
    bits = numbers.getrandbits(128)
    return f"{bits & ~(0xF << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62:032x}"


def checked_key(key: object, ask: Ask) -> str:
    """The key as text: a text with at least one character, or a whole number's decimal digits.

    Raises:
        InvalidRequest: it is anything else.
    """
    if isinstance(key, int) and not isinstance(key, bool):
        return str(key)
    if isinstance(key, str) and key and (key.isascii() or _has_utf8(key)):
        return key
    raise InvalidRequest(
        ask.facts(),
        f"{key!r} is no key",
        hint="A key is a text with at least one character, or an int: what shall always get the "
        "same arm of an experiment, such as the id of a user.",
    )


def _has_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
