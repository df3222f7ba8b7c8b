"""The process that compiles: the one module that knows TensorRT's builder, in both flavours.

``tensorrt`` (production) and ``tensorrt_rtx`` (compiles without a GPU) have the same Python API as
far as it is used here; ``typings/tensorrt`` is that part, and a test holds it against the installed
bindings of both. Networks are strongly typed and INT8 comes from explicit Q/DQ alone: TensorRT 11
has neither precision flags nor calibrators.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clickclean_export.engine.library import load
from clickclean_export.worker_process import Message, work

if TYPE_CHECKING:
    import tensorrt as trt

Send = Callable[[Message], None]

_MIB = 2**20
_PARSED, _CONFIGURED, _BUILT = "parse", "configure", "build"


def probe_or_compile(job: Message, send: Send) -> Message:
    """Load the library; tell its version, and compile when the job names a file.

    Args:
        job: "flavour", and for compiling "onnx", "target", "profiles", "options" and
            "timing_cache" (a path, or empty for none). Shapes are lists of min, opt, max.
        send: Takes progress: the name of the "phase", and the "share" of all work, 0..1.

    Returns:
        "version", and after compiling what came of it: "stage" that was reached, "complete",
        "errors" of the parser or of ours, "log" from warnings up as stage, severity and text,
        "parse_s", "build_s", "layers".
    """
    library = load(job["flavour"])
    found: Message = {"version": library.__version__}
    if "onnx" in job:
        found.update(_Compilation(library, send).run(job))
    return found


@dataclass
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


class _Compilation:
    def __init__(self, library: Any, send: Send) -> None:
        # mypy takes the library for TensorRT; at run time it is either flavour.
        if TYPE_CHECKING:
            self._trt = trt
        else:
            self._trt = library
        self._log: list[tuple[str, str, str]] = []
        self._logger = _logger(library, self._heard)
        self._monitor = _monitor(library, send)
        self._outcome: Message = {"stage": _PARSED, "complete": False, "errors": [], "layers": 0}

    def run(self, job: Message) -> Message:
        library = self._trt
        builder = library.Builder(self._logger)
        network = builder.create_network(
            1 << library.NetworkDefinitionCreationFlag.STRONGLY_TYPED.value
        )
        if self._parse(network, job):
            config = builder.create_builder_config()
            if self._configure(builder, config, job):
                self._build(builder, network, config, job)
        return {**self._outcome, "log": self._log}

    def _heard(self, severity: str, text: str) -> None:
        self._log.append((self._outcome["stage"], severity, text))

    def _parse(self, network: "trt.INetworkDefinition", job: Message) -> bool:
        library, started = self._trt, time.monotonic()
        parser = library.OnnxParser(network, self._logger)
        if job["options"]["version_compatible"] or _compatibility(job) != "NONE":
            # Plugins are not part of a portable plan; this one has a native layer instead.
            parser.set_flag(library.OnnxParserFlag.NATIVE_INSTANCENORM)
        parsed = parser.parse_from_file(job["onnx"])
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        self._outcome["errors"] = [
            {
                "code": error.code().name,
                "node": error.node_name(),
                "operator": error.node_operator(),
                "text": error.desc(),
            }
            for error in errors
        ]
        self._outcome["parse_s"] = time.monotonic() - started
        self._outcome["layers"] = network.num_layers
        shapes = [network.get_input(i) for i in range(network.num_inputs)]
        for tensor in shapes:
            if tensor.is_shape_tensor:
                self._fail("shape-input", tensor.name)
                return False
        return parsed and not errors

    def _configure(
        self,
        builder: "trt.Builder",
        config: "trt.IBuilderConfig",
        job: Message,
    ) -> bool:
        """Set every option and read it back: the bindings only log what they do not take."""
        library, options = self._trt, job["options"]
        self._outcome["stage"] = _CONFIGURED
        config.progress_monitor = self._monitor
        level = options["optimization_level"]
        config.builder_optimization_level = level
        taken = {"optimization_level": config.builder_optimization_level == level}
        if options["workspace_mib"]:
            pool, size = library.MemoryPoolType.WORKSPACE, options["workspace_mib"] * _MIB
            config.set_memory_pool_limit(pool, size)
            taken["workspace_mib"] = config.get_memory_pool_limit(pool) == size
        if options["version_compatible"]:
            config.set_flag(library.BuilderFlag.VERSION_COMPATIBLE)
            taken["version_compatible"] = config.get_flag(library.BuilderFlag.VERSION_COMPATIBLE)
        if _compatibility(job) != "NONE":
            wanted = getattr(library.HardwareCompatibilityLevel, _compatibility(job))
            config.hardware_compatibility_level = wanted
            taken["hardware_compatibility"] = config.hardware_compatibility_level == wanted
        for option, holds in taken.items():
            if not holds:
                self._fail("option-ignored", option)
        for number, shapes in enumerate(job["profiles"]):
            if not self._add_profile(builder, config, shapes, number):
                self._fail("profile-inconsistent", f"profile {number}")
        if self._outcome["errors"]:
            return False
        self._load_timing_cache(config, job["timing_cache"])
        return True

    def _add_profile(
        self,
        builder: "trt.Builder",
        config: "trt.IBuilderConfig",
        shapes: dict[str, list[list[int]]],
        number: int,
    ) -> bool:
        profile = builder.create_optimization_profile()
        try:
            for name, (low, usual, high) in shapes.items():
                profile.set_shape(name, low, usual, high)
        except (OverflowError, RuntimeError, TypeError):
            return False
        return config.add_optimization_profile(profile) == number

    def _load_timing_cache(self, config: "trt.IBuilderConfig", path: str) -> None:
        if not path:
            return
        known = Path(path).read_bytes() if Path(path).is_file() else b""
        said = len(self._log)
        for content in (known, b""):
            cache = config.create_timing_cache(content)
            if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
                return
            # Of another GPU or version, or damaged: it is a cache, so measure anew.
            del self._log[said:]

    def _build(
        self,
        builder: "trt.Builder",
        network: "trt.INetworkDefinition",
        config: "trt.IBuilderConfig",
        job: Message,
    ) -> None:
        self._outcome["stage"] = _BUILT
        started = time.monotonic()
        plan = builder.build_serialized_network(network, config)
        self._outcome["build_s"] = time.monotonic() - started
        if plan is None:
            return
        _write(Path(job["target"]), plan)
        if job["timing_cache"]:
            cache = config.get_timing_cache()
            if cache is not None:
                _write(Path(job["timing_cache"]), cache.serialize())
        self._outcome["complete"] = True

    def _fail(self, code: str, where: str) -> None:
        self._outcome["errors"].append({"code": code, "node": where, "operator": "", "text": ""})


def _logger(library: Any, heard: Callable[[str, str], None]) -> "trt.ILogger":
    worst = int(library.ILogger.Severity.WARNING.value)

    class Logger(library.ILogger):  # type: ignore[misc]  # a class of either flavour
        def __init__(self) -> None:
            library.ILogger.__init__(self)

        def log(self, severity: "trt.ILogger.Severity", msg: str) -> None:
            if int(severity.value) <= worst:
                heard(severity.name, msg)

    made: trt.ILogger = Logger()
    return made


def _monitor(library: Any, send: Send) -> "trt.IProgressMonitor":
    class Monitor(library.IProgressMonitor):  # type: ignore[misc]  # a class of either flavour
        """Turns TensorRT's tree of phases into one share of the work; called from its threads."""

        def __init__(self) -> None:
            library.IProgressMonitor.__init__(self)
            self._phases: dict[str, _Phase] = {}
            self._told = -1.0

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._phases[phase_name] = _Phase(parent_phase, max(num_steps, 1))
            self._tell(phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            if phase_name in self._phases:
                self._phases[phase_name].done = step + 1
                self._tell(phase_name)
            return True

        def phase_finish(self, phase_name: str) -> None:
            phase = self._phases.get(phase_name)
            if phase is not None:
                phase.done = phase.steps
                self._tell(phase_name)
                del self._phases[phase_name]

        def _tell(self, phase: str) -> None:
            share = max(
                (self._share(n) for n, p in self._phases.items() if not p.parent), default=0
            )
            # A build has thousands of steps; a hundred messages show it well enough.
            if share >= self._told + 0.01:
                self._told = share
                send({"phase": phase, "share": min(share, 1.0)})

        def _share(self, name: str) -> float:
            phase = self._phases[name]
            below = [self._share(n) for n, p in list(self._phases.items()) if p.parent == name]
            return (phase.done + max(below, default=0.0)) / phase.steps

    made: trt.IProgressMonitor = Monitor()
    return made


def _compatibility(job: Message) -> str:
    return str(job["options"]["hardware_compatibility"]).upper()


def _write(path: Path, content: Any) -> None:
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


if __name__ == "__main__":
    work(probe_or_compile)
