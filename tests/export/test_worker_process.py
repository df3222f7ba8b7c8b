"""Work in a process of its own: results, messages, and every way to end."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from clickclean_export.worker_process import WorkerDied, run_worker

TASK = """
import os, signal, sys, time
from clickclean_export.worker_process import work

def task(job, send):
    {body}

work(task)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make a module whose task has the given body; returns its name."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def make(body: str) -> str:
        (tmp_path / "a_task.py").write_text(TASK.format(body=body))
        return "a_task"

    return make


def test_a_result_and_the_messages_before_it(module: Any, tmp_path: Path) -> None:
    body = 'send({"step": 1}); print("noise"); os.write(1, b"raw noise"); return {"got": job}'
    seen: list[dict[str, Any]] = []
    result = run_worker(
        module(body), {"a": [1, 2]}, log=tmp_path / "log", timeout_s=30, on_message=seen.append
    )
    assert result == {"got": {"a": [1, 2]}}
    assert seen == [{"step": 1}]
    assert "noise" in (tmp_path / "log").read_text()
    assert "raw noise" in (tmp_path / "log").read_text()


ENDS = {
    "an exception": ('raise ValueError("bad weights")', "ValueError: bad weights"),
    "a crash": ("os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV"),
    "an exit": ("os._exit(7)", "ended with code 7"),
    "a last word": ('print("no memory", file=sys.stderr, flush=True); os._exit(1)', "no memory"),
}


@pytest.mark.parametrize("end", ENDS)
def test_an_end_without_a_result_is_worded(end: str, module: Any, tmp_path: Path) -> None:
    body, words = ENDS[end]
    with pytest.raises(WorkerDied, match=words):
        run_worker(module(body), {}, log=tmp_path / "log", timeout_s=30)


def test_a_worker_that_hangs_is_ended(module: Any, tmp_path: Path) -> None:
    with pytest.raises(WorkerDied, match="no result within 1 s"):
        run_worker(module("time.sleep(60)"), {}, log=tmp_path / "log", timeout_s=1)


def test_a_worker_ends_with_its_parent(module: Any, tmp_path: Path) -> None:
    """Also when the parent is killed and can clean up nothing."""
    name = module('send({"pid": os.getpid()}); time.sleep(60)')
    reader, writer = os.pipe()
    parent = os.fork()
    if parent == 0:
        os.close(reader)
        run_worker(
            name,
            {},
            log=tmp_path / "log",
            timeout_s=60,
            on_message=lambda message: os.write(writer, b"%d\n" % message["pid"]),
        )
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        worker = int(pipe.readline())
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    deadline = time.monotonic() + 30
    while Path(f"/proc/{worker}/exe").exists():
        assert time.monotonic() < deadline, "the worker outlived its parent"
        time.sleep(0.05)


def test_an_error_of_the_listener_ends_the_worker(module: Any, tmp_path: Path) -> None:
    pids: list[int] = []

    def listen(message: dict[str, Any]) -> None:
        pids.append(message["pid"])
        raise KeyboardInterrupt

    name = module('send({"pid": os.getpid()}); time.sleep(60)')
    with pytest.raises(KeyboardInterrupt):
        run_worker(name, {}, log=tmp_path / "log", timeout_s=60, on_message=listen)
    assert not Path(f"/proc/{pids[0]}/exe").exists()
