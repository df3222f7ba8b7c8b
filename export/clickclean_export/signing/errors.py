"""Errors of signing.

ExportError
├── KeyFileError        exit 2   a file is not the key that it should be
├── SignedAlreadyError  exit 2   there is a signature, and nobody asked to replace it
└── IntegrityError      exit 3
    └── SignatureError  exit 3   no signature, an unknown key's, or one that does not fit
"""

from pathlib import Path
from typing import ClassVar

from clickclean_export.errors import ExportError, IntegrityError


class KeyFileError(ExportError):
    """A key file is missing, is no Ed25519 key, or lies where it must not."""

    exit_code: ClassVar[int] = 2

    def __init__(self, path: Path, problem: str, *, hint: str = "") -> None:
        super().__init__(
            f"key {path}: {problem}", hint=hint or "clickclean keygen FILE makes a pair"
        )
        self.path = path


class SignedAlreadyError(ExportError):
    """Another signature is there."""

    exit_code: ClassVar[int] = 2

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path}: another signature is there already",
            hint="--replace puts yours in its place, such as after a change of keys",
        )
        self.path = path


class SignatureError(IntegrityError):
    """The signature is missing, unknown, or not of these bytes."""
