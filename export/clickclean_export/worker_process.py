"""Work that gets a process of its own, and how the two sides talk.

Libraries that patch others, keep global state or may crash in C++ are run so: what they do to their
process ends with it, a crash becomes a sentence, and Ctrl-C ends them at once. The job is one JSON
object in the arguments; messages come back as JSON lines; everything that libraries print goes to
the log.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

Message = dict[str, Any]
_RESULT, _REFUSED = "result", "refused"
_LAST_WORDS_S = 10.0


class WorkerDied(Exception):  # noqa: N818 - it is told as the step's own error
    """The process ended without a result.

    Attributes:
        last_line: The last line that it printed, or what is known instead.
    """

    def __init__(self, last_line: str) -> None:
        super().__init__(last_line)
        self.last_line = last_line


def run_worker(
    module: str,
    job: Mapping[str, Any],
    *,
    log: Path,
    timeout_s: float,
    on_message: Callable[[Message], object] = lambda _: None,
) -> Message:
    """Run ``python -m module`` with a job, and return its result.

    Args:
        module: Calls ``work`` when it is run.
        job: JSON-ready.
        log: Takes the output of the process and its libraries.
        timeout_s: The process is killed after this many seconds.
        on_message: Told every message before the result.

    Raises:
        WorkerDied: no result came.
        OSError: the log cannot be written, the process cannot be started, or it met one itself.
    """
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", module, json.dumps(job)],
            # Never written to: its end tells the worker that we are gone, however we went.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stream,
        )
    late = threading.Event()

    def kill() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(timeout_s, kill)
    # A signal may come at any line: then this process must end, and not wait for the timer.
    timer.daemon = True
    result: Message | None = None
    refused: OSError | None = None
    try:
        timer.start()
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        for line in process.stdout:
            message: Message = json.loads(line)
            if _RESULT in message:
                result = message[_RESULT]
            elif _REFUSED in message:
                refused = OSError(*message[_REFUSED])
            else:
                on_message(message)
        # Its messages have ended; it may still be writing its last words.
        with suppress(subprocess.TimeoutExpired):
            process.wait(_LAST_WORDS_S)
    finally:
        timer.cancel()
        process.kill()
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
    if result is not None:
        return result
    if refused is not None:
        raise refused
    if late.is_set():
        raise WorkerDied(f"no result within {timeout_s:.0f} s")
    if code < 0:
        raise WorkerDied(f"the process was killed by {signal.Signals(-code).name}")
    raise WorkerDied(_last_line(log) or f"the process ended with code {code}")


def work(task: Callable[[Message, Callable[[Message], None]], Message]) -> None:
    """Be the process: do the job of the arguments and send the result.

    Args:
        task: Gets the job and a function that sends a message; returns the result.
    """
    _end_with_parent()
    # Libraries print to the file descriptor, past Python: it becomes the log's, ours a new one.
    with os.fdopen(os.dup(1), "w") as channel:
        os.dup2(2, 1)

        def send(message: Message) -> None:
            channel.write(json.dumps(message) + "\n")
            channel.flush()

        try:
            send({_RESULT: task(json.loads(sys.argv[1]), send)})
        except OSError as error:
            # A full disk, say: it is not the task that failed, and the log may be cut off too.
            send({_REFUSED: [error.errno, error.strerror or str(error), error.filename]})


def _end_with_parent() -> None:
    """End this process when its standard input closes, as it does when the parent dies."""

    def watch() -> None:
        os.read(0, 1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""
