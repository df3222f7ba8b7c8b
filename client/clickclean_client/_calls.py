"""What is sent for one call, checked before and after. No I/O: flows yield what is to be sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from numpy.typing import NDArray

from clickclean_client._checks import check_inputs
from clickclean_client._exceptions import (
    AccessRefused,
    ClientError,
    InvalidRequest,
    ModelNotFound,
    ProtocolError,
)
from clickclean_client._metadata import metadata_from_messages
from clickclean_client._request import infer_request
from clickclean_client._response import result_from_response
from clickclean_client._transport import Ask, Flow
from clickclean_client._types import InferResult, ModelMetadata
from clickclean_client.protocol import service_pb2

Arrays = Mapping[str, NDArray[Any]]


class Answered(NamedTuple):
    """An inference's result, and what it was made from."""

    result: InferResult
    request: Any  # service_pb2.ModelInferRequest, of nobody else any more
    metadata: ModelMetadata
    batch: int


class Calls:
    """Calls to exactly the name and number of an `Ask`; keeps what it learned of the models."""

    def __init__(self) -> None:
        # Reading and replacing an entry are atomic; two threads may fetch the same one twice.
        self._metadata: dict[tuple[str, str], ModelMetadata] = {}

    def infer(self, arrays: Arrays, ask: Ask, request_id: str) -> Flow[Answered]:
        """One inference; see `Client.infer` for when metadata are fetched anew.

        Raises:
            ClientError: the subclass that fits.
        """
        metadata = yield from self.metadata(ask)
        try:
            request, response, batch = yield from self._send(arrays, metadata, ask, request_id)
        except ModelNotFound:
            self._metadata.pop((ask.name, ask.number), None)
            raise
        except InvalidRequest as refused:
            metadata = yield from self._changed(metadata, ask, refused)
            request, response, batch = yield from self._send(arrays, metadata, ask, request_id)

        try:
            result = result_from_response(response, metadata, ask.facts(), batch=batch)
        except ProtocolError as mismatch:
            metadata = yield from self._changed(metadata, ask, mismatch)
            batch = batch if metadata.max_batch else 0
            result = result_from_response(response, metadata, ask.facts(), batch=batch)
        return Answered(result, request, metadata, batch)

    def metadata(self, ask: Ask) -> Flow[ModelMetadata]:
        """What is known of a model, fetched at its first use.

        Raises:
            ClientError: the subclass that fits.
        """
        known = self._metadata.get((ask.name, ask.number))
        return (yield from self._fetch(ask)) if known is None else known

    def ready(self, ask: Ask) -> Flow[bool]:
        """True when the server says so.

        Raises:
            ModelNotFound: it says no.
            ClientError: any other of its subclasses.
        """
        request = service_pb2.ModelReadyRequest(name=ask.name, version=ask.number)
        response = yield "ModelReady", request, ask
        if not response.ready:
            raise ModelNotFound(ask.facts())
        return True

    def _send(
        self, arrays: Arrays, metadata: ModelMetadata, ask: Ask, request_id: str
    ) -> Flow[tuple[Any, Any, int]]:
        call = ask.facts()
        batch = check_inputs(arrays, metadata, call) or 0
        timeout_us = max(1, int(ask.left_s * 1e6))
        request = infer_request(
            arrays,
            metadata,
            call,
            name=ask.name,
            number=ask.number,
            request_id=request_id,
            timeout_us=timeout_us,
        )
        response = yield "ModelInfer", request, ask
        return request, response, batch

    def _changed(self, known: ModelMetadata, ask: Ask, error: ClientError) -> Flow[ModelMetadata]:
        """Fetch the metadata anew; raise `error` unless they differ from the known ones."""
        try:
            fresh = yield from self._fetch(ask)
        except ClientError:
            self._metadata.pop((ask.name, ask.number), None)
            raise error from None
        if fresh == known:
            raise error
        return fresh

    def _fetch(self, ask: Ask) -> Flow[ModelMetadata]:
        request = service_pb2.ModelMetadataRequest(name=ask.name, version=ask.number)
        metadata = yield "ModelMetadata", request, ask
        config = yield from self._config(ask)
        found = metadata_from_messages(metadata, config, ask.facts())
        self._metadata[ask.name, ask.number] = found
        return found

    def _config(self, ask: Ask) -> Flow[Any]:
        request = service_pb2.ModelConfigRequest(name=ask.name, version=ask.number)
        try:
            response = yield "ModelConfig", request, ask
        except AccessRefused:
            # Production servers may restrict model-config; inference needs none of it.
            return None
        return response.config
