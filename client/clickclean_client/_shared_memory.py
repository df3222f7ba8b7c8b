"""Memory that a caller and a server on the same host both have: tensors there do not travel.

Each `SharedMemory` is a file in /dev/shm of its own. Its name is random, so a server that can open
it has the same /dev/shm. The process that made it holds a lock on it, which the kernel takes back
when that process ends in whatever way; so what was killed can be told from what is in use.
"""

from __future__ import annotations

import errno
import fcntl
import math
import mmap
import operator
import os
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from clickclean_client._exceptions import Call, InvalidRequest
from clickclean_client.protocol import triton_dtype

FOLDER: Final = Path("/dev/shm")  # noqa: S108 - where shm_open of the C library looks
PREFIX: Final = "clickclean_client_"
# Engines read whole cache lines and vector registers, the largest of which have 64 bytes.
_ALIGNMENT: Final = 64


class SharedMemory:
    """One piece of shared memory; see `Client.shared_memory`, which makes it. Safe for threads.

    `name` is that of its file in /dev/shm and of the region at the servers, `size_bytes` its
    size. Arrays are taken from it one after another, and none is given back: take them once and
    use them again (`image[:rows]` lies there, too).

    Raises:
        InvalidRequest: the size is no number of bytes, or there is not that much shared memory.
    """

    def __init__(self, size_bytes: int, headers: tuple[tuple[str, str], ...] = ()) -> None:
        self.size_bytes = _checked_size(size_bytes)
        self.headers = headers
        """What the servers want to see before they register it."""
        self.left_over = remove_left_over()
        """Names of memory whose process was killed; its files are gone."""
        self.registered_at: set[str] = set()
        """Addresses of the servers that know it, as far as this client knows."""
        self.name, memory = _create(self.size_bytes)
        # A buffer that is exported cannot be unmapped under the arrays that lie in it.
        self._whole: NDArray[np.uint8] | None = np.frombuffer(memory, np.uint8)
        self._alive = weakref.ref(self._whole)
        self._address = _address(self._whole)
        self._taken = 0
        self._lock = threading.Lock()
        self._unsettled: list[tuple[str, int, int]] = []
        self._unlink = weakref.finalize(self, _unlink, FOLDER / self.name, os.getpid())

    @property
    def free_bytes(self) -> int:
        """How much no array was taken from yet."""
        return self.size_bytes - self._taken

    @property
    def closed(self) -> bool:
        """Whether its `with` has ended; its arrays are then like all others, but not in calls."""
        return self._whole is None

    @property
    def alive(self) -> bool:
        """Whether it is open, or there are arrays of it."""
        return self._alive() is not None

    def empty(self, shape: int | Sequence[int], dtype: Any) -> NDArray[Any]:
        """A new array that lies in the memory, C-contiguous, at a multiple of 64 bytes.

        Before it is first written to it is all zeros. `dtype` is one of numpy that Triton has,
        or `ml_dtypes.bfloat16`; bytes and texts have no fixed size and cannot lie there.

        Raises:
            InvalidRequest: shape or dtype are wrong, the memory is too small, or it is closed.
        """
        kind = _checked_dtype(dtype)
        sizes = _checked_shape(shape)
        size_bytes = math.prod(sizes) * kind.itemsize
        with self._lock:
            whole = self._whole
            if whole is None:
                raise _wrong(f"the shared memory {self.name!r} is closed", _OPEN)
            begin = -(-self._taken // _ALIGNMENT) * _ALIGNMENT
            if begin + size_bytes > self.size_bytes:
                raise _wrong(
                    f"the shared memory {self.name!r} has {max(0, self.size_bytes - begin)} of "
                    f"{self.size_bytes} bytes left, the array takes {size_bytes}",
                    "Make it larger, or use its arrays again: array[:rows] lies there, too.",
                )
            self._taken = begin + size_bytes
        return np.ndarray(sizes, kind, whole, begin if size_bytes else 0)

    def holds(self, array: NDArray[Any]) -> bool:
        """Whether an array lies here, at least in part, however it was made."""
        whole = self._alive()
        return whole is not None and np.may_share_memory(array, whole)

    def offset(self, array: NDArray[Any]) -> int:
        """Where an array that lies here begins, in bytes."""
        return _address(array) - self._address

    def close(self) -> None:
        """Remove the file; whoever has mapped it keeps it. May be repeated."""
        with self._lock:
            self._whole = None
        self._unlink()

    def unsettle(self, address: str, begin: int, end: int) -> None:
        """A call was given up for which that server may still write to these bytes."""
        with self._lock:
            self._unsettled.append((address, begin, end))

    def unsettled(self, begin: int, end: int) -> list[tuple[str, int, int]]:
        """All notes about the servers that may still write to some of these bytes."""
        with self._lock:
            servers = {note[0] for note in self._unsettled if note[1] < end and begin < note[2]}
            return [note for note in self._unsettled if note[0] in servers]

    def settle(self, notes: Sequence[tuple[str, int, int]]) -> None:
        """What these notes are about has ended."""
        with self._lock:
            for note in notes:
                if note in self._unsettled:
                    self._unsettled.remove(note)

    def __repr__(self) -> str:
        closed = ", closed" if self.closed else ""
        return (
            f"SharedMemory({self.name!r}, {self._taken} of {self.size_bytes} bytes taken{closed})"
        )


_OPEN: Final = "Make calls inside of `with client.shared_memory(...)`."


def remove_left_over() -> tuple[str, ...]:
    """Remove what processes that were killed left in /dev/shm; the names of it."""
    removed = []
    for path in FOLDER.glob(f"{PREFIX}*"):
        try:
            handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:
            continue  # another user's, or gone
        try:
            # One without a size is just being made, and its lock may still be to come.
            if os.fstat(handle).st_size:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
                removed.append(path.name)
        except OSError:
            pass  # in use, or somebody else was faster
        finally:
            os.close(handle)
    return tuple(removed)


def _create(size_bytes: int) -> tuple[str, mmap.mmap]:
    """A new locked file of that size, mapped; the mapping keeps the lock until it ends."""
    name = f"{PREFIX}{os.getpid()}_{os.urandom(8).hex()}"
    path = FOLDER / name
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except OSError as exc:
        raise _wrong(
            f"no shared memory can be made in {FOLDER} ({exc.strerror})",
            "Is it there, and may this user write to it?",
        ) from exc
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        # Without it, a full /dev/shm kills the process that writes first (SIGBUS).
        os.posix_fallocate(handle, 0, size_bytes)
        return name, mmap.mmap(handle, size_bytes)
    except BaseException as exc:
        path.unlink(missing_ok=True)
        if not isinstance(exc, OSError | OverflowError | ValueError):
            raise
        what = exc.strerror if isinstance(exc, OSError) else str(exc)
        full = isinstance(exc, OSError) and exc.errno == errno.ENOSPC
        raise _wrong(
            f"{size_bytes} bytes of shared memory cannot be had ({what})",
            f"`df {FOLDER}` shows how large it is; containers have 64 MiB unless started with "
            "--shm-size, or share that of another one (--ipc)."
            if full
            else "Give less.",
        ) from exc
    finally:
        os.close(handle)


def _unlink(path: Path, pid: int) -> None:
    # A forked child also gets here; the memory is still its parent's.
    if os.getpid() == pid:
        path.unlink(missing_ok=True)


def _address(array: NDArray[Any]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def _checked_size(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _wrong(
            f"size_bytes must be a whole number from 1, not {value!r}",
            "64 << 20 is 64 MiB.",
        )
    return value


def _checked_dtype(dtype: Any) -> np.dtype[Any]:
    try:
        kind = np.dtype(dtype)
    except TypeError as exc:
        raise _wrong(f"{dtype!r} is no dtype of numpy", "Give one, such as numpy.float32.") from exc
    if kind.name == "bfloat16":
        return kind
    try:
        known = kind.isnative and triton_dtype(kind) != "BYTES"
    except KeyError:
        known = False
    if not known:
        raise _wrong(
            f"an array of {kind} cannot lie in shared memory",
            "Booleans, integers and floats of up to 64 bits can. Send BYTES inline: as an ordinary "
            "array.",
        )
    return kind


def _checked_shape(shape: Any) -> tuple[int, ...]:
    try:
        sizes = tuple(map(operator.index, (shape,) if not isinstance(shape, Sequence) else shape))
    except TypeError:
        sizes = (-1,)
    if min(sizes, default=0) < 0:
        raise _wrong(f"{shape!r} is no shape", "Give whole numbers, such as (32, 3, 224, 224).")
    return sizes


def _wrong(problem: str, hint: str) -> InvalidRequest:
    return InvalidRequest(Call(), problem, hint=hint)
