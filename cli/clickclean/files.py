"""Files that a verb writes where the user says: whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from clickclean_client import ClickCleanError


class NotWrittenError(ClickCleanError):
    """The place that the user named cannot be written."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(
            f"{path} cannot be written ({error.strerror})", hint="name a file in a folder of yours"
        )


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Yield a stream whose content takes the place of ``path`` at the end of the block.

    Raises:
        NotWrittenError: the file system refuses; a file that was there stays as it was.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            yield stream
        temporary.replace(path)
    except OSError as error:
        raise NotWrittenError(path, error) from error
    finally:
        if temporary.is_file():
            temporary.unlink()


class NoHomeError(ClickCleanError):
    """A path begins with ``~``, and the home folder is not known."""

    exit_code = 2

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"the home folder of {path} is not known (no HOME, no such user)",
            hint="name a folder by its whole path",
        )


def without_tilde(path: Path) -> Path:
    """Return a path with the home folder in the place of ``~`` or ``~user``.

    Raises:
        NoHomeError: the user has none, as a bare user id in a container (exit 2).
    """
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise NoHomeError(path) from error


class NotReadError(ClickCleanError):
    """A file that the user named cannot be read."""

    exit_code = 2

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(f"{path} cannot be read ({error.strerror})", hint="give a text file")


def read_log(path: Path) -> str:
    """Return a log's text; bytes that are no text become a mark.

    Raises:
        NotReadError: there is no such file, or it is a folder, or it is not ours to read (exit 2).
    """
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise NotReadError(path, error) from error
