"""Start Locust in a process of its own and read back what it found."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from clickclean_loadtest.errors import (
    GeneratorFailedError,
    GeneratorRefusedError,
    LocustMissingError,
)
from clickclean_loadtest.execution import GRACE_S
from clickclean_loadtest.options import to_arguments
from clickclean_loadtest.plan import prepare
from clickclean_loadtest.result import LoadResult
from clickclean_loadtest.spec import LoadSpec, Progress

STARTUP_S = 60.0  # importing Locust and asking the server, on a slow machine
STOP_S = 10.0

# Locust puts the folder of its locustfile on the import path; that must not be this package's.
LOCUSTFILE = "from clickclean_loadtest.locustfile import TritonUser\n"


def run(spec: LoadSpec, *, on_progress: Progress | None = None) -> LoadResult:
    """Carry out one load test; blocks for its duration and the last answers.

    The service's failures are in the result. Ctrl-C ends Locust too.

    Args:
        spec: what to run.
        on_progress: called about once a second.

    Raises:
        ClientError: the server is not there, or does not know the model; nothing was sent.
        LoadTestError: the load cannot be run; see `errors`.
        GoldenError: the version's golden file is unusable.
    """
    if find_spec("locust") is None:
        raise LocustMissingError
    plan = prepare(spec)
    limit_s = STARTUP_S + spec.duration_s + spec.timeout_s + GRACE_S
    reader, writer = os.pipe()
    with (
        tempfile.TemporaryDirectory(prefix="clickclean-loadtest-") as folder,
        Path(folder, "locust.log").open("w+b") as log,
        open(reader, "rb", buffering=0) as reports,  # noqa: PTH123  # a descriptor, not a path
    ):
        locustfile = Path(folder, "locustfile.py")
        locustfile.write_text(LOCUSTFILE, encoding="utf-8")
        try:
            process = subprocess.Popen(
                _command(spec, locustfile, users=plan.users, report_fd=writer),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(writer,),
                start_new_session=True,  # Ctrl-C reaches this process alone, which passes it on
            )
        finally:
            os.close(writer)
        try:
            result = _listen(reports, log, time.monotonic() + limit_s, on_progress)
        except BaseException:
            _end(process, patience_s=0.0)
            raise
        _end(process, patience_s=STOP_S)
        return result


def _command(spec: LoadSpec, locustfile: Path, *, users: int, report_fd: int) -> list[str]:
    return [
        *(sys.executable, "-m", "locust", "-f", str(locustfile)),
        *("--headless", "--only-summary", "--loglevel=WARNING"),
        *(f"--users={users}", f"--cc-report-fd={report_fd}"),
        *to_arguments(spec),
        *spec.locust_args,
    ]


def _listen(
    reports: IO[bytes], log: IO[bytes], end_s: float, on_progress: Progress | None
) -> LoadResult:
    for message in _messages(reports, log, end_s):
        if "progress" in message and on_progress is not None:
            on_progress(*message["progress"])
        elif "refused" in message:
            raise GeneratorRefusedError(**message["refused"])
        elif "result" in message:
            return LoadResult.from_json(message["result"])
    raise GeneratorFailedError("ended without a result", _last_words(log))


def _messages(reports: IO[bytes], log: IO[bytes], end_s: float) -> Iterator[dict[str, Any]]:
    """JSON objects, one a line, until the other end is closed."""
    pending = b""
    while True:
        ready, _, _ = select.select([reports], [], [], max(0.0, end_s - time.monotonic()))
        if not ready:
            raise GeneratorFailedError("hung", _last_words(log))
        data = reports.read(1 << 20)
        if not data:
            return
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            yield json.loads(line)


def _last_words(log: IO[bytes]) -> str:
    log.seek(0)
    lines = log.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def _end(process: subprocess.Popen[bytes], *, patience_s: float) -> None:
    """Wait for the process to end by itself, then ask it to, then make it."""
    for wait_s, force in ((patience_s, signal.SIGTERM), (STOP_S, signal.SIGKILL)):
        try:
            process.wait(wait_s)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, force)
    process.wait()
