"""Ask a plan on the GPU of this machine, through Polygraphy. Never run without a GPU."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from clickclean_export.dataset import Feed
from clickclean_export.engine.compiler import cannot_load
from clickclean_export.engine.explain import explain
from clickclean_export.engine.library import load
from clickclean_export.engine.options import Flavour, Profile
from clickclean_export.errors import ConversionError, IncompatibleError, MissingExtraError
from clickclean_export.runners import Outputs, Runner


@contextmanager
def open_plan(
    path: Path, profiles: Sequence[Profile], *, flavour: Flavour = "tensorrt"
) -> Iterator[Runner]:
    """Load a plan and yield a runner for it.

    Args:
        path: Built for the GPU of this machine.
        profiles: Those that it was built with, in order.
        flavour: The library that built it; the first call of a process settles which one it uses.

    Raises:
        MissingExtraError: Polygraphy is not installed (exit 4).
        IncompatibleError: the library or the plan does not load here (exit 4).
    """
    # Polygraphy chooses its library when it is imported.
    os.environ["POLYGRAPHY_USE_TENSORRT_RTX"] = str(int(flavour == "tensorrt_rtx"))
    try:
        load(flavour)
    except ImportError as error:
        raise cannot_load(flavour, str(error)) from error
    try:
        from polygraphy.backend.common import BytesFromPath
        from polygraphy.backend.trt import EngineFromBytes, TrtRunner
        from polygraphy.exception import PolygraphyException
        from polygraphy.logger import G_LOGGER
    except ImportError as error:
        raise MissingExtraError("polygraphy", "engine") from error
    # By itself it prints to stdout, where our data go.
    G_LOGGER.use_python_logging_system = True
    G_LOGGER.colors = False
    said = _Said()
    logging.getLogger("Polygraphy").addHandler(said)
    try:
        runner = TrtRunner(EngineFromBytes(BytesFromPath(str(path))), optimization_profile=0)
        runner.activate()
    except (PolygraphyException, ImportError, RuntimeError, OSError) as error:
        raise _does_not_load(path, [*said.lines, str(error)]) from error
    finally:
        logging.getLogger("Polygraphy").removeHandler(said)
    try:
        yield PlanRunner(runner, profiles)
    finally:
        runner.deactivate()


class _Said(logging.Handler):
    """Keeps what TensorRT complains of: its exceptions only refer to the log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        self.lines.append(record.getMessage())


def _does_not_load(path: Path, lines: Sequence[str]) -> IncompatibleError:
    """Say why, in the words of ``engine explain`` where it knows the text."""
    for known in explain("\n".join(lines)):
        return IncompatibleError(
            f"{path.name} does not load here: {known.cause}", hint=known.remedy
        )
    words = " ".join(" ".join(lines).split())
    return IncompatibleError(
        f"{path.name} does not load here: {words[:300]}",
        hint="look the text up in TensorRT's issue tracker",
    )


class PlanRunner:
    """A loaded plan; switches to the first profile that takes a feed's shapes."""

    def __init__(self, runner: object, profiles: Sequence[Profile]) -> None:
        self._runner = runner
        self._profiles = profiles
        self._current = 0

    def infer(self, feed: Feed) -> Outputs:
        """Answer one batch; the arrays are the caller's own.

        Raises:
            ConversionError: no profile takes the shapes.
        """
        wanted = fitting_profile(self._profiles, feed)
        if wanted != self._current:
            self._runner.set_profile(wanted)  # type: ignore[attr-defined]  # Polygraphy's
            self._current = wanted
        arrays = {name: np.ascontiguousarray(array) for name, array in feed.items()}
        # Polygraphy's buffers are used again by the next call.
        answer = self._runner.infer(arrays, copy_outputs_to_host=True)  # type: ignore[attr-defined]
        return {name: np.array(array) for name, array in answer.items()}


def fitting_profile(profiles: Sequence[Profile], feed: Feed) -> int:
    """Return the index of the first profile whose ranges hold the shapes of a feed.

    Raises:
        ConversionError: there is none.
    """
    for index, profile in enumerate(profiles):
        if all(profile[name].takes(array.shape) for name, array in feed.items()):
            return index
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in feed.items())
    raise ConversionError("asking the plan", f"no optimization profile takes {shapes}")
