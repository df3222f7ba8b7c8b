"""Promotion under load, and publishers that die."""

import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from clickclean_client import Client, Overloaded
from clickclean_export.repository import Repository
from clickclean_server import serving
from tests.conftest import BIN, Command, PublishedModels
from tests.models.versions import add_version

PATIENCE_S = 60


def processes_about(path: Path) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if str(path) in command:
                found.append(command)
    return found


def wait_until(true: object, what: str) -> None:
    assert callable(true)
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


class Callers:
    """Threads that ask without naming a version, all the time."""

    def __init__(self, endpoint: str, count: int = 4) -> None:
        self.versions: Counter[str] = Counter()
        self.order: list[str] = []
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._client = Client(endpoint, timeout_s=30)
        self._threads = [threading.Thread(target=self._ask) for _ in range(count)]

    def _ask(self) -> None:
        image = np.zeros((1, 1, 8, 8), np.float32)
        while not self._stop.is_set():
            try:
                version = self._client.infer("digits", image=image).version
                self.versions[version] += 1
                self.order.append(version)
            except Overloaded:
                continue  # an answer of the queue policy on a busy machine, not a lost request
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a failed request
                self.failures.append(f"{type(error).__name__}: {error}")

    def __enter__(self) -> "Callers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._client.close()


def test_promote_and_back_under_load_drops_nothing(
    clickclean: Command, published: PublishedModels, tmp_path: Path
) -> None:
    repository = published.copy(tmp_path / "repository", "digits")
    add_version(repository / "digits", 2)
    with serving(repository, models=["digits"]) as endpoint, Callers(endpoint.grpc) as callers:
        for version in ("2", "1"):
            assert clickclean("promote", "digits", version, "-r", str(repository)).code == 0
            seen = len(callers.order)
            wait_until(
                lambda seen=seen, version=version: version in callers.order[seen:],
                f"version {version} never answered",
            )
        # A version whose bytes changed is refused, and what is live stays live.
        path = repository / "digits" / "2" / "model.onnx"
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:-1])
        done = clickclean("promote", "digits", "2", "-r", str(repository))
        assert done.code == 3
        assert "model.onnx" in done.err
        seen = len(callers.order)
        wait_until(lambda: len(callers.order) > seen + 50, "the callers are stuck")
        assert set(callers.order[seen:]) == {"1"}
    assert callers.failures == []
    assert set(callers.versions) == {"1", "2"}


@pytest.mark.parametrize("moment", ["quantise to INT8", "gate: served"])
def test_a_publisher_killed_on_its_way(
    clickclean: Command, strokes_folder: Path, tmp_path: Path, moment: str
) -> None:
    """It dies while a process that it started (the quantiser, the server) is at work."""
    repository = Repository(tmp_path / "repository")
    recipe = str(strokes_folder / "recipe.toml")
    before = {"quantise to INT8": "gate: onnx", "gate: served": "start the real tritonserver"}
    process = subprocess.Popen(
        [str(BIN / "clickclean"), "publish", recipe, "-r", str(repository.root)],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process.stderr:
        for line in process.stderr:
            if line.startswith(before[moment]):
                process.send_signal(signal.SIGKILL)
                break
    assert process.wait(PATIENCE_S) == -signal.SIGKILL
    assert repository.versions("strokes") == []
    wait_until(
        lambda: not processes_about(repository.root), f"left: {processes_about(repository.root)}"
    )
    done = clickclean("publish", recipe, "-r", str(repository.root), "--json")
    assert done.code == 0, done.err
    assert done.json["version"] == 1
    assert [p.name for p in (repository.root / "strokes").iterdir()] == ["1"]


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_cancelled_publisher_leaves_nothing(
    strokes_folder: Path, tmp_path: Path, ending: signal.Signals
) -> None:
    repository = tmp_path / "repository"
    process = subprocess.Popen(
        [str(BIN / "clickclean"), "publish", str(strokes_folder / "recipe.toml"), "-r", repository],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process.stderr:
        process.stderr.readline()
        process.send_signal(ending)
        rest = process.stderr.read()
    assert process.wait(PATIENCE_S) == 128 + ending
    assert "Traceback" not in rest
    assert list(repository.iterdir()) == []
    wait_until(lambda: not processes_about(repository), f"left: {processes_about(repository)}")
