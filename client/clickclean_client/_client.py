"""Calls to models by name, from threads: checked before they are sent and after they come back."""

from __future__ import annotations

import contextvars
import copy
import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from clickclean_client._core import Core, Inputs, Options, Outputs
from clickclean_client._driver import Driver
from clickclean_client._many import checked_concurrency
from clickclean_client._result import InferResult
from clickclean_client._settings import Balancing, Hedge, Retry, Timeout, Tls
from clickclean_client._types import ModelMetadata
from clickclean_client._wire import Parameter

if TYPE_CHECKING:
    from clickclean_client._observe import Hook
    from clickclean_client._shared_memory import SharedMemory
    from clickclean_client.experiments.log import ExperimentLog
    from clickclean_client.experiments.mirror import ShadowCounts

_RETRY = Retry()
_BALANCING = Balancing()


class Client:
    """Connections to the servers of a model; one instance serves all threads of a process.

    `endpoints` are "host:port" of gRPC ports, one or several, or "dns:///name:port" for every
    address that a name has. Each request goes to the least busy of two of them, and not to one
    that fails. `timeout_s` is the deadline of every call that does not bring its own: a number of
    seconds for the whole call, or a `Timeout`. `headers` are sent with every call. `tls` encrypts;
    `token`, or what the function returns at each call, is sent as bearer token. `retry` and
    `hedge` say what is sent more than once, `balancing` how many connections there are.
    `compression` of requests is "none", "gzip" or "deflate". `schemas` are descriptions of models
    as `clickclean schema` writes them, so that the server is not asked for them. `hooks` are told
    of every call.

    Calls with a key follow the experiment of their model, which is read from the server again
    every `experiment_refresh_s`, beside the calls; `experiment_log` takes what happened. With
    `exact`, only the names that are given are asked: for tools that prove what stands there.

    Construction does no I/O. After a fork the child begins anew with connections of its own, unless
    the environment has `GRPC_ENABLE_FORK_SUPPORT` (see docs/client.md).

    Raises:
        InvalidRequest: a setting is malformed.
        SchemaError: a schema cannot be used.
    """

    def __init__(
        self,
        endpoints: str | Sequence[str],
        *,
        timeout_s: float | Timeout = 1.0,
        headers: Mapping[str, str] | None = None,
        tls: Tls | None = None,
        token: str | Callable[[], str] | None = None,
        retry: Retry | None = _RETRY,
        hedge: Hedge | None = None,
        balancing: Balancing = _BALANCING,
        compression: str = "none",
        schemas: Iterable[Path | str | ModelMetadata] = (),
        hooks: Sequence[Hook] = (),
        exact: bool = False,
        experiment_log: ExperimentLog | None = None,
        experiment_refresh_s: float = 2.0,
    ) -> None:
        self._core = Core(
            endpoints,
            timeout_s=timeout_s,
            headers=headers,
            tls=tls,
            token=token,
            retry=retry,
            hedge=hedge,
            balancing=balancing,
            compression=compression,
            schemas=schemas,
            hooks=hooks,
            exact=exact,
            experiment_log=experiment_log,
            experiment_refresh_s=experiment_refresh_s,
        )
        self._driver = Driver(self._core.pool, self._core.lookup, self._core.security)
        self._core.following.start = self._driver.start

    @property
    def endpoint(self) -> str:
        """The endpoints as given, in one line."""
        return str(self._core)

    @property
    def shadows(self) -> ShadowCounts:
        """What became of the requests that this client mirrored to challengers."""
        return self._core.following.shadows

    def infer(
        self,
        model: str,
        inputs: Inputs | None = None,
        /,
        *,
        version: str | int | None = None,
        key: str | int | None = None,
        outputs: Outputs | None = None,
        classify: Mapping[str, int] | None = None,
        timeout_s: float | Timeout | None = None,
        request_id: str = "",
        headers: Mapping[str, str] | None = None,
        priority: int = 0,
        parameters: Mapping[str, Parameter] | None = None,
        split: bool = False,
        **named: NDArray[Any],
    ) -> InferResult:
        """Run a model once and return its outputs by name.

        Inputs are numpy arrays, in a mapping or by keyword (the mapping also takes names that
        are no keywords). Their dtypes must be exactly the declared ones, and lists are refused:
        nothing is converted silently except byte order. BYTES inputs are arrays of `bytes` or
        `str`; BF16 inputs are uint16 bits or `ml_dtypes.bfloat16`. Input arrays are copied
        before this returns; output arrays are read-only (see `InferResult`). An empty batch has
        an empty answer, for which nobody is asked. With `split`, a batch larger than the model
        takes is sent in parts, one after another; all rows are answered by one version.

        No version means the promoted one. A version that is named is also found while a release
        moves it. With a `key` (what shall always get the same arm: the id of a user) the call
        takes part in the experiment of the model, if there is one: the key decides between the
        champion and the challenger, and the champion answers for a challenger that fails.

        `outputs` names those that are wanted (None = all); a mapping gives arrays in shared memory
        to write them to (see `shared_memory`), or None. `classify` gives, for an output, how
        many of its largest elements are wanted instead of all: see `InferResult.classes`.
        `priority` is that of Triton's queue (1 is the highest), `parameters` are the request's.
        `headers` are sent in addition to the client's.

        The deadline covers everything: the first fetch of the metadata, retries and hedges. What
        is left of it travels to Triton as the request's `timeout`. Metadata are kept; they are
        fetched anew when another version answers, when a check against them fails, or when the
        server calls the request invalid.

        Raises:
            InvalidRequest: the inputs do not fit the model; it did not run.
            ClientError: any other of its subclasses.
        """
        return self._driver.run(
            self._core.infer(
                model,
                inputs,
                named,
                version=version,
                key=key,
                request_id=request_id,
                timeout_s=timeout_s,
                headers=headers,
                options=Options(outputs, classify, priority, parameters),
                split=split,
            )
        )

    def infer_many(
        self, model: str, feeds: Iterable[Inputs], /, *, concurrency: int = 8, **settings: Any
    ) -> Iterator[InferResult]:
        """Run a model on each of many inputs, several at once; results in the order of `feeds`.

        `feeds` is read as results are taken, at most `concurrency` ahead. `settings` are those of
        `infer`; each call has its own deadline. The first error ends it; what was not begun by
        then is not sent.

        Raises:
            InvalidRequest: `concurrency` is not from 1 to 1024.
            ClientError: what `infer` raises.
        """
        checked_concurrency(concurrency, settings)
        return self._many(model, feeds, concurrency, settings)

    def stream(
        self,
        model: str,
        inputs: Inputs | None = None,
        /,
        *,
        version: str | int | None = None,
        outputs: Sequence[str] | None = None,
        timeout_s: float | Timeout | None = None,
        request_id: str = "",
        headers: Mapping[str, str] | None = None,
        priority: int = 0,
        parameters: Mapping[str, Parameter] | None = None,
        **named: NDArray[Any],
    ) -> Iterator[InferResult]:
        """Send one request to a model that answers several times ("decoupled"), as they come.

        The deadline covers all answers. Leaving the loop cancels the rest.

        Raises:
            InvalidRequest: the inputs do not fit the model; it did not run.
            ClientError: any other of its subclasses; answers may have come before it.
        """
        return self._driver.iterate(
            self._core.stream(
                model,
                inputs,
                named,
                version=version,
                request_id=request_id,
                timeout_s=timeout_s,
                headers=headers,
                options=Options(outputs, None, priority, parameters),
            )
        )

    def metadata(
        self,
        model: str,
        *,
        version: str | int | None = None,
        timeout_s: float | Timeout | None = None,
    ) -> ModelMetadata:
        """Names, dtypes and axes of a model's inputs and outputs, and its batch limit.

        Fetched at the first use of a model and version, then kept.

        Raises:
            ModelNotFound: the model or version is not served.
            ClientError: any other of its subclasses.
        """
        return self._driver.run(self._core.metadata(model, version, timeout_s))

    def is_ready(
        self,
        model: str | None = None,
        *,
        version: str | int | None = None,
        timeout_s: float | Timeout | None = None,
    ) -> bool:
        """Whether a server, or one of its models, says that it is ready.

        False also when it cannot be reached or does not answer in time. Only an inference shows
        that a model works: Triton keeps saying ready when the process of a model has died.

        Raises:
            ClientError: the server answered something else than yes or no.
        """
        return self._driver.run(self._core.is_ready(model, version, timeout_s))

    @contextmanager
    def shared_memory(
        self,
        *,
        size_bytes: int,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | Timeout | None = None,
    ) -> Iterator[SharedMemory]:
        """Memory that this process and the servers of this client, all on this host, share.

        Inputs that lie in its arrays do not travel: a request only says where they are. An
        output whose array is given, `infer(..., outputs={"logits": array})`, is written there;
        the result has a read-only view of it, in the shape of the answer. Nothing is copied
        silently: what lies there but cannot be sent from there is refused. Ordinary arrays go
        inline, beside it or alone.

        The arrays must be left alone until the call has returned. A call that is given up (its
        deadline has passed, its task was cancelled) may still be computed: another call that
        writes to the same array waits until that has ended, inside its own deadline. Calls with
        such outputs are neither repeated nor hedged.

        All servers are told at the beginning and at the end, each within its share of
        `timeout_s`, and one that has forgotten it, because it was restarted, when it says so.
        `headers` are sent with that, beside the client's: the key of a server that restricts the
        protocol `shared-memory`. After the end, arrays keep their contents and are refused in
        calls.

        Needs Linux, and Triton 2.50 or later (see `_registrations.py`).

        Raises:
            InvalidRequest: there is not that much memory, or a server cannot open it, for
                instance because it is on another host.
            AccessRefused: a server wants a key.
            ClientError: any other of its subclasses.
        """
        memory = self._core.registrations.make(size_bytes, headers)
        try:
            self._driver.run(
                self._core.registrations.register(memory, self._core.ask(timeout_s=timeout_s))
            )
            yield memory
        finally:
            memory.close()
            self._driver.run(
                self._core.registrations.unregister(memory, self._core.ask(timeout_s=timeout_s))
            )

    def exactly(self) -> Client:
        """A client that asks only the names that are given, over this one's connections.

        It is open as long as this one; closing either closes both.
        """
        twin = copy.copy(self)
        twin._core = self._core.exactly()
        return twin

    def close(self) -> None:
        """Close the connections; calls under way end with `Cancelled`. May be repeated."""
        self._core.following.close()
        self._driver.close()

    def _many(
        self, model: str, feeds: Iterable[Inputs], concurrency: int, settings: Mapping[str, Any]
    ) -> Iterator[InferResult]:
        with ThreadPoolExecutor(concurrency, thread_name_prefix="clickclean-many") as threads:
            begun: deque[Any] = deque()
            try:
                for feed in feeds:
                    # What hooks know of the caller, such as the span that it is in, goes along.
                    here = contextvars.copy_context()
                    call = functools.partial(self.infer, model, feed, **settings)
                    begun.append(threads.submit(here.run, call))
                    if len(begun) >= concurrency:
                        yield begun.popleft().result()
                while begun:
                    yield begun.popleft().result()
            finally:
                for waiting in begun:
                    waiting.cancel()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.endpoint!r})"
