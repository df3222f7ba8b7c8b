"""How the builder is driven, seen by a stand-in for the library.

TensorRT-RTX has no version compatibility, no hardware compatibility and no timing cache, so what is
done with them is recorded here instead of done. The rest of the worker is tested through it.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clickclean_export.engine import worker


class Config:
    """Takes options as the bindings do; `deaf` names those that it drops."""

    def __init__(self, library: "Library") -> None:
        self._library = library
        self.flags: set[str] = set()
        self.limits: dict[str, int] = {}
        self.profiles: list[dict[str, Any]] = []
        self.timing: list[bytes] = []
        self.progress_monitor: Any = None
        self._values: dict[str, Any] = {
            "builder_optimization_level": 3,
            "hardware_compatibility_level": "NONE",
        }

    def __getattr__(self, name: str) -> Any:
        if name in self.__dict__.get("_values", {}):
            return self._values[name]
        raise AttributeError(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__.get("_values", {}):
            if name not in self._library.deaf:
                self._values[name] = value
        else:
            super().__setattr__(name, value)

    def set_flag(self, flag: str) -> None:
        if flag not in self._library.deaf:
            self.flags.add(flag)

    def get_flag(self, flag: str) -> bool:
        return flag in self.flags

    def set_memory_pool_limit(self, pool: str, size: int) -> None:
        self.limits[pool] = 0 if pool in self._library.deaf else size

    def get_memory_pool_limit(self, pool: str) -> int:
        return self.limits[pool]

    def add_optimization_profile(self, profile: dict[str, Any]) -> int:
        if "profile" in self._library.deaf:
            return -1
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, content: bytes) -> Any:
        return None if content == b"damaged" else SimpleNamespace(content=content)

    def set_timing_cache(self, cache: Any, *, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        if cache.content == b"of another GPU":
            self._library.heard("ERROR", "the timing cache is of another device")
            return False
        self.timing.append(cache.content)
        return True

    def get_timing_cache(self) -> Any:
        return SimpleNamespace(serialize=lambda: self.timing[-1] + b"+measured")


class Library:
    """What `worker` uses of the bindings."""

    __version__ = "11.4.0.106"

    def __init__(self, *deaf: str) -> None:
        self.deaf = set(deaf)
        self.parser_flags: list[str] = []
        self.config = Config(self)
        self.logger: Any = None
        severity = SimpleNamespace(WARNING=SimpleNamespace(value=2))

        class Logger:
            Severity = severity

            def __init__(self) -> None:
                pass

        self.ILogger = Logger
        self.IProgressMonitor = object
        self.NetworkDefinitionCreationFlag = SimpleNamespace(
            STRONGLY_TYPED=SimpleNamespace(value=1)
        )
        self.OnnxParserFlag = SimpleNamespace(NATIVE_INSTANCENORM="native instancenorm")
        self.BuilderFlag = SimpleNamespace(VERSION_COMPATIBLE="version compatible")
        self.MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")
        self.HardwareCompatibilityLevel = SimpleNamespace(AMPERE_PLUS="ampere plus")

    def heard(self, severity: str, text: str) -> None:
        self.logger.log(SimpleNamespace(name=severity, value=1), text)

    def Builder(self, logger: Any) -> Any:  # noqa: N802 - the library's name
        self.logger = logger
        return SimpleNamespace(
            create_network=lambda _: SimpleNamespace(num_inputs=0, num_layers=7),
            create_builder_config=lambda: self.config,
            create_optimization_profile=Profile,
            build_serialized_network=lambda *_: b"plan",
        )

    def OnnxParser(self, *_: Any) -> Any:  # noqa: N802 - the library's name
        return SimpleNamespace(
            set_flag=self.parser_flags.append, parse_from_file=lambda _: True, num_errors=0
        )


class Profile(dict[str, Any]):
    def set_shape(self, name: str, *shapes: list[int]) -> None:
        if max(shapes[-1]) > 2**31 - 1:
            raise OverflowError
        self[name] = shapes


def compile_with(
    library: Library, monkeypatch: pytest.MonkeyPatch, folder: Path, **changes: Any
) -> Any:
    monkeypatch.setattr(worker, "load", lambda _: library)
    options = {
        "optimization_level": 4,
        "workspace_mib": 0,
        "version_compatible": False,
        "hardware_compatibility": "none",
    }
    job = {
        "flavour": "tensorrt",
        "onnx": "model.onnx",
        "target": str(folder / "model.plan"),
        "profiles": [{"x": [[1, 3], [4, 3], [8, 3]]}],
        "timing_cache": "",
        **changes,
        "options": {**options, **changes.get("options", {})},
    }
    return worker.probe_or_compile(job, lambda _: None)


def test_a_portable_plan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    library = Library()
    options = {
        "version_compatible": True,
        "hardware_compatibility": "ampere_plus",
        "workspace_mib": 512,
    }
    outcome = compile_with(library, monkeypatch, tmp_path, options=options)
    assert outcome["complete"]
    assert library.config.flags == {"version compatible"}
    assert library.config.hardware_compatibility_level == "ampere plus"
    assert library.config.builder_optimization_level == 4
    assert library.config.limits == {"workspace": 512 * 2**20}
    assert library.parser_flags == ["native instancenorm"]
    assert library.config.profiles == [{"x": ([1, 3], [4, 3], [8, 3])}]
    assert (tmp_path / "model.plan").read_bytes() == b"plan"


def test_a_plan_for_one_gpu_asks_for_nothing_portable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    library = Library()
    assert compile_with(library, monkeypatch, tmp_path)["complete"]
    assert not library.config.flags
    assert not library.parser_flags
    assert not library.config.limits


DEAF = {
    "version compatible": ("option-ignored", "version_compatible"),
    "workspace": ("option-ignored", "workspace_mib"),
    "builder_optimization_level": ("option-ignored", "optimization_level"),
    "hardware_compatibility_level": ("option-ignored", "hardware_compatibility"),
    "profile": ("profile-inconsistent", "profile 0"),
}


@pytest.mark.parametrize("deaf", DEAF)
def test_what_the_bindings_drop_without_a_word_is_found(
    deaf: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options = {
        "version_compatible": True,
        "hardware_compatibility": "ampere_plus",
        "workspace_mib": 512,
    }
    outcome = compile_with(Library(deaf), monkeypatch, tmp_path, options=options)
    assert not outcome["complete"]
    assert [(e["code"], e["node"]) for e in outcome["errors"]] == [DEAF[deaf]]
    assert not (tmp_path / "model.plan").exists()


def test_a_shape_that_the_bindings_cannot_hold(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shapes = [{"x": [[1, 3], [4, 3], [2**31, 3]]}]
    outcome = compile_with(Library(), monkeypatch, tmp_path, profiles=shapes)
    assert [error["code"] for error in outcome["errors"]] == ["profile-inconsistent"]


@pytest.mark.parametrize(
    ("found", "begun"),
    [
        (None, b""),
        (b"known", b"known"),
        (b"damaged", b""),
        (b"of another GPU", b""),
    ],
)
def test_a_timing_cache_is_used_extended_and_never_in_the_way(
    found: bytes | None, begun: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "timing.cache"
    if found is not None:
        path.write_bytes(found)
    outcome = compile_with(Library(), monkeypatch, tmp_path, timing_cache=str(path))
    assert outcome["complete"]
    assert outcome["log"] == []
    assert path.read_bytes() == begun + b"+measured"
