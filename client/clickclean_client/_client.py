"""Calls to a model by name, checked before they are sent and after they come back."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from clickclean_client._calls import Calls
from clickclean_client._exceptions import (
    DeadlineExceeded,
    InvalidRequest,
    ModelNotFound,
    Unavailable,
)
from clickclean_client._homes import Homes
from clickclean_client._result import InferResult
from clickclean_client._transport import Transport
from clickclean_client._types import ModelMetadata
from clickclean_client.experiments.follower import Follower
from clickclean_client.protocol import service_pb2

if TYPE_CHECKING:
    from clickclean_client.experiments.log import ExperimentLog
    from clickclean_client.experiments.mirror import ShadowCounts


class Client:
    """A connection to one Triton server; one instance serves many threads.

    `endpoint` is "host:port" of the server's gRPC port. `timeout_s` is the deadline of every
    call that does not bring its own. `headers` are sent with every call. Construction does no
    I/O. Messages may have up to 2 GiB - 1 bytes in both directions. No call is repeated, except
    where the server said that it did not serve what was asked for, or a challenger failed.

    Calls with a key follow the experiment of their model, which is read from the server again
    every `experiment_refresh_s`, beside the calls; `experiment_log` takes what happened. With
    `exact`, only the names that are given are asked: for tools that prove what stands there.

    Raises:
        InvalidRequest: endpoint, timeout, headers or refresh interval are malformed.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        timeout_s: float = 1.0,
        headers: Mapping[str, str] | None = None,
        exact: bool = False,
        experiment_log: ExperimentLog | None = None,
        experiment_refresh_s: float = 2.0,
    ) -> None:
        self._transport = Transport(endpoint, timeout_s=timeout_s, headers=headers or {})
        self._calls = Calls()
        self._homes = Homes()
        self._exact = exact
        self._follower = Follower(
            self._transport, self._calls, log=experiment_log, refresh_s=experiment_refresh_s
        )

    @property
    def endpoint(self) -> str:
        """The "host:port" that is called."""
        return self._transport.endpoint

    @property
    def shadows(self) -> ShadowCounts:
        """What became of the requests that this client mirrored to challengers."""
        return self._follower.shadows

    def infer(
        self,
        model: str,
        inputs: Mapping[str, NDArray[Any]] | None = None,
        /,
        *,
        version: str | int | None = None,
        key: str | int | None = None,
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

        No version means the promoted one. A version that is named is also found while a release
        moves it. With a `key` (what shall always get the same arm: the id of a user) the call
        takes part in the experiment of the model, if there is one: the key decides between the
        champion and the challenger, and the champion answers for a challenger that fails.

        The deadline covers everything, the first fetch of the metadata too, and what is left of
        it travels to Triton as the request's `timeout`. Metadata are kept; they are fetched anew,
        once, when a check against them fails or the server calls the request invalid, because a
        promotion may have changed the model.

        Raises:
            InvalidRequest: the inputs do not fit the model; it did not run.
            ClientError: any other of its subclasses.
        """
        ask = self._transport.ask(model, version, timeout_s=timeout_s)
        if not _is_text(request_id):
            raise InvalidRequest(ask.facts(), f"request_id must be a str, not {request_id!r}")
        for name in inputs or {}:
            if name in named:
                raise InvalidRequest(ask.facts(), f"the input {name!r} is given twice")
        arrays = {**(inputs or {}), **named}

        if key is not None:
            if self._exact or ask.version:
                problem = "a key is given" + (" to an exact client" if self._exact else "")
                problem += f" together with version {ask.version}" if ask.version else ""
                hint = "A key lets the experiment choose the version; leave one of them out."
                raise InvalidRequest(ask.facts(), problem, hint=hint)
            return self._follower.infer(arrays, ask, request_id, key)
        if not ask.version or self._exact:
            return self._transport.run(self._calls.infer(arrays, ask, request_id)).result
        return self._transport.run(
            self._homes.visit(ask, lambda place: self._calls.infer(arrays, place, request_id))
        ).result

    def metadata(
        self, model: str, *, version: str | int | None = None, timeout_s: float | None = None
    ) -> ModelMetadata:
        """Names, dtypes and shapes of a model's inputs and outputs, and its batch limit.

        Fetched at the first use of a model and version, then kept.

        Raises:
            ModelNotFound: the model or version is not served.
            ClientError: any other of its subclasses.
        """
        ask = self._transport.ask(model, version, timeout_s=timeout_s)
        if self._exact:
            return self._transport.run(self._calls.metadata(ask))
        return self._transport.run(self._homes.visit(ask, self._calls.metadata))

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
        try:
            if model is not None:
                ask = self._transport.ask(model, version, timeout_s=timeout_s)
                if self._exact:
                    return self._transport.run(self._calls.ready(ask))
                return self._transport.run(self._homes.visit(ask, self._calls.ready))
            ask = self._transport.ask_server(timeout_s=timeout_s)
            if version is not None:
                raise InvalidRequest(ask.facts(), "a version is given without its model")
            request = service_pb2.ServerReadyRequest()
            return bool(self._transport.call("ServerReady", request, ask).ready)
        except (ModelNotFound, Unavailable, DeadlineExceeded):
            return False

    def exactly(self) -> Client:
        """A client that asks only the names that are given, over this one's connection.

        It is open as long as this one; closing either closes both.
        """
        twin = copy.copy(self)
        twin._exact = True
        return twin

    def close(self) -> None:
        """Close the connection; calls under way end with `Cancelled`. May be repeated."""
        self._follower.close()
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.endpoint!r})"


def _is_text(value: object) -> bool:
    """A str that protobuf takes."""
    try:
        return isinstance(value, str) and (value.isascii() or bool(value.encode()))
    except UnicodeEncodeError:
        return False
