"""What several folders of tests share: the command, and two really trained, published models."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent


def _gpu_here() -> bool:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return False
    pynvml.nvmlShutdown()
    return True


WITHOUT_GPU = pytest.mark.skipif(_gpu_here(), reason="says what happens without a GPU")


def pytest_configure() -> None:
    """Take back signals that are ignored where the tests were started in the background.

    Processes inherit that, and then the Ctrl-C and the hang-up that some tests send do nothing.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@dataclass(frozen=True)
class Finished:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Finished]


def run_command(*words: str, cwd: Path = ROOT, timeout_s: float = 200) -> Finished:
    """Run ``clickclean`` as a user does, in a process of its own."""
    done = subprocess.run(
        [str(BIN / "clickclean"), *words],
        cwd=cwd,
        env={**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def clickclean() -> Command:
    return run_command


@pytest.fixture(scope="session")
def digits_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example with a checkpoint that its own script trained."""
    folder = tmp_path_factory.mktemp("digits") / "digits"
    shutil.copytree(ROOT / "examples" / "digits", folder, ignore=shutil.ignore_patterns("build"))
    train(folder / "train.py", "--out", str(folder / "build" / "digits.pt"))
    return folder


@pytest.fixture(scope="session")
def strokes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the second model (two inputs, two dtypes, a free axis), trained."""
    folder = tmp_path_factory.mktemp("strokes") / "strokes"
    shutil.copytree(ROOT / "tests" / "models" / "strokes", folder)
    train(folder / "train_strokes.py", str(folder / "strokes.safetensors"))
    return folder


@dataclass(frozen=True)
class PublishedModels:
    """A repository with ``digits`` and ``strokes``, version 1 each, both promoted.

    Tests must not change it; ``copy`` gives one that they may.
    """

    repository: Path
    digits: dict[str, Any]
    strokes: dict[str, Any]

    def copy(self, target: Path, *models: str) -> Path:
        for model in models or ("digits", "strokes"):
            shutil.copytree(self.repository / model, target / model)
        return target


@pytest.fixture(scope="session")
def published(
    digits_folder: Path, strokes_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> PublishedModels:
    """Both models published by the command, through all gates, the live server's included."""
    repository = tmp_path_factory.mktemp("published") / "repository"
    summaries = []
    for folder in (digits_folder, strokes_folder):
        done = run_command(
            *("publish", str(folder / "recipe.toml"), "--repository", str(repository)),
            *("--promote", "--json"),
        )
        assert done.code == 0, done.err
        summaries.append(done.json)
    return PublishedModels(repository, *summaries)


def train(script: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, str(script), *arguments], check=True, timeout=200)
