"""Cached plans: keyed by what goes in, checked by their hash, never half there."""

import json
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from clickclean_export.engine.cache import ENTRY, PLAN, CachedPlan, CacheError, Compile, EngineCache
from clickclean_export.engine.compiler import Compiled, compile_plan, library_version
from clickclean_export.engine.options import BuildOptions, Range
from clickclean_export.engine.record import PlanInputs
from clickclean_export.errors import EngineRefused
from clickclean_export.manifest import file_record
from tests.models.onnx_files import conv_block

PROFILE = {"x": Range((1, 3, 8, 8), (4, 3, 8, 8), (8, 3, 8, 8))}
MADE = Compiled("1.0", 4, 1, 0.0, 0.0, ())


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    onnx.save(conv_block(), path)
    return path


@pytest.fixture
def inputs(source: Path) -> PlanInputs:
    return PlanInputs(
        onnx_sha256=file_record(source).sha256,
        flavour="tensorrt_rtx",
        library_version=library_version("tensorrt_rtx"),
        gpu_name="NVIDIA L4",
        compute_capability="8.9",
        profiles=(PROFILE,),
        options=BuildOptions(),
    )


class Builds:
    """Compiles for real, with TensorRT-RTX, and counts how often."""

    def __init__(self, source: Path) -> None:
        self.count = 0
        self._source = source

    def __call__(self, target: Path, timing_cache: Path) -> Compiled:
        self.count += 1
        return compile_plan(
            self._source,
            target,
            flavour="tensorrt_rtx",
            profiles=(PROFILE,),
            options=BuildOptions(),
            timing_cache=timing_cache,
        )


def entries(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.is_dir())


def test_equal_inputs_are_built_once(tmp_path: Path, source: Path, inputs: PlanInputs) -> None:
    builds, cache = Builds(source), EngineCache(tmp_path)
    first = cache.get_or_build(inputs, builds)
    again = EngineCache(tmp_path).get_or_build(inputs, builds)
    assert (first.hit, again.hit, builds.count) == (False, True, 1)
    assert again.path == first.path
    assert again.entry == first.entry
    assert file_record(again.path) == again.entry.plan


CHANGES: dict[str, dict[str, Any]] = {
    "another ONNX": {"onnx_sha256": "0" * 64},
    "another library": {"flavour": "tensorrt"},
    "another version of it": {"library_version": "11.5.0.1"},
    "another GPU": {"gpu_name": "NVIDIA L40S"},
    "another compute capability": {"compute_capability": "9.0"},
    "other shapes": {"profiles": ({"x": replace(PROFILE["x"], max=(16, 3, 8, 8))},)},
    "one more profile": {"profiles": (PROFILE, PROFILE)},
    "another optimization level": {"options": BuildOptions(optimization_level=5)},
    "another workspace": {"options": BuildOptions(workspace_mib=512)},
    "a version-compatible plan": {"options": BuildOptions(version_compatible=True)},
    "a portable plan": {"options": BuildOptions(hardware_compatibility="ampere_plus")},
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_inputs_are_built_anew(change: str, tmp_path: Path, inputs: PlanInputs) -> None:
    other = replace(inputs, **CHANGES[change])
    cache = EngineCache(tmp_path)
    cache.get_or_build(inputs, write(b"plan"))
    assert not cache.get_or_build(other, write(b"other")).hit
    assert cache.get_or_build(inputs, never).hit
    assert len(entries(tmp_path)) == 2


def test_every_input_has_such_a_case() -> None:
    changed = {name for change in CHANGES.values() for name in change}
    assert changed == set(PlanInputs.__dataclass_fields__)


@pytest.mark.parametrize("damage", ["plan", "plan gone", "entry", "entry gone", "entry of another"])
def test_a_damaged_entry_is_built_once_more(
    damage: str, tmp_path: Path, source: Path, inputs: PlanInputs
) -> None:
    builds, cache = Builds(source), EngineCache(tmp_path)
    folder = cache.get_or_build(inputs, builds).path.parent
    match damage:
        case "plan":
            content = bytearray((folder / PLAN).read_bytes())
            content[len(content) // 2] ^= 1
            (folder / PLAN).write_bytes(content)
        case "plan gone":
            (folder / PLAN).unlink()
        case "entry":
            (folder / ENTRY).write_text("{")
        case "entry gone":
            (folder / ENTRY).unlink()
        case _:
            entry = json.loads((folder / ENTRY).read_text())
            entry["inputs"]["gpu_name"] = "NVIDIA T4"
            (folder / ENTRY).write_text(json.dumps(entry))
    assert not cache.get_or_build(inputs, builds).hit
    assert cache.get_or_build(inputs, builds).hit
    assert builds.count == 2


def test_a_refused_build_leaves_no_entry(tmp_path: Path, source: Path, inputs: PlanInputs) -> None:
    def refuse(target: Path, _: Path) -> Compiled:
        # No profile: the builder writes nothing and logs why.
        return compile_plan(
            source, target, flavour="tensorrt_rtx", profiles=(), options=BuildOptions()
        )

    with pytest.raises(EngineRefused, match="no profile says its sizes"):
        EngineCache(tmp_path).get_or_build(inputs, refuse)
    assert entries(tmp_path) == []
    assert not EngineCache(tmp_path).get_or_build(inputs, Builds(source)).hit


KILLED = """
import sys, time
from pathlib import Path
from typing import Any
from clickclean_export.engine import cache
from tests.export.engine.test_cache import MADE, read_inputs

def wait(*_):
    print("here", flush=True)
    time.sleep(60)

def build(target, timing):
    if sys.argv[2] == "before compiling":
        wait()
    target.write_bytes(b"plan")
    timing.write_bytes(b"timing")
    if sys.argv[2] == "after compiling":
        wait()
    return MADE

if sys.argv[2] == "before the rename":
    cache.rename_whole = wait
cache.EngineCache(Path(sys.argv[1])).get_or_build(read_inputs(sys.argv[3]), build)
"""


def read_inputs(text: str) -> PlanInputs:
    from pydantic import TypeAdapter

    return TypeAdapter(PlanInputs).validate_json(text)


@pytest.mark.parametrize("point", ["before compiling", "after compiling", "before the rename"])
def test_a_killed_build_leaves_no_entry(point: str, tmp_path: Path, inputs: PlanInputs) -> None:
    from pydantic import TypeAdapter

    text = TypeAdapter(PlanInputs).dump_json(inputs).decode()
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path), point, text], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"here\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (tmp_path / inputs.key).exists()
    assert not EngineCache(tmp_path).get_or_build(inputs, write(b"plan")).hit
    assert entries(tmp_path) == [inputs.key], "what the dead builder left is swept"


def test_one_builder_works_at_a_time(tmp_path: Path, inputs: PlanInputs) -> None:
    started, waiting, go_on = threading.Event(), threading.Event(), threading.Event()
    found: list[CachedPlan] = []

    def slow(target: Path, timing: Path) -> Compiled:
        started.set()
        assert go_on.wait(30)
        return write(b"plan")(target, timing)

    def first() -> None:
        found.append(EngineCache(tmp_path).get_or_build(inputs, slow))

    def second() -> None:
        found.append(EngineCache(tmp_path).get_or_build(inputs, never, waiting.set))

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert started.wait(30)
    threads[1].start()
    assert waiting.wait(30)
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert sorted(plan.hit for plan in found) == [False, True]


def test_an_entry_that_came_in_the_meantime_is_not_built_over(
    tmp_path: Path, inputs: PlanInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another builder ends between our first look and our lock."""
    cache, other = EngineCache(tmp_path), EngineCache(tmp_path)
    look = cache._entry
    looks: list[CachedPlan | None] = []

    def first_look_misses(wanted: PlanInputs) -> CachedPlan | None:
        if looks:
            return look(wanted)
        looks.append(None)
        other.get_or_build(wanted, write(b"theirs"))
        return None

    monkeypatch.setattr(cache, "_entry", first_look_misses)
    found = cache.get_or_build(inputs, never)
    assert found.hit
    assert found.path.read_bytes() == b"theirs"


def test_measured_kernels_are_kept_per_gpu_and_library(tmp_path: Path, inputs: PlanInputs) -> None:
    """TensorRT-RTX has no timing cache, so bytes of our own stand for TensorRT's."""
    seen: list[bytes] = []

    def build(target: Path, timing: Path) -> Compiled:
        seen.append(timing.read_bytes() if timing.is_file() else b"")
        timing.write_bytes(seen[-1] + b"+")
        return write(b"plan")(target, timing)

    cache = EngineCache(tmp_path)
    cache.get_or_build(inputs, build)
    cache.get_or_build(replace(inputs, onnx_sha256="1"), build)
    cache.get_or_build(replace(inputs, gpu_name="NVIDIA T4"), build)
    assert seen == [b"", b"+", b""]


def test_a_folder_that_cannot_be_used_is_said(tmp_path: Path, inputs: PlanInputs) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CacheError, match="file") as caught:
        EngineCache(tmp_path / "file").get_or_build(inputs, never)
    assert caught.value.hint


def write(content: bytes) -> Compile:
    """A builder that compiles nothing, where only the cache matters."""

    def build(target: Path, _: Path) -> Compiled:
        target.write_bytes(content)
        return MADE

    return build


def never(_: Path, __: Path) -> Compiled:
    raise AssertionError("it was in the cache")
