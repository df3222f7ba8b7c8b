"""Which supervised servers run on this machine, for commands of the same user that change them.

A file for each supervisor, readable by its user alone, because it holds the key that opens the
server's restricted protocols. A file whose supervisor is gone is removed by whoever finds it.
"""

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from clickclean_server.ownership import Owner
from clickclean_server.places import state_dir


@dataclass(frozen=True)
class Running:
    """One supervised server on this machine."""

    owner: str  # the mark of its supervisor, see `Owner`
    grpc: str  # "127.0.0.1:port"
    repository: str  # absolute path
    fleet: str
    key: str = field(repr=False)


def folder() -> Path:
    """Where the files lie."""
    return state_dir() / "running"


def register(running: Running) -> None:
    """Makes a server known; a full or read-only disk leaves it unknown, and serving goes on."""
    with suppress(OSError):
        folder().mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = folder() / f".{running.owner}"
        with suppress(FileNotFoundError):
            temporary.unlink()
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(asdict(running), file)
        temporary.replace(folder() / f"{running.owner}.json")


def unregister(owner: Owner) -> None:
    """Forgets a server."""
    with suppress(OSError):
        (folder() / f"{owner.mark}.json").unlink(missing_ok=True)


def running(repository: Path | None = None) -> list[Running]:
    """The supervised servers of this user, of one repository if given; ports ascending."""
    found = []
    for path in folder().glob("*.json"):
        owner = Owner.parse(path.stem)
        if owner is None or owner.is_gone():
            with suppress(OSError):
                path.unlink()
            continue
        try:
            entry = Running(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            continue
        if repository is None or Path(entry.repository) == repository.resolve():
            found.append(entry)
    return sorted(found, key=lambda entry: entry.grpc)
