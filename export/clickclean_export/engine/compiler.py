"""Compile one ONNX file to one plan, in a process of its own."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clickclean_export.disk import words
from clickclean_export.engine.judge import judge_build
from clickclean_export.engine.options import BuildOptions, Flavour, Profile
from clickclean_export.errors import (
    ConversionError,
    EngineRefused,
    IncompatibleError,
    MissingExtraError,
)
from clickclean_export.worker_process import Message, WorkerDied, run_worker

OnPhase = Callable[[str, float], None]
"""Told the builder's phase and the share of all its work that is done, 0..1."""

_WORKER = "clickclean_export.engine.worker"
_NAMES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}
# A plan of a large model at optimization level 5 takes tens of minutes on a GPU.
_TIMEOUT_S = 4 * 3600.0
_PROBE_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Compiled:
    """A plan that was compiled.

    Attributes:
        library_version: Of the flavour that compiled it.
        size_bytes: Of the plan.
        layers: Of the network as parsed.
        parse_s, build_s: Seconds.
        warnings: What the builder said that is no error.
    """

    library_version: str
    size_bytes: int
    layers: int
    parse_s: float
    build_s: float
    warnings: tuple[str, ...]


def library_name(flavour: Flavour) -> str:
    """Return the flavour's name as people write it."""
    return _NAMES[flavour]


def cannot_load(flavour: Flavour, why: str) -> IncompatibleError:
    """Word that a library is there and does not load, or that TensorRT is not there."""
    hints = {
        "tensorrt": "do this in the Triton image, which carries TensorRT (docs/gpu.md)",
        "tensorrt_rtx": "pip install --force-reinstall tensorrt-rtx-cu13, for this Python",
    }
    return IncompatibleError(
        f"{library_name(flavour)} cannot be loaded: {why}", hint=hints[flavour]
    )


def library_version(flavour: Flavour) -> str:
    """Return the version of the installed library, such as "11.4.0.106".

    Raises:
        MissingExtraError: TensorRT-RTX is not installed (exit 4).
        IncompatibleError: TensorRT is not installed, or cannot be loaded (exit 4).
    """
    with tempfile.TemporaryDirectory(prefix="clickclean-") as folder:
        outcome = _run({"flavour": flavour}, Path(folder), flavour, _PROBE_TIMEOUT_S)
    return str(outcome["version"])


def compile_plan(
    source: Path,
    target: Path,
    *,
    flavour: Flavour,
    profiles: Sequence[Profile],
    options: BuildOptions,
    timing_cache: Path | None = None,
    on_phase: OnPhase = lambda *_: None,
) -> Compiled:
    """Compile an ONNX file for the GPU of this machine (TensorRT) or ahead of time (TensorRT-RTX).

    Args:
        source: ONNX, INT8 as explicit Q/DQ.
        target: Where the plan is written; nothing is left there on an error.
        flavour: Which library compiles.
        profiles: One at least; each has a range for every input.
        options: The builder's settings.
        timing_cache: TensorRT reads measured kernels from it and adds its own; None for none.
            TensorRT-RTX has no such thing and ignores it.
        on_phase: Told the progress.

    Raises:
        EngineRefused: the library refuses the file, or ignored something that was asked (exit 3).
        MissingExtraError, IncompatibleError: the library is not there (exit 4).
        ConversionError: the library crashed or took too long (exit 1).
    """
    job: Message = {
        "flavour": flavour,
        "onnx": str(source),
        "target": str(target),
        "profiles": [
            {name: [shape.min, shape.opt, shape.max] for name, shape in profile.items()}
            for profile in profiles
        ],
        "options": asdict(options),
        "timing_cache": str(timing_cache) if timing_cache and flavour == "tensorrt" else "",
    }

    def tell(message: Message) -> None:
        on_phase(message["phase"], message["share"])

    with tempfile.TemporaryDirectory(prefix="clickclean-") as folder:
        outcome = _run(job, Path(folder), flavour, _TIMEOUT_S, tell)
    judgement = judge_build(outcome)
    if judgement.findings:
        target.unlink(missing_ok=True)
        raise EngineRefused(source.name, judgement.findings)
    return Compiled(
        library_version=outcome["version"],
        size_bytes=target.stat().st_size,
        layers=outcome["layers"],
        parse_s=outcome["parse_s"],
        build_s=outcome["build_s"],
        warnings=judgement.warnings,
    )


def _run(
    job: Message,
    folder: Path,
    flavour: Flavour,
    timeout_s: float,
    on_message: Callable[[Any], None] = lambda _: None,
) -> Message:
    try:
        return run_worker(
            _WORKER, job, log=folder / "log", timeout_s=timeout_s, on_message=on_message
        )
    except WorkerDied as death:
        missing = "ModuleNotFoundError" in death.last_line
        if missing and flavour == "tensorrt_rtx":
            raise MissingExtraError("tensorrt-rtx-cu13", "engine") from None
        if missing or "ImportError" in death.last_line:
            raise cannot_load(flavour, death.last_line) from None
        raise ConversionError(
            f"compiling with {library_name(flavour)}",
            death.last_line[:300],
            hint="the library itself failed; look for the text in its issue tracker",
        ) from None
    except OSError as error:
        raise ConversionError(
            f"compiling with {library_name(flavour)}", words(error), hint="is the disk full?"
        ) from error
