"""Errors of the publishing side.

ClickCleanError
└── ExportError              exit 1   a step failed
    ├── RecipeError          exit 2   the recipe cannot be used as written
    ├── CheckpointError      exit 2   the checkpoint does not fit the module
    ├── DataError            exit 2   calibration or evaluation data cannot be used
    ├── ConversionError      exit 1   the module cannot be expressed in the next form
    ├── RepositoryError      exit 1   the model repository cannot be read or written
    ├── VersionNotFoundError exit 1   no such published version
    ├── IntegrityError       exit 3   bytes on disk differ from the manifest
    ├── GateRefused          exit 3   a gate refused; nothing was published
    ├── EngineRefused        exit 3   TensorRT does not take the file
    ├── IncompatibleError    exit 4   this machine, or a fleet's, does not fit: GPU, TensorRT, plan
    └── MissingExtraError    exit 4   a library of an extra is absent
"""

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from clickclean_client import ClickCleanError
from clickclean_export.findings import Finding

_SHOWN = 3


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known word closest to ``word``, or ``""`` when none is close."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)), "")


class ExportError(ClickCleanError):
    """Root of everything that goes wrong between a checkpoint and a published version."""


class RecipeError(ExportError):
    """The recipe is missing, malformed, or asks for something impossible."""

    exit_code: ClassVar[int] = 2

    def __init__(self, recipe: Path, problem: str, *, hint: str = "") -> None:
        super().__init__(f"{recipe}: {problem}", hint=hint)
        self.recipe = recipe


class CheckpointError(ExportError):
    """The checkpoint is missing, unsafe, broken, or made for another module."""

    exit_code: ClassVar[int] = 2

    def __init__(self, checkpoint: Path, problem: str, *, hint: str = "") -> None:
        super().__init__(f"checkpoint {checkpoint}: {problem}", hint=hint)
        self.checkpoint = checkpoint


class DataError(ExportError):
    """A data source yields something that cannot be used."""

    exit_code: ClassVar[int] = 2

    def __init__(self, source: str, problem: str, *, hint: str = "") -> None:
        super().__init__(f"data source '{source}': {problem}", hint=hint)
        self.source = source


class ConversionError(ExportError):
    """One conversion of the chain failed."""

    def __init__(self, step: str, problem: str, *, hint: str = "") -> None:
        super().__init__(f"{step} failed: {problem}", hint=hint)
        self.step = step


class RepositoryError(ExportError):
    """The model repository cannot be used."""

    def __init__(self, path: Path, problem: str, *, hint: str = "") -> None:
        super().__init__(f"model repository {path}: {problem}", hint=hint)
        self.path = path


class VersionNotFoundError(ExportError):
    """The repository holds no such version."""

    def __init__(
        self,
        model: str,
        version: int | None,
        existing: Iterable[int],
        models: Iterable[str] = (),
    ) -> None:
        numbers = ", ".join(map(str, existing))
        named = version is not None and numbers
        what = f"version {version} of model '{model}'" if named else f"model '{model}'"
        known = list(models)
        close = nearest(model, known)
        hint = "publish one first: clickclean publish RECIPE"
        if numbers:
            hint = f"published versions: {numbers}"
        elif close:
            hint = f"did you mean '{close}'?"
        elif known:
            hint = f"the repository has {', '.join(known)}"
        super().__init__(f"{what} is not in the repository", hint=hint)
        self.model = model
        self.version = version


class IntegrityError(ExportError):
    """A published file is missing or is not what the manifest says."""

    exit_code: ClassVar[int] = 3

    def __init__(self, path: Path, problem: str, *, hint: str = "") -> None:
        super().__init__(
            f"{path}: {problem}",
            hint=hint
            or "a published version never changes; restore it from a backup or publish anew",
        )
        self.path = path


class GateRefused(ExportError):  # noqa: N818 - "refused" is the outcome, not a malfunction
    """A gate refused with numbers; nothing was published."""

    exit_code: ClassVar[int] = 3

    def __init__(self, hop: str, reasons: Iterable[str], *, hint: str = "") -> None:
        super().__init__(f"refused at hop '{hop}': {'; '.join(reasons)}", hint=hint)
        self.hop = hop


class EngineRefused(ExportError):  # noqa: N818 - as GateRefused
    """TensorRT refuses a file, or compiles something else than what it says."""

    exit_code: ClassVar[int] = 3

    def __init__(self, source: str, findings: Sequence[Finding]) -> None:
        sentences = [finding.sentence for finding in findings[:_SHOWN]]
        if len(findings) > _SHOWN:
            sentences.append(f"and {len(findings) - _SHOWN} more")
        super().__init__(
            f"{source}: TensorRT refuses it: {'; '.join(sentences)}", hint=findings[0].remedy
        )
        self.findings = tuple(findings)


class IncompatibleError(ExportError):
    """A GPU, a driver, a TensorRT version or a plan does not fit what it is wanted for."""

    exit_code: ClassVar[int] = 4


class MissingExtraError(ExportError):
    """A library that this step needs is not installed."""

    exit_code: ClassVar[int] = 4

    def __init__(self, library: str, extra: str = "export") -> None:
        super().__init__(
            f"the library '{library}' is not installed",
            hint=f"pip install 'clickclean[{extra}]'",
        )
