"""A Triton model repository: immutable numbered versions, added by one atomic rename.

Layout: ``<root>/<model>/<version>/``. Triton ignores entries of a model's folder that are not
numbers, so a staging folder lives there, on the same file system as its goal.
"""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from clickclean_client import slots
from clickclean_client.protocol import parse_model_config
from clickclean_export.disk import rename_whole, replace_text, staging, words
from clickclean_export.errors import RepositoryError, VersionNotFoundError

CPU_CONFIG, GPU_CONFIG = Path("configs") / "cpu.pbtxt", Path("config.pbtxt")
NUMBERS = "numbers.json"
"""In a model's folder: the highest number that was ever pruned, so that none is given again."""
_STAGING = ".staging-"
_PRUNED = "highest_pruned"
_NUMBER = re.compile(r"[1-9][0-9]*")


class Repository:
    """One model repository on a local file system. Foreign entries are left alone."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root).absolute()

    def models(self) -> list[str]:
        """Return the names of models with at least one version, sorted; slots are none.

        Folders that are closed to us, such as ``lost+found``, count as foreign.

        Raises:
            RepositoryError: the folder is missing or unreadable.
        """
        try:
            folders = sorted(path.name for path in self.root.iterdir() if path.is_dir())
        except OSError as error:
            raise RepositoryError(
                self.root, words(error), hint="clickclean publish creates it"
            ) from error
        return [n for n in folders if slots.owner(n) not in folders and self._has_versions(n)]

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
            models = self.models() if not existing and self.root.is_dir() else ()
            raise VersionNotFoundError(model, version, existing, models)
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
            raise RepositoryError(path, words(error)) from error
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
        with ExitStack() as stack:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                stack.callback(_remove_if_empty, folder)
                path = stack.enter_context(staging(folder, _STAGING))
            except OSError as error:
                raise RepositoryError(
                    self.root, words(error), hint="give a folder that you may write to"
                ) from error
            yield path

    def next_version(self, model: str) -> int:
        """Return the number after the highest that is or was, whatever kind of entry bears it.

        Raises:
            RepositoryError: the record of pruned numbers is damaged.
        """
        return max([*self._numbers(model), self.highest_pruned(model)]) + 1

    def highest_pruned(self, model: str) -> int:
        """Return the highest number that was pruned, 0 if none was.

        Raises:
            RepositoryError: the record of it is damaged.
        """
        path = self.root / model / NUMBERS
        try:
            tree = json.loads(path.read_bytes())
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise RepositoryError(path, words(error)) from error
        except ValueError:
            tree = None
        number = tree.get(_PRUNED) if isinstance(tree, dict) else None
        if type(number) is not int or number < 0:
            raise RepositoryError(
                path,
                "does not say which numbers were pruned",
                hint=f'write the highest number that this model ever had: {{"{_PRUNED}": 7}}',
            )
        return number

    def retire(self, model: str, number: int) -> None:
        """Never give a number, or a lower one, again; on disk when this returns.

        The caller holds the lock of the model's folder.

        Raises:
            RepositoryError: the record is damaged, or cannot be written.
        """
        path = self.root / model / NUMBERS
        highest = max(number, self.highest_pruned(model))
        try:
            replace_text(path, json.dumps({_PRUNED: highest}) + "\n")
        except OSError as error:
            raise RepositoryError(path, words(error)) from error

    def add(self, model: str, version: int, staged: Path) -> bool:
        """Rename a complete staged folder to a version; on disk when this returns.

        Returns:
            False when another publisher took the number; nothing changed then.

        Raises:
            RepositoryError: the file system refuses.
        """
        goal = self.version_dir(model, version)
        if version <= self.highest_pruned(model):
            return False
        try:
            if not rename_whole(staged, goal):
                return False
            # Another publisher's version of this number may have come and gone since we looked.
            if version <= self.highest_pruned(model):
                goal.rename(staged)
                return False
        except OSError as error:
            raise RepositoryError(goal, words(error)) from error
        return True

    def _has_versions(self, model: str) -> bool:
        try:
            return bool(self.versions(model))
        except PermissionError:
            return False
        except RepositoryError as error:
            if isinstance(error.__cause__, PermissionError):
                return False
            raise

    def _numbers(self, model: str) -> list[int]:
        try:
            names = [path.name for path in (self.root / model).iterdir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RepositoryError(self.root / model, words(error)) from error
        return sorted(int(name) for name in names if _NUMBER.fullmatch(name))


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return
