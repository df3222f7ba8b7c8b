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
