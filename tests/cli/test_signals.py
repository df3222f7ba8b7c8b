"""What ends a command from outside, and what it leaves behind."""

import fcntl
import os
import signal
import subprocess
import termios
import time
from pathlib import Path

import onnx
import pytest

from tests.conftest import BIN
from tests.models.onnx_files import conv_block

# What Python runs first in every process: TensorRT's says that it is there, and stays.
STAYS = """\
import pathlib, sys, time
if "clickclean_export.engine.worker" in sys.orig_argv:
    pathlib.Path(__file__).with_name("started").touch()
    time.sleep(600)
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log that has no end until somebody opens it for writing and closes it."""
    path = tmp_path / "server.log"
    os.mkfifo(path)
    return path


def explain(log: Path, *, ignored: signal.Signals | None = None) -> subprocess.Popen[str]:
    def as_nohup() -> None:
        if ignored is not None:
            signal.signal(ignored, signal.SIG_IGN)

    return subprocess.Popen(
        [BIN / "clickclean", "engine", "explain", log],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=as_nohup,  # noqa: PLW1509 - it calls nothing that locks
    )


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_a_signal_is_an_exit_code(number: signal.Signals, code: int, log: Path) -> None:
    process = explain(log)
    with log.open("w"):  # waits until the command reads
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (code, "", "")


def test_nohup_keeps_a_command_alive(log: Path) -> None:
    process = explain(log, ignored=signal.SIGHUP)
    with log.open("w") as stream:
        process.send_signal(signal.SIGHUP)
        stream.write("I1123 all is well\n")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "nothing in" in err


def test_a_terminal_that_closes_leaves_no_folder(tmp_path: Path) -> None:
    onnx.save(conv_block(), tmp_path / "model.onnx")
    for name in ("first", "tmp"):
        (tmp_path / name).mkdir()
    (tmp_path / "first" / "sitecustomize.py").write_text(STAYS)
    first = [str(tmp_path / "first"), *filter(None, [os.environ.get("PYTHONPATH")])]
    terminal, inner = os.openpty()
    process = subprocess.Popen(
        [BIN / "clickclean", "engine", "check", tmp_path / "model.onnx", "--axis", "batch=1"],
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp"), "PYTHONPATH": os.pathsep.join(first)},
        stdin=inner,
        stdout=inner,
        stderr=inner,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - as above
    )
    os.close(inner)
    until = time.monotonic() + 60
    while time.monotonic() < until and not (tmp_path / "first" / "started").exists():
        time.sleep(0.01)
    assert all(path.name.startswith("clickclean-") for path in (tmp_path / "tmp").iterdir())
    assert list((tmp_path / "tmp").glob("clickclean-*/log"))
    os.close(terminal)
    try:
        assert process.wait(60) == 129
    finally:
        process.kill()
    assert list((tmp_path / "tmp").iterdir()) == []
