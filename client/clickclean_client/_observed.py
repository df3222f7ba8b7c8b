"""Tells the hooks of a client about a call, and what it took."""

from __future__ import annotations

import time
from collections.abc import Callable

from clickclean_client._ask import Ask
from clickclean_client._effects import Effects, Item
from clickclean_client._exceptions import ClientError
from clickclean_client._observe import CallEnd, CallStart, Hooks
from clickclean_client._result import InferResult
from clickclean_client._settings import header_pairs


def observed(
    hooks: Hooks, effects: Effects[InferResult], ask: Ask, request_id: str, *, key_given: bool
) -> Effects[InferResult]:
    """The same call, with hooks told of its beginning and its end.

    Raises:
        ClientError: what the call raises.
    """
    finish = _begin(hooks, ask, request_id, key_given=key_given)
    try:
        result = yield from effects
    except BaseException as exc:
        finish(_end(ask, None, exc))
        raise
    finish(_end(ask, result, None))
    return result


def observed_items(
    hooks: Hooks, effects: Effects[None], ask: Ask, request_id: str
) -> Effects[None]:
    """The same stream, with hooks told of its beginning and its end.

    Raises:
        ClientError: what the stream raises.
    """
    finish = _begin(hooks, ask, request_id, stream=True)
    last: InferResult | None = None
    given = None
    try:
        while True:
            try:
                effect = effects.send(given)
            except StopIteration:
                break
            if isinstance(effect, Item):
                last = effect.value
            given = yield effect
    except BaseException as exc:
        effects.close()
        finish(_end(ask, last, exc, stream=True))
        raise
    finish(_end(ask, last, None, stream=True))


def _begin(
    hooks: Hooks, ask: Ask, request_id: str, *, key_given: bool = False, stream: bool = False
) -> Callable[[CallEnd], None]:
    start = CallStart(ask.model, ask.version, key_given, request_id, {}, time.time_ns(), stream)
    finish = hooks.begin(start)
    # A hook may have written anything there, so it is checked as those of callers are.
    if start.headers:
        ask.headers += header_pairs(start.headers)
    ask.progress.records = []
    return finish


def _end(
    ask: Ask, result: InferResult | None, error: BaseException | None, *, stream: bool = False
) -> CallEnd:
    if error is None:
        outcome = "ok"
    elif isinstance(error, ClientError):
        outcome = type(error).__name__
    else:
        # The caller gave up: its task was cancelled, or it left the loop over a stream.
        outcome = "Cancelled"
    progress = ask.progress
    return CallEnd(
        model=ask.model,
        version=ask.version,
        answered_version=result.version if result is not None else "",
        arm=result.arm if result is not None else "",
        experiment=result.experiment if result is not None else "",
        outcome=outcome,
        duration_s=ask.elapsed_s,
        attempts=tuple(sorted(progress.records or (), key=lambda record: record.start_ns)),
        request_bytes=progress.request_bytes,
        response_bytes=progress.response_bytes,
        error=error if isinstance(error, ClientError) else None,
        stream=stream,
    )
