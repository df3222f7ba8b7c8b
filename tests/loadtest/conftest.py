import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from clickclean_client import Golden

MODEL = "double"
VERSION = "3"
ROWS = 20

StartFake = Callable[..., str]


@pytest.fixture
def fake_server() -> Iterator[StartFake]:
    """Starts a fake server with these flags (see fake_server.py) and gives its endpoint."""
    running: list[subprocess.Popen[str]] = []

    def start(*flags: str) -> str:
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("fake_server.py")), *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        assert process.stdout is not None
        return f"127.0.0.1:{int(process.stdout.readline())}"

    yield start
    for process in running:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def rows() -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.random.default_rng(0).normal(size=(ROWS, 4)).astype(np.float32)


@pytest.fixture
def repository(tmp_path: Path, rows: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> Path:
    """A repository as publishing leaves it, for the fake server's model."""
    version = tmp_path / "repository" / MODEL / VERSION
    version.mkdir(parents=True)
    Golden(
        inputs={"x": rows},
        outputs={"y": 2 * rows},
        tolerance={"y": 1e-5},
        labels=rows.argmax(axis=1).astype(np.int64),
        prediction="y",
    ).save(version / "golden.npz")
    target = {"mean_ms": 200.0, "p99_ms": 300.0, "error_rate_max": 0.001}
    manifest = {"format": 1, "model": MODEL, "version": 3, "recipe": {"target": target}}
    (version / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return tmp_path / "repository"
