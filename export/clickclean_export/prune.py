"""Remove old versions, never one that serves, served last, or takes part in an experiment."""

import shutil
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from clickclean_export.disk import flush, words
from clickclean_export.errors import RepositoryError, VersionNotFoundError
from clickclean_export.release.lock import alone_with
from clickclean_export.release.slot_folders import open_slots
from clickclean_export.repository import Repository

_TRASH = ".staging-pruned-"
"""A publisher sweeps such a folder when its owner is gone; Triton ignores what is no number."""
_OF_A_SLOT = {"config.pbtxt", "configs", ".lock"}


@dataclass(frozen=True)
class Pruned:
    """What was removed, or would be.

    Attributes:
        model: Name.
        removed: Version numbers, ascending.
        kept: Why each other version stays, by number.
        slots: Names of slots that led nowhere and were removed.
        freed_bytes: Size of the removed files.
        dry_run: Nothing was changed.
    """

    model: str
    removed: tuple[int, ...]
    kept: dict[int, str]
    slots: tuple[str, ...]
    freed_bytes: int
    dry_run: bool


def prunable(
    repository: Repository,
    model: str,
    keep: int,
    in_use: Collection[int] = frozenset(),
    *,
    newer: bool = False,
) -> tuple[int, ...]:
    """Return the versions that ``prune`` would remove, ascending.

    Args:
        repository: The model repository.
        model: Name.
        keep: How many of the newest stay, the promoted one and those before it counted; with
            ``newer`` those after it as well.
        in_use: Numbers that never go: what a server has loaded, what was live before.
        newer: Versions newer than the promoted one may go, too. Without it they wait for their
            promotion; all do where nothing is promoted.

    Raises:
        VersionNotFoundError: the model has no version (exit 1).
        RepositoryError: the folder or the config cannot be read (exit 1).
    """
    kept = _kept(repository, model, keep, in_use, newer=newer)
    return tuple(number for number in repository.versions(model) if number not in kept)


def prune(
    repository: Repository,
    model: str,
    *,
    keep: int = 3,
    in_use: Collection[int] = frozenset(),
    newer: bool = False,
    dry_run: bool = False,
) -> Pruned:
    """Remove what ``prunable`` names, and slots whose version is gone; see there for arguments.

    A version leaves its name by one rename, so it is whole or gone for whoever looks. A command
    that is killed leaves a folder that the next publisher or prune removes. A pruned number is
    never given again.

    Raises:
        BusyError: a release of this model is going on (exit 1).
        VersionNotFoundError: the model has no version (exit 1).
        RepositoryError: the file system refuses; what was removed by then stays removed (exit 1).
    """
    repository.find(model)
    folder = repository.root / model
    with alone_with(repository, model, wait_s=0):
        kept = _kept(repository, model, keep, in_use, newer=newer)
        going = [n for n in repository.versions(model) if n not in kept]
        try:
            freed = sum(_size(repository.version_dir(model, number)) for number in going)
            idle = _idle_slots(repository, model)
            if not dry_run:
                _sweep(folder)
                if going:
                    repository.retire(model, max(going))
                _discard([*(folder / str(n) for n in going), *idle], folder)
        except OSError as error:
            raise RepositoryError(folder, words(error)) from error
    return Pruned(model, tuple(going), kept, tuple(slot.name for slot in idle), freed, dry_run)


def _kept(
    repository: Repository, model: str, keep: int, in_use: Collection[int], *, newer: bool
) -> dict[int, str]:
    """Return why versions stay, by number, ascending."""
    numbers = repository.versions(model)
    if not numbers or model not in repository.models():
        raise VersionNotFoundError(model, None, numbers)
    promoted = repository.promoted(model)
    slotted = _in_slots(repository, model)
    old = [n for n in numbers if newer or (promoted is not None and n <= promoted)]
    recent = old[-keep:] if keep > 0 else []
    kept = {}
    for number in numbers:
        if number == promoted:
            kept[number] = "promoted"
        elif number in in_use:
            kept[number] = "in use"
        elif number in slotted:
            kept[number] = f"in {slotted[number]}"
        elif number not in old:
            kept[number] = "not promoted yet" if promoted is None else "newer than the promoted"
        elif number in recent:
            kept[number] = f"one of the newest {keep}"
    return kept


def _slot_folders(repository: Repository, model: str) -> list[Path]:
    folders = (repository.root / name for name in open_slots(repository, model))
    return [folder for folder in folders if not folder.is_symlink()]


def _in_slots(repository: Repository, model: str) -> dict[int, str]:
    """Return the slot that leads to a version, by its number; a number alone counts as well."""
    found = {}
    try:
        for slot in _slot_folders(repository, model):
            for entry in slot.iterdir():
                # Also a copy, as on a file system without links.
                if entry.name.isdecimal() and entry.exists():
                    found[int(entry.name)] = slot.name
    except OSError as error:
        raise RepositoryError(repository.root, words(error)) from error
    return found


def _idle_slots(repository: Repository, model: str) -> list[Path]:
    """Return slots of ours without a version: links that lead nowhere, or none."""
    idle = []
    for slot in _slot_folders(repository, model):
        entries = [entry for entry in slot.iterdir() if entry.name not in _OF_A_SLOT]
        if all(entry.is_symlink() and not entry.exists() for entry in entries):
            idle.append(slot)
    return idle


def _discard(paths: Collection[Path], folder: Path) -> None:
    """Rename away first, delete then."""
    if not paths:
        return
    trash = Path(tempfile.mkdtemp(prefix=_TRASH, dir=folder))
    try:
        for path in paths:
            path.rename(trash / path.name)
        for parent in {path.parent for path in paths}:
            flush(parent)
    finally:
        shutil.rmtree(trash, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Remove what a killed prune left; the model's lock proves that none is at work."""
    for path in folder.glob(f"{_TRASH}*"):
        shutil.rmtree(path, ignore_errors=True)


def _size(version: Path) -> int:
    """Return the bytes that a version holds; none where it is only a link."""
    if version.is_symlink():
        return 0
    return sum(path.lstat().st_size for path in version.rglob("*") if path.is_file())
