"""What is sent for one call, checked before and after. No I/O: flows yield what is to be sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from numpy.typing import NDArray

from clickclean_client._ask import Ask, Flow, Step
from clickclean_client._batches import empty_result, joined, parts, versions
from clickclean_client._checks import check_inputs
from clickclean_client._exceptions import (
    AccessRefused,
    Call,
    ClientError,
    InvalidRequest,
    ModelNotFound,
    ProtocolError,
)
from clickclean_client._metadata import metadata_from_messages
from clickclean_client._options import PLAIN, InferOptions
from clickclean_client._request import InferMessage, infer_message
from clickclean_client._response import result_from_response, usual_result
from clickclean_client._result import InferResult
from clickclean_client._rpcs import INFER
from clickclean_client._types import ModelMetadata
from clickclean_client._wire import WireResponse
from clickclean_client.protocol import service_pb2

Arrays = Mapping[str, NDArray[Any]]

_SPLIT_TRIES: Final = 3
"""How often a split batch is asked for anew because versions changed between its parts."""


class Feed(NamedTuple):
    """What one call sends. With `split`, more rows than the model takes go in several requests."""

    arrays: Arrays
    request_id: str = ""
    options: InferOptions = PLAIN
    split: bool = False


class Answered(NamedTuple):
    """An inference's result, and what it was made from; no request if nobody had to be asked."""

    result: InferResult
    request: InferMessage | None
    metadata: ModelMetadata
    batch: int
    options: InferOptions


class _Sent(NamedTuple):
    message: InferMessage
    response: WireResponse
    batch: int


class Calls:
    """Calls to exactly the name and number of an `Ask`; keeps what it learned of the models.

    `pinned` metadata are believed: they are neither fetched nor fetched anew.
    """

    def __init__(self, pinned: Iterable[ModelMetadata] = ()) -> None:
        # Reading and replacing an entry are atomic; two threads may fetch the same one twice.
        self._metadata: dict[tuple[str, str], ModelMetadata] = {}
        self._pinned = {metadata.name: metadata for metadata in pinned}
        # The versions that have answered since the metadata were read.
        self._answered: dict[tuple[str, str], frozenset[str]] = {}

    def infer(self, feed: Feed, ask: Ask) -> Flow[Answered]:
        """One inference; see `Client.infer` for when metadata are fetched anew.

        Raises:
            ClientError: the subclass that fits.
        """
        metadata = self._metadata.get(ask.key) or (yield from self.metadata(ask))
        try:
            sent = yield from self._send(feed, metadata, ask)
        except ModelNotFound:
            self._metadata.pop(ask.key, None)
            raise
        except InvalidRequest as refused:
            metadata = yield from self._changed(metadata, ask, refused)
            sent = yield from self._send(feed, metadata, ask)
        if isinstance(sent, Answered):
            return sent

        message, response, batch = sent
        result = None
        if feed.options is PLAIN:
            result = usual_result(response, metadata, ask.model, batch=batch)
        if result is None:
            try:
                result = _checked(sent, metadata, feed, ask)
            except ProtocolError as mismatch:
                metadata = yield from self._changed(metadata, ask, mismatch)
                batch = batch if metadata.max_batch else 0
                result = _checked(sent._replace(batch=batch), metadata, feed, ask)
        if result.version not in self._answered.get(ask.key, ()):
            self._remember(ask, metadata, result.version)
        return Answered(result, message, metadata, batch, feed.options)

    def metadata(self, ask: Ask) -> Flow[ModelMetadata]:
        """What is known of a model, fetched at its first use.

        Raises:
            ClientError: the subclass that fits.
        """
        known = self._metadata.get(ask.key) or self._pinned.get(ask.model)
        return (yield from self._fetch(ask)) if known is None else known

    def ready(self, ask: Ask) -> Flow[bool]:
        """True when the server says so.

        Raises:
            ModelNotFound: it says no.
            ClientError: any other of its subclasses.
        """
        request = service_pb2.ModelReadyRequest(name=ask.name, version=ask.number)
        response = yield Step("ModelReady", request, ask)
        if not response.ready:
            raise ModelNotFound(ask.facts())
        return True

    def message(self, feed: Feed, metadata: ModelMetadata, ask: Ask) -> InferMessage:
        """The request for inputs, checked.

        Raises:
            InvalidRequest: the inputs do not fit.
        """
        call = ask.facts()
        check_inputs(feed.arrays, metadata, call)
        return _message(feed, metadata, ask, call)

    def _send(self, feed: Feed, metadata: ModelMetadata, ask: Ask) -> Flow[_Sent | Answered]:
        call = ask.facts()
        rows = check_inputs(feed.arrays, metadata, call, split=feed.split)
        if rows == 0:
            result = empty_result(metadata, call, feed.options, request_id=feed.request_id)
            return Answered(result, None, metadata, 0, feed.options)
        if feed.split and rows is not None and rows > metadata.max_batch:
            return (yield from self._send_parts(feed, metadata, ask))
        message = _message(feed, metadata, ask, call)
        response = yield Step(INFER, message, ask)
        return _Sent(message, response, rows or 0)

    def _send_parts(self, feed: Feed, metadata: ModelMetadata, ask: Ask) -> Flow[Answered]:
        """One request after another. All are answered by one version, or all are asked again."""
        results: list[InferResult] = []
        for _ in range(_SPLIT_TRIES):
            results = []
            for part in parts(feed.arrays, metadata.max_batch):
                piece = Feed(part, feed.request_id, feed.options)
                sent = yield from self._send(piece, metadata, ask)
                assert isinstance(sent, _Sent)  # noqa: S101 - a part is neither empty nor too big
                results.append(_checked(sent, metadata, feed, ask))
                if len(versions(results)) > 1:
                    break
            else:
                break
        return Answered(joined(results, ask.facts()), None, metadata, 0, feed.options)

    def _remember(self, ask: Ask, metadata: ModelMetadata, version: str) -> None:
        """A version answered for the first time: what is known of the model may be of another.

        The answer fits what is known, but limits may have changed; the next call asks. During a
        release two versions answer in turn, so each is only asked about once.
        """
        known = self._answered.get(ask.key, frozenset())
        if ask.key in self._metadata and version not in metadata.versions:
            self._metadata.pop(ask.key, None)
        self._answered[ask.key] = frozenset({*sorted(known)[-8:], version})

    def _changed(self, known: ModelMetadata, ask: Ask, error: ClientError) -> Flow[ModelMetadata]:
        """Fetch the metadata anew; raise `error` unless they differ from the known ones."""
        if known is self._pinned.get(ask.model):
            raise error
        try:
            fresh = yield from self._fetch(ask)
        except ClientError:
            self._metadata.pop(ask.key, None)
            raise error from None
        if fresh == known:
            raise error
        return fresh

    def _fetch(self, ask: Ask) -> Flow[ModelMetadata]:
        request = service_pb2.ModelMetadataRequest(name=ask.name, version=ask.number)
        metadata = yield Step("ModelMetadata", request, ask)
        config = yield from self._config(ask)
        found = metadata_from_messages(metadata, config, ask.facts())
        self._metadata[ask.key] = found
        return found

    def _config(self, ask: Ask) -> Flow[Any]:
        request = service_pb2.ModelConfigRequest(name=ask.name, version=ask.number)
        try:
            response = yield Step("ModelConfig", request, ask)
        except (AccessRefused, ProtocolError):
            # Production servers may restrict model-config, and other servers of the protocol do
            # not have it; inference needs none of it.
            return None
        return response.config


def _checked(sent: _Sent, metadata: ModelMetadata, feed: Feed, ask: Ask) -> InferResult:
    return result_from_response(
        sent.response, metadata, ask.facts(), batch=sent.batch, options=feed.options
    )


def _message(feed: Feed, metadata: ModelMetadata, ask: Ask, call: Call) -> InferMessage:
    return infer_message(
        feed.arrays,
        metadata,
        call,
        name=ask.name,
        number=ask.number,
        request_id=feed.request_id,
        options=feed.options,
    )
