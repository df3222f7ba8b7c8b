"""Threads for calls: as many as there are calls at once, and none that outlives the program."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, Final

_JOIN_S: Final = 5.0
"""How long `shutdown` waits for an answer of the test's own that sleeps; its thread is a daemon."""

_Work = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class CallThreads(Executor):
    """Grows without a limit, because calls that a test blocks must not hold up other calls.

    `ThreadPoolExecutor` has a limit, and the interpreter waits for its threads when it ends, so
    that a test which forgets to stop its server would never end.
    """

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0  # threads that no work in the queue is meant for
        self._threads: list[threading.Thread] = []
        self._closed = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run `fn` in a thread that waits for work, or in a new one."""
        future: Future[Any] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("these threads are shut down")
            self._work.put((future, fn, args, kwargs))
            if self._idle:
                self._idle -= 1
            else:
                thread = threading.Thread(target=self._run, name="clickclean-fake", daemon=True)
                thread.start()
                self._threads.append(thread)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002 - nothing waits in the queue
        """End all threads that are idle, and those that work when their work ends."""
        with self._lock:
            self._closed = True
            threads, self._threads = self._threads, []
            for _ in threads:
                self._work.put(None)
        if wait:
            end_s = time.monotonic() + _JOIN_S
            for thread in threads:
                thread.join(max(0.0, end_s - time.monotonic()))

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            future, fn, args, kwargs = work
            del work
            try:
                result = fn(*args, **kwargs)
            except BaseException as exc:  # noqa: BLE001 - it is kept for whoever asks the future
                future.set_exception(exc)
            else:
                future.set_result(result)
                del result
            del future, fn, args, kwargs
            with self._lock:
                self._idle += 1
