"""Where an experiment's plan and the changes of its split are kept, beside the model's history.

``.clickclean/<model>/experiments/<id>/plan.json`` is written once. ``changes.jsonl`` gets a line
for every change of the split; the line that says ``ended`` is the last one.
"""

import json
import os
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from clickclean_export.disk import flush, rename_whole, words
from clickclean_export.errors import RepositoryError
from clickclean_export.experiment.errors import NotNowError
from clickclean_export.experiment.plan import (
    ExperimentPlan,
    SplitChange,
    plan_as_json,
    plan_from_json,
)
from clickclean_export.release.history import RECORDS
from clickclean_export.repository import Repository

_PLAN, _CHANGES = "plan.json", "changes.jsonl"
_NEW = ".new-"


@dataclass(frozen=True)
class Share:
    """How much a challenger gets.

    Attributes:
        percent: Of the keys, 0..100, at most three decimals.
        shadow_percent: Of the champion's requests, mirrored and never answered.
    """

    percent: float
    shadow_percent: float = 0.0


@dataclass(frozen=True)
class Stored:
    """An experiment as it is on disk.

    Attributes:
        plan: Decided before it began.
        changes: Of the split, in order; the first is the start.
        share: The present one.
        ended: Whether it is over.
    """

    plan: ExperimentPlan
    changes: tuple[SplitChange, ...]
    share: Share
    ended: bool


class ExperimentStore:
    """All experiments of one model. Writers hold the lock of the model's folder."""

    def __init__(self, repository: Repository, model: str) -> None:
        self.folder = repository.root / RECORDS / model / "experiments"

    def create(self, plan: ExperimentPlan, share: Share) -> None:
        """Keep a new experiment that begins now.

        Raises:
            RepositoryError: it cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=_NEW, dir=self.folder) as new:
                staged = Path(new) / plan.experiment
                staged.mkdir()
                (staged / _PLAN).write_bytes(plan_as_json(plan))
                (staged / _CHANGES).write_bytes(_line(share, ended=False))
                if not rename_whole(staged, self.folder / plan.experiment):
                    raise RepositoryError(self.folder / plan.experiment, "exists already")
        except OSError as error:
            raise RepositoryError(self.folder, words(error)) from error

    def change(self, experiment: str, share: Share, *, ended: bool = False) -> None:
        """Add a line to the changes of the split.

        Raises:
            RepositoryError: it cannot be written.
        """
        path = self.folder / experiment / _CHANGES
        try:
            with path.open("ab") as stream:
                stream.write(_line(share, ended=ended))
                stream.flush()
                os.fsync(stream.fileno())
            flush(path.parent)
        except OSError as error:
            raise RepositoryError(path, words(error)) from error

    def read(self, experiment: str) -> Stored:
        """Return one experiment.

        Raises:
            RepositoryError: it is not there, or damaged.
            PlanError: its plan cannot be read (exit 2).
        """
        names = self.names()
        if experiment not in names:
            raise NotNowError(
                f"there is no experiment '{experiment}'",
                hint=f"there are: {', '.join(names)}"
                if names
                else "clickclean ab start begins one",
            )
        folder = self.folder / experiment
        try:
            plan = plan_from_json((folder / _PLAN).read_bytes())
            rows = [json.loads(line) for line in _lines(folder / _CHANGES)]
            changes = tuple(
                SplitChange(datetime.fromisoformat(row["time"]), float(row["percent"]))
                for row in rows
                if not row["ended"]
            )
            share = Share(float(rows[-1]["percent"]), float(rows[-1]["shadow_percent"]))
            return Stored(plan, changes, share, bool(rows[-1]["ended"]))
        except OSError as error:
            raise RepositoryError(folder, words(error)) from error
        except (ValueError, LookupError, TypeError) as error:
            raise RepositoryError(folder, f"its record of changes is damaged ({error})") from error

    def names(self) -> list[str]:
        """Return the identifiers of all experiments, the oldest first."""
        try:
            folders = [
                path
                for path in self.folder.iterdir()
                if not path.name.startswith(".") and (path / _PLAN).is_file()
            ]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RepositoryError(self.folder, words(error)) from error
        return [path.name for path in sorted(folders, key=_started)]

    def running(self) -> Stored | None:
        """Return the experiment that has not ended, or None."""
        found = [stored for name in self.names() if not (stored := self.read(name)).ended]
        return found[-1] if found else None

    def latest(self) -> Stored | None:
        """Return the experiment that began last, or None."""
        names = self.names()
        return self.read(names[-1]) if names else None


def _line(share: Share, *, ended: bool) -> bytes:
    line = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "percent": share.percent,
        "shadow_percent": share.shadow_percent,
        "ended": ended,
    }
    return json.dumps(line).encode() + b"\n"


def _lines(path: Path) -> list[bytes]:
    # What a machine that stopped left of a line was never a change.
    return path.read_bytes().split(b"\n")[:-1]


def _started(folder: Path) -> tuple[datetime, str]:
    return plan_from_json((folder / _PLAN).read_bytes()).start, folder.name
