"""Errors of the analysis of experiments.

ExportError
└── ExperimentError        exit 1   the analysis cannot be done
    ├── NotNowError        exit 2   it cannot be started, changed or stopped as things are
    ├── PlanError          exit 2   the plan, or a change of the split, cannot be used as written
    ├── LogError           exit 1   the folder of logs cannot be read
    └── PlotError          exit 2   the picture cannot be written there
"""

from pathlib import Path
from typing import ClassVar

from clickclean_export.errors import ExportError


class ExperimentError(ExportError):
    """Root of what goes wrong between the logs of an experiment and its judgement."""


class PlanError(ExperimentError):
    """Something in the plan of an experiment is impossible."""

    exit_code: ClassVar[int] = 2

    def __init__(self, what: str, problem: str, *, hint: str = "") -> None:
        super().__init__(f"experiment: {what} {problem}", hint=hint)
        self.what = what


class LogError(ExperimentError):
    """The folder of logs holds nothing that can be read."""

    def __init__(self, folder: Path, problem: str, *, hint: str = "") -> None:
        super().__init__(f"experiment log {folder}: {problem}", hint=hint)
        self.folder = folder


class PlotError(ExperimentError):
    """The picture has no known format, or nowhere to go."""

    exit_code: ClassVar[int] = 2

    def __init__(self, path: Path, problem: str, *, hint: str = "") -> None:
        super().__init__(f"plot {path}: {problem}", hint=hint)
        self.path = path


class NotNowError(ExperimentError):
    """An experiment cannot be started, changed or stopped as things are."""

    exit_code: ClassVar[int] = 2

    def __init__(self, sentence: str, *, hint: str = "") -> None:
        super().__init__(sentence, hint=hint)
