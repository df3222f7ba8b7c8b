"""Folders that let a server load a version a second time, under another name.

``digits.v3/3`` is a relative symbolic link to ``../digits/3``: no byte is copied, and a repository
that is mounted elsewhere still has it. Object stores have no links, so they cannot be used so.
"""

from pathlib import Path

from clickclean_client import slots
from clickclean_export.disk import words
from clickclean_export.errors import RepositoryError
from clickclean_export.repository import CPU_CONFIG, GPU_CONFIG, Repository


def open_slot(repository: Repository, model: str, name: str, version: int) -> Path:
    """Make a slot's folder, with this version and no other.

    Raises:
        RepositoryError: the file system refuses.
    """
    folder = repository.root / name
    try:
        folder.mkdir(exist_ok=True)
        if any(
            entry.is_dir() and not entry.is_symlink() and entry.name.isdecimal()
            for entry in folder.iterdir()
        ):
            raise RepositoryError(
                folder,
                f"has versions of its own, and its name is one that '{model}' needs",
                hint="move that model to another name",
            )
        for entry in folder.iterdir():
            if entry.is_symlink() and entry.name != str(version):
                entry.unlink()
        link = folder / str(version)
        if not link.is_symlink():
            link.symlink_to(Path("..") / model / str(version))
    except OSError as error:
        raise RepositoryError(folder, words(error)) from error
    return folder


def close_slot(repository: Repository, name: str) -> None:
    """Remove a slot's folder; nothing happens when there is none.

    Raises:
        RepositoryError: the file system refuses.
    """
    folder = repository.root / name
    if not slots.owner(name) or not folder.is_dir():
        return
    try:
        # Links and configs are ours. A folder with anything else is somebody's model, and stays.
        for entry in folder.iterdir():
            if entry.is_symlink():
                entry.unlink()
        (folder / GPU_CONFIG).unlink(missing_ok=True)
        (folder / CPU_CONFIG).unlink(missing_ok=True)
        if (folder / CPU_CONFIG.parent).is_dir():
            (folder / CPU_CONFIG.parent).rmdir()
        if not any(folder.iterdir()):
            folder.rmdir()
    except OSError as error:
        raise RepositoryError(folder, words(error)) from error


def open_slots(repository: Repository, model: str) -> list[str]:
    """Return the names of a model's slots that have a folder, sorted."""
    return sorted(
        path.name
        for path in repository.root.iterdir()
        if slots.owner(path.name) == model and path.is_dir()
    )
