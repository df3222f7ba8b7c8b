"""Plans that were built before, by what went into them.

Plans of equal inputs are never equal byte by byte, so an entry is keyed by its inputs (ONNX,
library and version, GPU, profiles, options) and checked by the plan's own SHA-256. An entry is a
folder that appears by one rename; a builder that is killed leaves none. One builder works at a
time: two would disturb each other's measurements of kernels.
"""

import hashlib
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from clickclean_export.disk import locked, rename_whole, replace_bytes, staging, words
from clickclean_export.engine.compiler import Compiled
from clickclean_export.engine.record import PlanInputs
from clickclean_export.errors import ConversionError, ExportError
from clickclean_export.manifest import FileRecord, file_record

PLAN, ENTRY = "model.plan", "entry.json"
_STAGING, _LOCK, _TIMING = ".building-", ".builder", "timing"

Compile = Callable[[Path, Path], Compiled]
"""Compile to the first path, reading and extending the timing cache at the second."""


class CacheError(ExportError):
    """The folder of the cache cannot be used."""

    def __init__(self, root: Path, problem: str) -> None:
        super().__init__(
            f"engine cache {root}: {problem}", hint="name a folder that you may write to: --cache"
        )


@dataclass(frozen=True)
class Entry:
    """What is known of a cached plan; ``entry.json`` beside it."""

    inputs: PlanInputs
    plan: FileRecord
    compiled: Compiled


@dataclass(frozen=True)
class CachedPlan:
    """A plan in the cache. ``hit``: it was there before."""

    path: Path
    entry: Entry
    hit: bool


_ENTRY = TypeAdapter(Entry)


class EngineCache:
    """A folder of plans on a local file system."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root).absolute()

    def get_or_build(
        self, inputs: PlanInputs, build: Compile, on_wait: Callable[[], None] = lambda: None
    ) -> CachedPlan:
        """Return the plan for the inputs, built now if there is none or it is damaged.

        Args:
            inputs: What goes in.
            build: Called at most once.
            on_wait: Told when another builder has to end first.

        Raises:
            CacheError: the folder cannot be read or written (exit 1).
            EngineRefused, ...: what ``build`` raises; nothing is stored then.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock = self.root / _LOCK
            lock.touch()
        except OSError as error:
            raise CacheError(self.root, words(error)) from error
        found = self._entry(inputs)
        if found is not None:
            return found
        try:
            try:
                with locked(lock, wait=False):
                    return self._entry(inputs) or self._build(inputs, build)
            except BlockingIOError:
                on_wait()
                with locked(lock):
                    return self._entry(inputs) or self._build(inputs, build)
        except OSError as error:
            raise CacheError(self.root, words(error)) from error

    def _entry(self, inputs: PlanInputs) -> CachedPlan | None:
        folder = self.root / inputs.key
        try:
            entry = _ENTRY.validate_json((folder / ENTRY).read_bytes())
            intact = entry.inputs == inputs and file_record(folder / PLAN) == entry.plan
        except (OSError, ValidationError):
            return None
        return CachedPlan(folder / PLAN, entry, hit=True) if intact else None

    def _build(self, inputs: PlanInputs, build: Compile) -> CachedPlan:
        goal = self.root / inputs.key
        # The lock is ours and the entry did not load, so what is there is damaged.
        shutil.rmtree(goal, ignore_errors=True)
        with staging(self.root, _STAGING) as staged:
            known = self._timing_cache(inputs)
            timing = staged / "timing.cache"
            if known.is_file():
                shutil.copyfile(known, timing)
            files = staged / "entry"
            files.mkdir()
            compiled = build(files / PLAN, timing)
            entry = Entry(inputs, file_record(files / PLAN), compiled)
            (files / ENTRY).write_bytes(_ENTRY.dump_json(entry, indent=1) + b"\n")
            if not rename_whole(files, goal):
                raise ConversionError("storing the plan", f"{goal} is in the way", hint="remove it")
            if timing.is_file():
                replace_bytes(known, timing.read_bytes())
        return CachedPlan(goal / PLAN, entry, hit=False)

    def _timing_cache(self, inputs: PlanInputs) -> Path:
        """Kernels are measured for one library version on one GPU type."""
        who = f"{inputs.flavour}-{inputs.library_version}-{inputs.gpu_name}"
        name = re.sub(r"[^A-Za-z0-9.]+", "-", who)
        digest = hashlib.sha256(who.encode()).hexdigest()[:8]
        return self.root / _TIMING / f"{name}-{digest}.cache"
