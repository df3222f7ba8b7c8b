"""One tritonserver process and its process group."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from clickclean_server.launch import EXIT_TIMEOUT_S, Launch
from clickclean_server.ownership import Owner, end, processes_of, remove_regions

WRAPPER = Path(__file__).with_name("die_with_parent.py")
# Printed when the last request in flight has been answered. What follows is only the unloading of
# models, which hangs until the timeout when one of their processes was ever killed.
DRAINED = b"All models are stopped"
UNLOAD_GRACE_S = 0.5
POLL_S = 0.05


class TritonProcess:
    """Starts in a session of its own, so that Ctrl-C reaches the supervisor alone."""

    def __init__(self, launch: Launch, owner: Owner, log: Path) -> None:
        self.launch = launch
        self.owner = owner
        self.log = log
        with log.open("ab") as sink:
            self._log_start = sink.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(WRAPPER), str(os.getpid()), *launch.arguments()],
                env=launch.environment(),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of tritonserver; also its process group."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """None while it runs; negative for a signal."""
        return self._process.poll()

    def output(self, start: int | None = None) -> bytes:
        """What this process wrote to the log, from byte `start` of the file."""
        with self.log.open("rb") as file:
            file.seek(self._log_start if start is None else start)
            return file.read()

    def stop(self, *, hurry: Callable[[], bool]) -> None:
        """Lets requests in flight finish, unless `hurry`, then removes everything."""
        start = self.log.stat().st_size
        if self.exit_code() is None:
            self._process.terminate()
            # A server that somebody froze would not even see the first signal.
            self._process.send_signal(signal.SIGCONT)
        deadline = time.monotonic() + EXIT_TIMEOUT_S + UNLOAD_GRACE_S
        drained = False
        while self.exit_code() is None and time.monotonic() < deadline and not hurry():
            if not drained and DRAINED in self.output(start):
                drained = True
                deadline = min(deadline, time.monotonic() + UNLOAD_GRACE_S)
            time.sleep(POLL_S)
        self.kill()

    def kill(self) -> None:
        """Ends the whole group at once and removes its shared memory."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        # Model processes outlive a server that was killed by somebody else.
        for pid in processes_of(self.owner):
            end(pid)
        remove_regions(self.owner)
