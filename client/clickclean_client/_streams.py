"""Models that answer one request several times, or not at all ("decoupled"). No I/O.

Each call has a stream of its own: one request, then its answers, until the server has sent the
last one and ends the stream.
https://github.com/triton-inference-server/server/blob/main/docs/user_guide/decoupled_models.md
"""

from __future__ import annotations

from typing import Final, NamedTuple

from clickclean_client._ask import Ask
from clickclean_client._attempts import Attempts, Sent
from clickclean_client._calls import Calls, Feed
from clickclean_client._effects import Effects, Failure, Item, Next, Open
from clickclean_client._errors import error_from_text
from clickclean_client._options import InferOptions
from clickclean_client._pool import Peer
from clickclean_client._request import InferMessage
from clickclean_client._response import result_from_response
from clickclean_client._result import InferResult
from clickclean_client._rpcs import RPCS, STREAM
from clickclean_client._types import ModelMetadata
from clickclean_client._wire import read_response

_FINAL: Final = "triton_final_response"


class _Request(NamedTuple):
    message: InferMessage
    metadata: ModelMetadata
    options: InferOptions


def stream(attempts: Attempts, calls: Calls, feed: Feed, ask: Ask) -> Effects[None]:
    """The answers to one request, each as an `Item`.

    What failed before the first answer is repeated as other calls are.

    Raises:
        ClientError: the subclass that fits; answers that came before it are given out.
    """
    metadata = yield from attempts.run(calls.metadata(ask))
    request = _Request(calls.message(feed, metadata, ask), metadata, feed.options)
    tried: list[Peer] = []
    while True:
        sent = yield from attempts.pick(ask, tried)
        failure = yield from _answers(attempts, request, ask, sent)
        if failure is None:
            return
        error, repeat = attempts.failed(failure, ask, sent)
        tried.append(sent.peer)
        pause = attempts.pause(repeat, ask, tried)
        if pause is None:
            raise error
        yield pause


def _answers(
    attempts: Attempts, request: _Request, ask: Ask, sent: Sent
) -> Effects[Failure | None]:
    """One stream; gives back how it failed, if that was before the first answer."""
    handle = yield Open(attempts.attempt(STREAM, request.message, ask, sent.peer))
    if isinstance(handle, Failure):
        return handle
    answered = ended = False
    try:
        while True:
            reply = yield Next(handle)
            if isinstance(reply, Failure):
                if answered:
                    ended = True
                    raise attempts.failed(reply, ask, sent)[0]
                ended = True
                return reply
            if reply is None:
                ended = True
                attempts.answered(ask, sent)
                return None
            answered = True
            result = _read(reply, request, ask)
            if result is not None:
                yield Item(result)
    finally:
        # Also where the caller has enough and leaves the loop.
        handle.cancel()
        if not ended:
            attempts.unanswered(ask, sent)


def _read(reply: bytes, request: _Request, ask: Ask) -> InferResult | None:
    """One answer; None for the empty one that only says that it is the last."""
    call = ask.facts()
    message = RPCS[STREAM].read(reply, call)
    if message.error_message:
        # The status of a stream stays OK, so there is nothing to go by but the text.
        raise error_from_text(ask.facts("", message.error_message))
    response = read_response(message.infer_response.SerializeToString(), call)
    final = dict(response.parameters).get(_FINAL) is True
    if final and not response.outputs:
        return None
    # Such a model may answer with any number of rows.
    return result_from_response(response, request.metadata, call, batch=0, options=request.options)
