"""The check without a GPU: do TensorRT's own parser and compiler take the file?

TensorRT-RTX has TensorRT's ONNX parser, type rules and network checks, and compiles ahead of time
on any x86-64 machine.
"""

import importlib.util
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from clickclean_export.engine.compiler import OnPhase, compile_plan
from clickclean_export.engine.lint import GraphInput, lint, read_inputs
from clickclean_export.engine.options import BuildOptions, Flavour, Profile
from clickclean_export.engine.profiles import (
    axis_profile,
    build_options,
    recipe_profiles,
    unfit,
)
from clickclean_export.engine.proof import EngineCheck
from clickclean_export.errors import EngineRefused
from clickclean_export.findings import Finding
from clickclean_export.manifest import MODEL, read_manifest, verify_files
from clickclean_export.recipe import AxisRange, Recipe
from clickclean_export.repository import Repository

FLAVOUR: Flavour = "tensorrt_rtx"


def available() -> bool:
    """Tell whether TensorRT-RTX is installed (extra `engine`)."""
    return importlib.util.find_spec(FLAVOUR) is not None


def check_onnx(
    path: Path,
    profiles: Sequence[Profile],
    options: BuildOptions,
    on_phase: OnPhase = lambda *_: None,
) -> EngineCheck:
    """Lint, parse and compile a file.

    Args:
        path: ONNX.
        profiles: Shapes to compile for.
        options: The builder's settings; what TensorRT-RTX lacks is left out and said.
        on_phase: Told the progress.

    Raises:
        EngineRefused: with every finding, by node name (exit 3).
        OnnxNotReadError: the file cannot be opened (exit 2).
        MissingExtraError: TensorRT-RTX is not installed (exit 4).
        ConversionError: TensorRT-RTX crashed (exit 1).
    """
    started = time.monotonic()
    _refuse(path, unfit(_sound_inputs(path), profiles))
    return _compile(path, profiles, options, on_phase, started)


def check_recipe(recipe: Recipe, path: Path, on_phase: OnPhase = lambda *_: None) -> EngineCheck:
    """Check a file with the profiles and options of a recipe; raises as ``check_onnx`` does."""
    return check_onnx(path, recipe_profiles(recipe), build_options(recipe), on_phase)


def check_file(
    path: Path, axes: Mapping[str, AxisRange], on_phase: OnPhase = lambda *_: None
) -> EngineCheck:
    """Check any ONNX file, with ranges for its free axes by name; raises as ``check_onnx`` does."""
    started = time.monotonic()
    profiles, findings = axis_profile(_sound_inputs(path), axes)
    _refuse(path, findings)
    return _compile(path, profiles, BuildOptions(), on_phase, started)


def check_version(
    repository_path: Path,
    model: str,
    version: int | None = None,
    on_phase: OnPhase = lambda *_: None,
) -> tuple[int, EngineCheck]:
    """Check a published version (default: the newest); returns its number too.

    Raises:
        VersionNotFoundError: no such version (exit 1).
        IntegrityError: its files are not what was published (exit 3).
        EngineRefused, MissingExtraError, ConversionError: see ``check_onnx``.
    """
    number, directory = Repository(repository_path).find(model, version)
    manifest = read_manifest(directory)
    verify_files(directory, manifest.files)
    return number, check_recipe(manifest.recipe_of(directory), directory / MODEL, on_phase)


def _sound_inputs(path: Path) -> tuple[GraphInput, ...]:
    _refuse(path, lint(path))
    return read_inputs(path)


def _refuse(path: Path, findings: Sequence[Finding]) -> None:
    if findings:
        raise EngineRefused(path.name, findings)


def _compile(
    path: Path,
    profiles: Sequence[Profile],
    options: BuildOptions,
    on_phase: OnPhase,
    started: float,
) -> EngineCheck:
    with tempfile.TemporaryDirectory(prefix="clickclean-") as folder:
        compiled = compile_plan(
            path,
            Path(folder) / "model.plan",
            flavour=FLAVOUR,
            profiles=profiles,
            options=replace(options, version_compatible=False, hardware_compatibility="none"),
            on_phase=on_phase,
        )
    return EngineCheck(
        library=FLAVOUR,
        library_version=compiled.library_version,
        seconds=time.monotonic() - started,
        compile_s=compiled.build_s,
        plan_bytes=compiled.size_bytes,
        layers=compiled.layers,
        profiles=len(profiles),
        warnings=compiled.warnings,
        not_checked=_left_out(options),
    )


def _left_out(options: BuildOptions) -> tuple[str, ...]:
    left = []
    if options.version_compatible:
        left.append("version_compatible")
    if options.hardware_compatibility != "none":
        left.append(f"hardware_compatibility = {options.hardware_compatibility}")
    return tuple(left)
