"""The manifest: what a published version is made of, from what, by what, and how it was proven."""

import hashlib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from clickclean_export.engine.proof import EngineCheck
from clickclean_export.errors import IntegrityError
from clickclean_export.gates import GatedHop
from clickclean_export.quantize import Quantized
from clickclean_export.recipe import Recipe

FORMAT: Literal[1] = 1
MANIFEST, MODEL, FLOAT_MODEL = "manifest.json", "model.onnx", "fp32.onnx"
GOLDEN, MISREAD = "golden.npz", "misread.npz"
ENGINES = "engines"
"""Folder of plans, which are added to a version after it was published."""
SIGNATURE = "model.sig"
"""Added after publication too, to a version and to the folder of a plan."""


@dataclass(frozen=True)
class FileRecord:
    """Fingerprint of a file."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class DataRecord:
    """Fingerprint of a data set: its source in the recipe, rows, and content."""

    source: str
    rows: int
    sha256: str


@dataclass(frozen=True)
class Speed:
    """INT8 against float in the CPU engine, interleaved in one run.

    Attributes:
        batch: Rows per call.
        float_ms: Median of a call, float (INFERENCE_PRECISION_HINT=f32), milliseconds.
        int8_ms: The same for INT8.
        ratio: Median over the rounds of float time : INT8 time; above 1 INT8 is faster.
    """

    batch: int
    float_ms: float
    int8_ms: float
    ratio: float


@dataclass(frozen=True)
class Manifest:
    """Everything known about one version; ``manifest.json`` in its directory.

    Attributes:
        format: Of this file.
        model: Name.
        version: Number.
        created: UTC, ISO 8601.
        files: Every other file of the directory.
        recipe: The recipe with its defaults filled in.
        checkpoint: Fingerprint of the checkpoint.
        data: "calibration" and "evaluation".
        quantization: What was chosen from what.
        hops: The gates with their numbers, in order.
        hops_not_run: Hops that were skipped on request.
        speed: INT8 against float, by batch size.
        tools: Versions of the libraries that took part.
        machine: Where it was published: CPU model, cores, operating system.
        engine_check: What TensorRT-RTX made of the INT8 file; None where it was not installed.
    """

    model: str
    version: int
    created: str
    files: dict[str, FileRecord]
    recipe: dict[str, Any]
    checkpoint: FileRecord
    data: dict[str, DataRecord]
    quantization: Quantized
    hops: tuple[GatedHop, ...]
    hops_not_run: tuple[str, ...]
    speed: tuple[Speed, ...]
    tools: dict[str, str]
    machine: dict[str, str]
    engine_check: EngineCheck | None = None
    format: Literal[1] = field(default=FORMAT)

    def hop(self, name: str) -> GatedHop | None:
        """Return the numbers of one hop, or None if it was not run."""
        return next((hop for hop in self.hops if hop.result.hop == name), None)

    def recipe_of(self, directory: Path) -> Recipe:
        """Return the recipe as a value; paths in it are meaningless away from its origin."""
        return Recipe.model_validate({**self.recipe, "path": directory / MANIFEST})


_ADAPTER = TypeAdapter(Manifest)


def file_record(path: Path) -> FileRecord:
    """Hash one file."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return FileRecord(digest, path.stat().st_size)


def fingerprint(directory: Path) -> str:
    """Return the SHA-256 of a version's manifest, which has the SHA-256 of all its other files.

    Raises:
        IntegrityError: there is no manifest, or it cannot be read (exit 3).
    """
    path = directory / MANIFEST
    try:
        return file_record(path).sha256
    except FileNotFoundError:
        raise IntegrityError(path, "is missing") from None
    except OSError as error:
        raise IntegrityError(path, f"cannot be read ({error.strerror})") from error


def write_manifest(manifest: Manifest, directory: Path) -> None:
    """Write ``manifest.json``, read-only like the files it lists, and flush it to the disk."""
    path = directory / MANIFEST
    path.unlink(missing_ok=True)
    with path.open("wb") as stream:
        stream.write(_ADAPTER.dump_json(manifest, indent=1) + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
    path.chmod(0o444)


def read_manifest(directory: Path) -> Manifest:
    """Read a version's manifest.

    Raises:
        IntegrityError: it is missing or not a manifest.
    """
    path = directory / MANIFEST
    try:
        return _ADAPTER.validate_json(path.read_bytes())
    except FileNotFoundError:
        raise IntegrityError(path, "is missing") from None
    except OSError as error:
        raise IntegrityError(path, f"cannot be read ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors()[0]
        spot = ".".join(map(str, first["loc"]))
        raise IntegrityError(path, f"is not a manifest ({spot}: {first['msg']})") from None


def plain_files(directory: Path, *, folders: Collection[str] = ()) -> list[str]:
    """Return the names of a folder's files, hidden ones too, sorted.

    Args:
        directory: A version's folder, or a plan's.
        folders: Names that may be folders; they are left out.

    Raises:
        IntegrityError: something is no plain file: a symbolic link leads to bytes that can change
            without the version, and a folder such as ``__pycache__`` was never published.
    """
    try:
        entries = sorted(directory.iterdir())
    except OSError as error:
        raise IntegrityError(directory, f"cannot be read ({error.strerror})") from error
    names = []
    for path in entries:
        if path.is_symlink():
            raise IntegrityError(path, "is a symbolic link; a version holds files of its own")
        if path.is_file():
            names.append(path.name)
        elif path.name not in folders or not path.is_dir():
            raise IntegrityError(path, "was not published with this version")
    return names


def verify_files(directory: Path, files: Mapping[str, FileRecord]) -> None:
    """Compare every file of a version with its manifest.

    Raises:
        IntegrityError: a file is missing, altered, a symbolic link, or not in the manifest.
    """
    present = plain_files(directory, folders={ENGINES})
    for name, record in files.items():
        path = directory / name
        # Also what is no name of a file in this folder, such as "../1/model.onnx".
        if name not in present:
            raise IntegrityError(path, "is missing")
        if file_record(path) != record:
            raise IntegrityError(path, "is not what was published: its SHA-256 differs")
    for name in present:
        if name not in files and name not in {MANIFEST, SIGNATURE}:
            raise IntegrityError(directory / name, "was not published with this version")
