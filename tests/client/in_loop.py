"""An `AsyncClient` that tests call as they call a `Client`: on an event loop in another thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

from clickclean_client import AsyncClient, InferResult

_Result = TypeVar("_Result")


class InLoop:
    """The methods of `AsyncClient`, each waited for."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        self.client = AsyncClient(*args, **settings)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        return self.client.endpoint

    @property
    def shadows(self) -> Any:
        return self.client.shadows

    def infer(self, *args: Any, **named: Any) -> InferResult:
        return self._wait(self.client.infer(*args, **named))

    def infer_many(self, *args: Any, **named: Any) -> Iterator[InferResult]:
        return self._items(self.client.infer_many(*args, **named))

    def stream(self, *args: Any, **named: Any) -> Iterator[InferResult]:
        return self._items(self.client.stream(*args, **named))

    def metadata(self, *args: Any, **named: Any) -> Any:
        return self._wait(self.client.metadata(*args, **named))

    def is_ready(self, *args: Any, **named: Any) -> bool:
        return self._wait(self.client.is_ready(*args, **named))

    def close(self) -> None:
        if self._loop.is_closed():
            return
        self._wait(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        await self.client.close()
        # Calls of other threads that end because of that shall tell them so.
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=10)

    def _items(self, items: Any) -> Iterator[Any]:
        try:
            while True:
                try:
                    yield self._wait(anext(items))
                except StopAsyncIteration:
                    return
        finally:
            self._wait(items.aclose())

    def _wait(self, coroutine: Coroutine[Any, Any, _Result]) -> _Result:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    def __enter__(self) -> InLoop:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
