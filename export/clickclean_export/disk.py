"""Files and folders that appear whole or not at all, and locks that a dead owner cannot keep.

A staging folder is locked by its owner (flock(2)); the kernel drops the lock when the owner dies,
however it dies, and the next one to stage in the same place sweeps what is left.
"""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def staging(parent: Path, prefix: str) -> Iterator[Path]:
    """Yield an empty locked folder inside ``parent``, which must exist; it is gone afterwards.

    Args:
        parent: On the file system of the goal, so that a rename can finish the work.
        prefix: Of the folder's name; folders of dead owners with it are removed.

    Raises:
        OSError: the file system refuses.
    """
    with locked(parent):
        _sweep(parent, prefix)
        path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        try:
            handle = _lock(path)
        except OSError:
            path.rmdir()
            raise
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(handle)


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock of an existing file or folder during the block.

    Raises:
        BlockingIOError: ``wait`` is false and somebody else holds it.
        OSError: the file system refuses.
    """
    handle = _lock(path, wait=wait)
    try:
        yield
    finally:
        os.close(handle)


def rename_whole(staged: Path, goal: Path) -> bool:
    """Give a complete staged folder its name, with everything on the disk when this returns.

    Returns:
        False when the name is taken; nothing changed then.

    Raises:
        OSError: the file system refuses.
    """
    for path in (*staged.iterdir(), staged):
        flush(path)
    # An empty folder in the way would be replaced silently by rename(2).
    if goal.exists():
        return False
    try:
        staged.rename(goal)
    except OSError:
        if goal.exists():
            return False
        raise
    flush(goal.parent)
    return True


def replace_text(path: Path, text: str) -> None:
    """Write a text file so that readers see the old or the new content, never a part.

    Raises:
        OSError: the file system refuses; nothing changed then.
    """
    replace_bytes(path, text.encode())


def replace_bytes(path: Path, content: bytes) -> None:
    """Write a file so that readers see the old or the new content, never a part.

    Raises:
        OSError: the file system refuses; nothing changed then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    flush(path.parent)


def flush(path: Path) -> None:
    """Wait until a file's or folder's content is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def words(error: OSError) -> str:
    """Word a refusal of the file system."""
    return f"{error.strerror or error} ({error.filename})" if error.filename else str(error)


def _lock(path: Path, *, wait: bool = True) -> int:
    how = fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)
    try:
        return _flocked(os.open(path, os.O_RDONLY), how)
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
    # NFS wants a descriptor for writing (flock(2)), which a folder cannot have. Never run on NFS.
    file = path / ".lock" if path.is_dir() else path
    return _flocked(os.open(file, os.O_RDWR | os.O_CREAT, 0o644), how)


def _flocked(handle: int, how: int) -> int:
    try:
        fcntl.flock(handle, how)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _sweep(folder: Path, prefix: str) -> None:
    """Remove staging folders whose owner is gone."""
    for path in folder.glob(f"{prefix}*"):
        try:
            handle = _lock(path, wait=False)
        except OSError:
            continue
        shutil.rmtree(path, ignore_errors=True)
        os.close(handle)
