"""Files that a verb writes where the user says."""

from pathlib import Path

from clickclean_client import ClickCleanError


class NotWrittenError(ClickCleanError):
    """The place that the user named cannot be written."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(
            f"{path} cannot be written ({error.strerror})", hint="name a file in a folder of yours"
        )


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all.

    Raises:
        NotWrittenError: the file system refuses.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise NotWrittenError(path, error) from error
