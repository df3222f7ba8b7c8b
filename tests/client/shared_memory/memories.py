"""Clients with shared memory, in threads and on an event loop, and what is left in /dev/shm."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from clickclean_client import Client, SharedMemory
from clickclean_client._shared_memory import FOLDER, PREFIX
from tests.client.in_loop import InLoop

REGISTER, UNREGISTER = "SystemSharedMemoryRegister", "SystemSharedMemoryUnregister"
IN_USE = "Cannot unregister shared memory region 'x', it is currently in use."
IMAGES = np.arange(4 * 3 * 5, dtype=np.float32).reshape(4, 3, 5)
SIZE = 1 << 16

With = Callable[..., AbstractContextManager[Any]]


class InLoopWithMemory(InLoop):
    """`InLoop`, with the context manager of `AsyncClient.shared_memory`."""

    @contextmanager
    def shared_memory(self, **settings: Any) -> Iterator[SharedMemory]:
        manager: Any = self.client.shared_memory(**settings)
        memory = self._wait(manager.__aenter__())
        try:
            yield memory
        except BaseException:
            if not self._wait(manager.__aexit__(*sys.exc_info())):
                raise
        else:
            self._wait(manager.__aexit__(None, None, None))


def close_under_it(client: Any) -> None:
    """Close a client while its shared memory is open."""
    if isinstance(client, InLoopWithMemory):
        client._wait(client.client.close())
    else:
        client.close()


BOTH: tuple[Any, ...] = (Client, InLoopWithMemory)


def ours() -> set[Path]:
    """The files of shared memory that this process has made and not removed."""
    return set(FOLDER.glob(f"{PREFIX}{os.getpid()}_*"))


def open_memory(client: Any, *, size_bytes: Any = SIZE, **settings: Any) -> None:
    """Open shared memory that cannot be had."""
    with client.shared_memory(size_bytes=size_bytes, **settings):
        pytest.fail("it was opened")


def put(memory: SharedMemory, array: NDArray[Any]) -> NDArray[Any]:
    """A copy of an array that lies in shared memory."""
    taken = memory.empty(array.shape, array.dtype)
    taken[...] = array
    return taken
