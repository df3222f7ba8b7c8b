"""A wheel of the working tree, an environment with that wheel alone, and a small server."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from clickclean_server import Endpoint, serving
from tests.repo.sources import ROOT
from tests.server.tiny_models import Tiny, TinyRepository

ENGINE = {"NUM_STREAMS": "1", "PERFORMANCE_HINT": "LATENCY"}


@dataclass(frozen=True)
class Thin:
    """An environment in which only the wheel and its base dependencies are installed."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def clickclean(self) -> Path:
        return self.folder / "bin" / "clickclean"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def thin(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Thin:
    folder = tmp_path_factory.mktemp("thin")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    made = Thin(folder)
    install = [str(made.python), "-m", "pip", "install", "--quiet", "--no-compile"]
    constraints = ["--disable-pip-version-check", "-c", str(ROOT / "constraints.txt")]
    subprocess.run([*install, *constraints, str(wheel)], check=True)
    return made


def digits_in_small() -> Tiny:
    """What looks like the reference model from outside, with one matrix inside."""
    images = np.random.default_rng(0).random((16, 1, 8, 8), dtype=np.float32)
    weights = np.random.default_rng(1).random((64, 10), dtype=np.float32)
    return Tiny(
        nodes=[
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["logits"]),
        ],
        weights={"w": weights},
        shapes={"image": ["n", 1, 8, 8], "logits": ["n", 10]},
        inputs={"image": images},
        outputs={"logits": images.reshape(16, 64) @ weights},
        max_batch=32,
    )


@pytest.fixture(scope="session")
def digits_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a promoted model `digits`."""
    found = TinyRepository(tmp_path_factory.mktemp("digits") / "model_repository")
    found.publish("digits", 1, digits_in_small())
    found.promote("digits", [1], digits_in_small(), parameters=ENGINE)
    return found.root


@pytest.fixture(scope="session", autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Logs and the backend folder of servers go to a place of the tests."""
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def digits(digits_repository: Path, own_state: None) -> Iterator[Endpoint]:
    """A server that has it."""
    with serving(digits_repository) as endpoint:
        yield endpoint
