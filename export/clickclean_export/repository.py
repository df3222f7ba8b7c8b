"""A Triton model repository: immutable numbered versions, added by one atomic rename.

Layout: ``<root>/<model>/<version>/``. Triton ignores entries of a model's folder that are not
numbers, so a staging folder lives there, on the same file system as its goal. A staging folder is
locked by its owner; the kernel drops the lock when the owner dies, however it dies, and the next
publisher sweeps what is left.
"""

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clickclean_client.protocol import parse_model_config
from clickclean_export.errors import RepositoryError, VersionNotFoundError

CPU_CONFIG, GPU_CONFIG = Path("configs") / "cpu.pbtxt", Path("config.pbtxt")
_STAGING = ".staging-"
_NUMBER = re.compile(r"[1-9][0-9]*")


class Repository:
    """One model repository on a local file system. Foreign entries are left alone."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root).absolute()

    def models(self) -> list[str]:
        """Return the names of models with at least one version, sorted.

        Raises:
            RepositoryError: the folder is missing or unreadable.
        """
        try:
            folders = sorted(path.name for path in self.root.iterdir() if path.is_dir())
        except OSError as error:
            raise RepositoryError(
                self.root, _words(error), hint="clickclean publish creates it"
            ) from error
        return [name for name in folders if self.versions(name)]

    def versions(self, model: str) -> list[int]:
        """Return the published version numbers of a model, ascending; empty if there is none."""
        return [n for n in self._numbers(model) if self.version_dir(model, n).is_dir()]

    def version_dir(self, model: str, version: int) -> Path:
        """Return the folder of a version, which need not exist."""
        return self.root / model / str(version)

    def find(self, model: str, version: int | None = None) -> tuple[int, Path]:
        """Return number and folder of a version; the newest without ``version``.

        Raises:
            VersionNotFoundError: there is none.
        """
        existing = self.versions(model)
        if not existing or (version is not None and version not in existing):
            raise VersionNotFoundError(model, version, existing)
        number = existing[-1] if version is None else version
        return number, self.version_dir(model, number)

    def promoted(self, model: str) -> int | None:
        """Return the version that unnamed calls get, or None before the first promotion.

        Raises:
            RepositoryError: the config is not one that ``promote`` wrote.
        """
        path = self.root / model / CPU_CONFIG
        try:
            versions = list(parse_model_config(path.read_text()).version_policy.specific.versions)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RepositoryError(path, _words(error)) from error
        if not versions:
            raise RepositoryError(path, "its version_policy names no version")
        return int(max(versions))

    @contextmanager
    def staging(self, model: str) -> Iterator[Path]:
        """Yield an empty locked folder beside the versions; it is gone afterwards.

        Raises:
            RepositoryError: the repository cannot be created or written.
        """
        folder = self.root / model
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _locked(folder):
                _sweep(folder)
                path = Path(tempfile.mkdtemp(prefix=_STAGING, dir=folder))
                lock = _lock(path)
        except OSError as error:
            raise RepositoryError(
                self.root, _words(error), hint="give a folder that you may write to"
            ) from error
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)
            _remove_if_empty(folder)

    def next_version(self, model: str) -> int:
        """Return the number after the highest, whatever kind of entry bears it."""
        return max(self._numbers(model), default=0) + 1

    def add(self, model: str, version: int, staged: Path) -> bool:
        """Rename a complete staged folder to a version; on disk when this returns.

        Returns:
            False when another publisher took the number; nothing changed then.

        Raises:
            RepositoryError: the file system refuses.
        """
        goal = self.version_dir(model, version)
        try:
            for path in (*staged.iterdir(), staged):
                _flush(path)
            # An empty folder in the way would be replaced silently by rename(2).
            if goal.exists():
                return False
            staged.rename(goal)
            _flush(goal.parent)
        except FileExistsError:
            return False
        except OSError as error:
            if goal.exists():
                return False
            raise RepositoryError(goal, _words(error)) from error
        return True

    def _numbers(self, model: str) -> list[int]:
        try:
            names = [path.name for path in (self.root / model).iterdir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RepositoryError(self.root / model, _words(error)) from error
        return sorted(int(name) for name in names if _NUMBER.fullmatch(name))


def replace_text(path: Path, text: str) -> None:
    """Write a text file so that readers see the old or the new content, never a part.

    Raises:
        OSError: the file system refuses; nothing changed then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _flush(path.parent)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = _lock(folder)
    try:
        yield
    finally:
        os.close(lock)


def _lock(folder: Path, *, wait: bool = True) -> int:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BaseException:
        os.close(handle)
        raise
    return handle


def _sweep(folder: Path) -> None:
    """Remove staging folders whose owner is gone."""
    for path in folder.glob(f"{_STAGING}*"):
        try:
            lock = _lock(path, wait=False)
        except OSError:
            continue
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _words(error: OSError) -> str:
    return f"{error.strerror or error} ({error.filename})" if error.filename else str(error)
