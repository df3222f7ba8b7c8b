"""Calls to a model by name, checked before they are sent and after they come back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from clickclean_client._exceptions import (
    AccessRefused,
    ClientError,
    DeadlineExceeded,
    InvalidRequest,
    ModelNotFound,
    ProtocolError,
    Unavailable,
)
from clickclean_client._metadata import metadata_from_messages
from clickclean_client._request import check_inputs, infer_request
from clickclean_client._response import result_from_response
from clickclean_client._transport import Ask, Transport
from clickclean_client._types import InferResult, ModelMetadata
from clickclean_client.protocol import service_pb2


class Client:
    """A connection to one Triton server; one instance serves many threads.

    `endpoint` is "host:port" of the server's gRPC port. `timeout_s` is the deadline of every
    call that does not bring its own. `headers` are sent with every call. Construction does no
    I/O. Messages may have up to 2 GiB - 1 bytes in both directions. No call is repeated.

    Raises:
        InvalidRequest: endpoint, timeout or headers are malformed.
    """

    def __init__(
        self, endpoint: str, *, timeout_s: float = 1.0, headers: Mapping[str, str] | None = None
    ) -> None:
        self._transport = Transport(endpoint, timeout_s=timeout_s, headers=headers or {})
        # Reading and replacing an entry are atomic; two threads may fetch the same one twice.
        self._metadata: dict[tuple[str, str], ModelMetadata] = {}

    @property
    def endpoint(self) -> str:
        """The "host:port" that is called."""
        return self._transport.endpoint

    def infer(
        self,
        model: str,
        inputs: Mapping[str, NDArray[Any]] | None = None,
        /,
        *,
        version: str | int | None = None,
        timeout_s: float | None = None,
        request_id: str = "",
        **named: NDArray[Any],
    ) -> InferResult:
        """Run a model once and return its outputs by name.

        Inputs are numpy arrays, in a mapping or by keyword (the mapping also takes names that
        are no keywords). Their dtypes must be exactly the declared ones, and lists are refused:
        nothing is converted silently except byte order. BYTES inputs are arrays of `bytes` or
        `str`; BF16 inputs are uint16 bits or `ml_dtypes.bfloat16`. Input arrays are copied
        before this returns; output arrays are read-only (see `InferResult`).

        No version means the promoted one. The deadline covers everything, the first fetch of
        the metadata too, and what is left of it travels to Triton as the request's `timeout`.
        Metadata are kept; they are fetched anew, once, when a check against them fails or the
        server calls the request invalid, because a promotion may have changed the model.

        Raises:
            InvalidRequest: the inputs do not fit the model; it did not run.
            ClientError: any other of its subclasses.
        """
        ask = self._transport.ask(model, version, timeout_s=timeout_s)
        if not isinstance(request_id, str):
            raise InvalidRequest(ask.facts(), f"request_id must be a str, not {request_id!r}")
        for name in inputs or {}:
            if name in named:
                raise InvalidRequest(ask.facts(), f"the input {name!r} is given twice")
        arrays = {**(inputs or {}), **named}

        metadata = self._cached(ask)
        try:
            response, batch = self._send(arrays, metadata, ask, request_id)
        except ModelNotFound:
            self._metadata.pop((ask.model, ask.version), None)
            raise
        except InvalidRequest as refused:
            metadata = self._changed(metadata, ask, refused)
            response, batch = self._send(arrays, metadata, ask, request_id)

        try:
            return result_from_response(response, metadata, ask.facts(), batch=batch)
        except ProtocolError as mismatch:
            metadata = self._changed(metadata, ask, mismatch)
            batch = batch if metadata.max_batch else 0
            return result_from_response(response, metadata, ask.facts(), batch=batch)

    def metadata(
        self, model: str, *, version: str | int | None = None, timeout_s: float | None = None
    ) -> ModelMetadata:
        """Names, dtypes and shapes of a model's inputs and outputs, and its batch limit.

        Fetched at the first use of a model and version, then kept.

        Raises:
            ModelNotFound: the model or version is not served.
            ClientError: any other of its subclasses.
        """
        return self._cached(self._transport.ask(model, version, timeout_s=timeout_s))

    def is_ready(
        self,
        model: str | None = None,
        *,
        version: str | int | None = None,
        timeout_s: float | None = None,
    ) -> bool:
        """Whether the server, or one of its models, says that it is ready.

        False also when it cannot be reached or does not answer in time. Only an inference shows
        that a model works: Triton keeps saying ready when the process of a model has died.

        Raises:
            ClientError: the server answered something else than yes or no.
        """
        request: Any
        if model is None:
            ask = self._transport.ask_server(timeout_s=timeout_s)
            if version is not None:
                raise InvalidRequest(ask.facts(), "a version is given without its model")
            rpc, request = "ServerReady", service_pb2.ServerReadyRequest()
        else:
            ask = self._transport.ask(model, version, timeout_s=timeout_s)
            rpc = "ModelReady"
            request = service_pb2.ModelReadyRequest(name=ask.model, version=ask.version)
        try:
            return bool(self._transport.call(rpc, request, ask).ready)
        except (ModelNotFound, Unavailable, DeadlineExceeded):
            return False

    def close(self) -> None:
        """Close the connection; calls under way end with `Cancelled`. May be repeated."""
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.endpoint!r})"

    def _send(
        self,
        arrays: Mapping[str, NDArray[Any]],
        metadata: ModelMetadata,
        ask: Ask,
        request_id: str,
    ) -> tuple[Any, int]:
        call = ask.facts()
        batch = check_inputs(arrays, metadata, call)
        timeout_us = max(1, int(ask.left_s * 1e6))
        request = infer_request(
            arrays, metadata, call, request_id=request_id, timeout_us=timeout_us
        )
        return self._transport.call("ModelInfer", request, ask), batch

    def _cached(self, ask: Ask) -> ModelMetadata:
        known = self._metadata.get((ask.model, ask.version))
        return self._fetch(ask) if known is None else known

    def _changed(self, known: ModelMetadata, ask: Ask, error: ClientError) -> ModelMetadata:
        """Fetch the metadata anew; raise `error` unless they differ from the known ones."""
        try:
            fresh = self._fetch(ask)
        except ClientError:
            self._metadata.pop((ask.model, ask.version), None)
            raise error from None
        if fresh == known:
            raise error
        return fresh

    def _fetch(self, ask: Ask) -> ModelMetadata:
        request = service_pb2.ModelMetadataRequest(name=ask.model, version=ask.version)
        metadata = self._transport.call("ModelMetadata", request, ask)
        found = metadata_from_messages(metadata, self._config(ask), ask.facts())
        self._metadata[ask.model, ask.version] = found
        return found

    def _config(self, ask: Ask) -> Any | None:
        request = service_pb2.ModelConfigRequest(name=ask.model, version=ask.version)
        try:
            return self._transport.call("ModelConfig", request, ask).config
        except AccessRefused:
            # Production servers may restrict model-config; inference needs none of it.
            return None
