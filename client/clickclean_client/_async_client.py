"""`Client` for callers on an event loop: the same calls, to be awaited."""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from clickclean_client._async_driver import AsyncDriver
from clickclean_client._core import Core, Inputs, Options, Outputs
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


class AsyncClient:
    """Connections to the servers of a model, for all tasks of one event loop.

    Settings, results and errors are those of `Client`. It belongs to the loop of its first call.
    A task that is cancelled gives its call up.

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
        self._driver = AsyncDriver(self._core.pool, self._core.lookup, self._core.security)
        self._core.following.start = self._driver.start

    @property
    def endpoint(self) -> str:
        """The endpoints as given, in one line."""
        return str(self._core)

    @property
    def shadows(self) -> ShadowCounts:
        """What became of the requests that this client mirrored to challengers."""
        return self._core.following.shadows

    async def infer(
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
        """See `Client.infer`.

        Raises:
            InvalidRequest: the inputs do not fit the model; it did not run.
            ClientError: any other of its subclasses.
        """
        return await self._driver.run(
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
    ) -> AsyncIterator[InferResult]:
        """See `Client.infer_many`.

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
    ) -> AsyncIterator[InferResult]:
        """See `Client.stream`.

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

    async def metadata(
        self,
        model: str,
        *,
        version: str | int | None = None,
        timeout_s: float | Timeout | None = None,
    ) -> ModelMetadata:
        """See `Client.metadata`.

        Raises:
            ModelNotFound: the model or version is not served.
            ClientError: any other of its subclasses.
        """
        return await self._driver.run(self._core.metadata(model, version, timeout_s))

    async def is_ready(
        self,
        model: str | None = None,
        *,
        version: str | int | None = None,
        timeout_s: float | Timeout | None = None,
    ) -> bool:
        """See `Client.is_ready`.

        Raises:
            ClientError: the server answered something else than yes or no.
        """
        return await self._driver.run(self._core.is_ready(model, version, timeout_s))

    @asynccontextmanager
    async def shared_memory(
        self,
        *,
        size_bytes: int,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | Timeout | None = None,
    ) -> AsyncIterator[SharedMemory]:
        """See `Client.shared_memory`.

        Raises:
            InvalidRequest: there is not that much memory, or a server cannot open it.
            AccessRefused: a server wants a key.
            ClientError: any other of its subclasses.
        """
        memory = await asyncio.to_thread(self._core.registrations.make, size_bytes, headers)
        try:
            await self._driver.run(
                self._core.registrations.register(memory, self._core.ask(timeout_s=timeout_s))
            )
            yield memory
        finally:
            memory.close()
            await self._driver.run(
                self._core.registrations.unregister(memory, self._core.ask(timeout_s=timeout_s))
            )

    def exactly(self) -> AsyncClient:
        """See `Client.exactly`."""
        twin = copy.copy(self)
        twin._core = self._core.exactly()
        return twin

    async def close(self) -> None:
        """Close the connections; calls under way end with `Cancelled`. May be repeated."""
        # It waits for a thread, which the loop must not.
        await asyncio.to_thread(self._core.following.close)
        await self._driver.close()

    async def _many(
        self, model: str, feeds: Iterable[Inputs], concurrency: int, settings: Mapping[str, Any]
    ) -> AsyncIterator[InferResult]:
        begun: deque[asyncio.Task[InferResult]] = deque()
        try:
            for feed in feeds:
                begun.append(asyncio.ensure_future(self.infer(model, feed, **settings)))
                if len(begun) >= concurrency:
                    yield await begun.popleft()
            while begun:
                yield await begun.popleft()
        finally:
            for waiting in begun:
                waiting.cancel()
            await asyncio.gather(*begun, return_exceptions=True)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncClient({self.endpoint!r})"
