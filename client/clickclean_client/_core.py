"""What a client does, without I/O: `Client` and `AsyncClient` only carry it out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from numpy.typing import NDArray

from clickclean_client._ask import Ask, Flow, Step
from clickclean_client._attempts import Attempts
from clickclean_client._calls import Calls, Feed
from clickclean_client._channels import Security
from clickclean_client._effects import Effects
from clickclean_client._endpoints import Endpoints
from clickclean_client._exceptions import (
    Call,
    DeadlineExceeded,
    InvalidRequest,
    ModelNotFound,
    Unavailable,
)
from clickclean_client._homes import Homes
from clickclean_client._lookup import Lookup
from clickclean_client._names import checked_model, checked_version
from clickclean_client._observe import Hook, Hooks
from clickclean_client._observed import observed, observed_items
from clickclean_client._options import PLAIN, InferOptions
from clickclean_client._places import CallMemory
from clickclean_client._pool import Pool
from clickclean_client._registrations import Registrations
from clickclean_client._result import InferResult
from clickclean_client._settings import (
    Balancing,
    Hedge,
    Retry,
    Timeout,
    Tls,
    checked_compression,
    header_pairs,
)
from clickclean_client._streams import stream
from clickclean_client._types import ModelMetadata
from clickclean_client._wire import Parameter
from clickclean_client.experiments.following import Following
from clickclean_client.protocol import service_pb2

if TYPE_CHECKING:
    from clickclean_client._shared_memory import SharedMemory
    from clickclean_client.experiments.log import ExperimentLog

Inputs = Mapping[str, NDArray[Any]]
Outputs = Sequence[str] | Mapping[str, NDArray[Any] | None]
Token = str | Callable[[], str]


class Options(NamedTuple):
    """What a call asks for beside its inputs, in the caller's words."""

    outputs: Outputs | None
    classify: Mapping[str, int] | None
    priority: int
    parameters: Mapping[str, Parameter] | None


_BALANCING: Final = Balancing()
_NONE: Final = Options(None, None, 0, None)


class Core:
    """The settings of a client and its calls as effects; safe for many threads.

    `start` sends a request beside the calls; it is the driver's.

    Raises:
        InvalidRequest: a setting is malformed.
        SchemaError: a pinned schema cannot be used.
    """

    def __init__(
        self,
        endpoints: str | Sequence[str],
        *,
        timeout_s: float | Timeout,
        headers: Mapping[str, str] | None,
        tls: Tls | None,
        retry: Retry | None,
        token: Token | None = None,
        hedge: Hedge | None = None,
        balancing: Balancing = _BALANCING,
        compression: str = "none",
        schemas: Iterable[Path | str | ModelMetadata] = (),
        hooks: Sequence[Hook] = (),
        exact: bool = False,
        experiment_log: ExperimentLog | None = None,
        experiment_refresh_s: float = 2.0,
    ) -> None:
        self.endpoints = Endpoints.parse(endpoints)
        self.security = Security(tls)
        self.lookup = Lookup(self.endpoints, balancing.resolve_s)
        self.pool = Pool(self.lookup.addresses, balancing)
        self.attempts = Attempts(self.pool, self.lookup, retry, hedge)
        self._shown = str(self.endpoints)
        # What is wrong with a call's settings is said before there is anything to add.
        self._call = Call(self._shown)
        self._timeout = Timeout.of(timeout_s)
        self._headers = header_pairs(headers)
        self._token = _checked_token(token, self.endpoints, tls)
        self._compression = checked_compression(compression)
        self._hooks = Hooks(hooks)
        self._calls = Calls(_loaded(schemas))
        self._homes = Homes()
        self.registrations = Registrations(self.attempts, self.pool, self.endpoints)
        self._exact = exact
        self.following = Following(
            self.attempts, self._calls, log=experiment_log, refresh_s=experiment_refresh_s
        )

    def __str__(self) -> str:
        return self._shown

    def exactly(self) -> Core:
        """The same, but only names that are given are asked."""
        twin = copy.copy(self)
        twin._exact = True
        return twin

    def ask(
        self,
        model: str = "",
        version: str | int | None = None,
        *,
        timeout_s: float | Timeout | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Ask:
        """Start the clock of a call about the server, or about a model whose name was checked.

        Raises:
            InvalidRequest: version, timeout or headers are malformed.
        """
        call = self._call
        pairs = self._headers
        if headers:
            pairs += header_pairs(headers)
        if self._token is not None:
            pairs += (("authorization", f"Bearer {_text_of(self._token, call)}"),)
        return Ask(
            self._shown,
            model,
            checked_version(version, call),
            self._timeout if timeout_s is None else Timeout.of(timeout_s),
            headers=pairs,
            compression=self._compression,
        )

    def infer(
        self,
        model: str,
        inputs: Inputs | None,
        named: Inputs,
        *,
        version: str | int | None,
        key: str | int | None,
        request_id: str,
        timeout_s: float | Timeout | None,
        headers: Mapping[str, str] | None,
        options: Options,
        split: bool,
    ) -> Effects[InferResult]:
        """See `Client.infer`."""
        ask = self.ask_model(model, version, timeout_s=timeout_s, headers=headers)
        memories = self.registrations.memories()
        feed = _feed(ask, inputs, named, request_id, options, memories=memories, split=split)
        if key is not None and (self._exact or ask.version):
            problem = "a key is given" + (" to an exact client" if self._exact else "")
            problem += f" together with version {ask.version}" if ask.version else ""
            hint = "A key lets the experiment choose the version; leave one of them out."
            raise InvalidRequest(ask.facts(), problem, hint=hint)
        memory = feed.options.memory
        if memory is None:
            effects = self._infer(feed, ask, key)
        else:
            if split or key is not None:
                memory.refuse_outputs("split=True" if split else "a key", ask.facts())
            effects = self.registrations.call(memory, ask, lambda: self._infer(feed, ask, key))
        if self._hooks:
            return observed(self._hooks, effects, ask, request_id, key_given=key is not None)
        return effects

    def _infer(self, feed: Feed, ask: Ask, key: str | int | None) -> Effects[InferResult]:
        if key is not None:
            flow = self.following.follower.infer(feed, ask, key)
        elif not ask.version or self._exact:
            flow = _result(self._calls.infer(feed, ask))
        else:
            flow = _result(self._homes.visit(ask, lambda place: self._calls.infer(feed, place)))
        return self.attempts.run(flow)

    def stream(
        self,
        model: str,
        inputs: Inputs | None,
        named: Inputs,
        *,
        version: str | int | None,
        request_id: str,
        timeout_s: float | Timeout | None,
        headers: Mapping[str, str] | None,
        options: Options,
    ) -> Effects[None]:
        """See `Client.stream`."""
        ask = self.ask_model(model, version, timeout_s=timeout_s, headers=headers)
        memories = self.registrations.memories()
        feed = _feed(ask, inputs, named, request_id, options, memories=memories, split=False)
        memory = feed.options.memory
        if memory is None:
            effects = stream(self.attempts, self._calls, feed, ask)
        else:
            memory.refuse_outputs("a stream", ask.facts())
            effects = self.registrations.call(
                memory, ask, lambda: stream(self.attempts, self._calls, feed, ask)
            )
        if self._hooks:
            return observed_items(self._hooks, effects, ask, request_id)
        return effects

    def metadata(
        self, model: str, version: str | int | None, timeout_s: float | Timeout | None
    ) -> Effects[ModelMetadata]:
        """See `Client.metadata`."""
        ask = self.ask_model(model, version, timeout_s=timeout_s)
        flow = (
            self._calls.metadata(ask)
            if self._exact
            else self._homes.visit(ask, self._calls.metadata)
        )
        return self.attempts.run(flow)

    def is_ready(
        self, model: str | None, version: str | int | None, timeout_s: float | Timeout | None
    ) -> Effects[bool]:
        """See `Client.is_ready`."""
        if model is None:
            ask = self.ask(timeout_s=timeout_s)
            if version is not None:
                raise InvalidRequest(ask.facts(), "a version is given without its model")
            flow = _server_ready(ask)
        else:
            ask = self.ask_model(model, version, timeout_s=timeout_s)
            flow = (
                self._calls.ready(ask) if self._exact else self._homes.visit(ask, self._calls.ready)
            )
        return self.attempts.run(_yes_or_no(flow))

    def ask_model(
        self,
        model: str,
        version: str | int | None = None,
        *,
        timeout_s: float | Timeout | None,
        headers: Mapping[str, str] | None = None,
    ) -> Ask:
        """`ask`, about a model in any case."""
        checked = checked_model(model, self._call)
        return self.ask(checked, version, timeout_s=timeout_s, headers=headers)


def _feed(
    ask: Ask,
    inputs: Inputs | None,
    named: Inputs,
    request_id: str,
    options: Options,
    *,
    memories: Sequence[SharedMemory],
    split: bool,
) -> Feed:
    checked = PLAIN
    into: Mapping[str, Any] = {}
    if options != _NONE:
        checked = InferOptions.checked(ask.facts(), **options._asdict())
        # The server counts the requests of a sequence.
        ask.repeatable = not checked.stateful
        if isinstance(options.outputs, Mapping):
            into = options.outputs
    if memories or into:
        checked = replace(checked, memory=CallMemory(memories, into, ask.facts()))
    return Feed(_joined(inputs, named, ask), _checked_id(request_id, ask), checked, split)


def _loaded(schemas: Iterable[Path | str | ModelMetadata]) -> list[ModelMetadata]:
    found = list(schemas)
    if found:
        from clickclean_client._schema import load_schema

        return [load_schema(schema) for schema in found]
    return []


def _result(flow: Flow[Any]) -> Flow[InferResult]:
    answered = yield from flow
    result: InferResult = answered.result
    return result


def _server_ready(ask: Ask) -> Flow[bool]:
    response = yield Step("ServerReady", service_pb2.ServerReadyRequest(), ask)
    return bool(response.ready)


def _yes_or_no(flow: Flow[bool]) -> Flow[bool]:
    try:
        return (yield from flow)
    except (ModelNotFound, Unavailable, DeadlineExceeded):
        return False


def _joined(inputs: Inputs | None, named: Inputs, ask: Ask) -> Inputs:
    if not inputs:
        return named
    for name in inputs:
        if name in named:
            raise InvalidRequest(ask.facts(), f"the input {name!r} is given twice")
    return {**inputs, **named}


def _checked_id(request_id: object, ask: Ask) -> str:
    """A str that protobuf takes."""
    try:
        if isinstance(request_id, str) and (request_id.isascii() or request_id.encode()):
            return request_id
    except UnicodeEncodeError:
        pass
    raise InvalidRequest(ask.facts(), f"request_id must be a str, not {request_id!r}")


def _checked_token(token: Token | None, endpoints: Endpoints, tls: Tls | None) -> Token | None:
    if token is None:
        return None
    if tls is None and not endpoints.local:
        raise InvalidRequest(
            Call(str(endpoints)),
            "a token is given, and it would travel in plain text",
            hint="Give tls=Tls(...). Where something else encrypts (a service mesh), send it with "
            "headers={'authorization': 'Bearer ...'}.",
        )
    if not callable(token):
        _text_of(token, Call(str(endpoints)))
    return token


def _text_of(token: Token, call: Call) -> str:
    text = token() if callable(token) else token
    # It is a secret, so it is not shown.
    if not isinstance(text, str) or not text or not text.isascii() or not text.isprintable():
        raise InvalidRequest(
            call,
            "the token cannot be sent",
            hint="A token is a text of printable ASCII, or a function that returns one.",
        )
    return text
