"""What a model repository on disk says is live: the promoted versions of one fleet."""

import fcntl
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clickclean_client import Golden, GoldenError, ModelConfigError
from clickclean_client.slots import owner
from clickclean_server.errors import (
    ConfigBrokenError,
    NothingPromotedError,
    RepositoryError,
    UnknownModelError,
    VersionBrokenError,
)

# Changes whenever the file is replaced or written: (modified ns, inode, size).
Fingerprint = tuple[int, int, int]


@dataclass(frozen=True)
class Promoted:
    """One model as its config on disk asks for it, checked to be loadable."""

    model: str
    config: Any  # model_config_pb2.ModelConfig
    fingerprint: Fingerprint | None  # of the config's file, taken before it was read
    goldens: Mapping[int, Golden]  # by promoted version

    @property
    def versions(self) -> list[int]:
        """The promoted versions, ascending."""
        return sorted(self.goldens)

    def pulse(self, version: int) -> Golden:
        """The cheapest golden request: one row, where the first axis is a batch."""
        golden = self.goldens[version]
        return golden.head(1) if self.config.max_batch_size else golden


@dataclass(frozen=True)
class Repository:
    """The folder, read for one fleet (`configs/<fleet>.pbtxt`)."""

    root: Path
    fleet: str

    @classmethod
    def open(cls, root: Path, fleet: str) -> "Repository":
        """Raises RepositoryError when there is no readable folder."""
        if not root.exists():
            raise RepositoryError(root, "does not exist")
        if not root.is_dir():
            raise RepositoryError(root, "is not a folder")
        if not os.access(root, os.R_OK | os.X_OK):
            raise RepositoryError(root, "cannot be read")
        return cls(root.resolve(), fleet)

    def models(self) -> list[str]:
        """Folders that look like models, promoted or not; anything else is left alone."""
        names = self._folders()
        return [name for name in names if owner(name) not in names]

    def slots(self, models: Collection[str]) -> list[str]:
        """Challengers of these models: slots that have a config, so that a restart loads them."""
        return [
            name
            for name in self._folders()
            if owner(name) in models and self.fingerprint(name) is not None
        ]

    def _folders(self) -> list[str]:
        return sorted(
            entry.name
            for entry in self.root.iterdir()
            if not entry.name.startswith(".") and entry.is_dir() and is_model(entry)
        )

    def config_path(self, model: str) -> Path:
        """Where promotion writes the config of this fleet."""
        return self.root / model / "configs" / f"{self.fleet}.pbtxt"

    def fingerprint(self, model: str) -> Fingerprint | None:
        """Tells whether the config changed; None when there is none."""
        try:
            stat = self.config_path(model).stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_ino, stat.st_size

    def releasing(self, model: str) -> bool:
        """Whether a release of a model is under way.

        It holds a lock of the model's folder from its first call to the servers until the config is
        written; to load what the config says in between would undo it. The lock is not held while
        we load: that would keep releases waiting for a server that is not theirs. Triton takes the
        loads of one name in their order, so a release that begins after ours is the last word.
        """
        try:
            handle = os.open(self.root / (owner(model) or model), os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False  # a file system without locks
        finally:
            os.close(handle)
        return False

    def promoted(self, model: str) -> Promoted | None:
        """Reads and checks one model; None when no version of it is promoted.

        Raises ConfigBrokenError or VersionBrokenError. A version folder without its model file must
        never reach Triton: with some backends that load, and every later one, never returns.
        """
        # protobuf and gRPC are slow to import, and this module is also used to list models.
        from clickclean_client.protocol import parse_model_config

        path = self.config_path(model)
        fingerprint = self.fingerprint(model)
        try:
            config = parse_model_config(path.read_text())
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigBrokenError(path, f"it cannot be read ({exc})") from exc
        except ModelConfigError as exc:
            raise ConfigBrokenError(path, str(exc)) from exc
        if config.name != model:
            raise ConfigBrokenError(path, f"it names the model {config.name!r}")
        if config.version_policy.WhichOneof("policy_choice") != "specific":
            raise ConfigBrokenError(path, "its version_policy is not 'specific'")
        versions = sorted(config.version_policy.specific.versions)
        if not versions:
            return None
        filename = config.default_model_filename
        if not filename:
            raise ConfigBrokenError(path, "it has no default_model_filename")
        goldens = {version: self._golden(model, version, filename) for version in versions}
        return Promoted(model, config, fingerprint, goldens)

    def as_served(
        self, model: str, config: Any, versions: Sequence[int], fingerprint: Fingerprint | None
    ) -> Promoted:
        """What a server says that it serves; raises VersionBrokenError without golden data."""
        kept = type(config)()
        kept.CopyFrom(config)
        del kept.version_policy.specific.versions[:]
        kept.version_policy.specific.versions.extend(versions)
        filename = config.default_model_filename
        goldens = {version: self._golden(model, version, filename) for version in versions}
        return Promoted(model, kept, fingerprint, goldens)

    def _golden(self, model: str, version: int, filename: str) -> Golden:
        folder = self.root / model / str(version)
        for needed in (filename, "golden.npz"):
            if not (folder / needed).is_file():
                raise VersionBrokenError(model, version, f"there is no file {folder / needed}")
        try:
            return Golden.load(folder / "golden.npz")
        except GoldenError as exc:
            raise VersionBrokenError(model, version, str(exc)) from exc

    def live(self, wanted: Sequence[str] | None) -> tuple[list[Promoted], list[str]]:
        """The promoted models, and the names of those skipped because nothing is promoted.

        `wanted` limits both. Raises UnknownModelError, NothingPromotedError (also when one of
        `wanted` has nothing promoted), ConfigBrokenError, VersionBrokenError.
        """
        known = self.models()
        for model in wanted or ():
            if model not in known:
                raise UnknownModelError(model, self.root, known)
        found, skipped = [], []
        for model in known if wanted is None else sorted(set(wanted)):
            promoted = self.promoted(model)
            if promoted is not None:
                found.append(promoted)
            elif wanted is not None:
                raise NothingPromotedError(self.root, [model], self.fleet)
            else:
                skipped.append(model)
        if not found:
            raise NothingPromotedError(self.root, known, self.fleet)
        return found, skipped


def is_model(folder: Path) -> bool:
    """Whether a folder holds a config or a version."""
    try:
        names = [entry.name for entry in folder.iterdir()]
    except OSError:
        return False
    return any(name in {"config.pbtxt", "configs"} or name.isdecimal() for name in names)
