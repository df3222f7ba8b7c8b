"""Where a run tells what it found: the terminal, a file, and the process that started it.

The parent reads JSON objects, one a line, from a pipe: `{"progress": [done, total, errors,
p50_ms]}`, at last `{"result": ...}` or `{"refused": {"sentence", "hint", "exit_code"}}`.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from clickclean_client import ClickCleanError
from clickclean_loadtest.errors import BadResultFileError
from clickclean_loadtest.execution import Execution
from clickclean_loadtest.result import LoadResult


class Outlet:
    """Tells a parent through `report_fd` if that is not negative, else the terminal.

    Args:
        result_path: also write the result there; "" = nowhere.
        report_fd: descriptor of a pipe to the parent process.
    """

    def __init__(self, result_path: str = "", report_fd: int = -1) -> None:
        self._path = Path(result_path) if result_path else None
        self._fd = report_fd
        self.deaf = False

    def check(self) -> None:
        """Find out before the run whether its result can be written.

        Raises:
            BadResultFileError: it cannot.
        """
        if self._path is None:
            return
        try:
            with self._path.open("a", encoding="utf-8"):
                pass
        except OSError as exc:
            raise BadResultFileError(
                str(self._path), f"cannot be written ({exc.strerror})"
            ) from exc

    def progress(self, run: Execution) -> None:
        """Tell the parent how far the run is; on a terminal Locust's own table does."""
        record = run.record
        numbers = [len(record), run.total, record.errors.total(), record.recent_p50_ms()]
        self._tell({"progress": numbers})

    def result(self, result: LoadResult) -> None:
        """Write the result file, and tell the parent."""
        text = result.to_json()
        if self._path is not None:
            try:
                self._path.write_text(text + "\n", encoding="utf-8")
            except OSError as exc:
                self.say(f"error: load test result {self._path}: {exc.strerror}")
        self._tell({"result": text})

    def refusal(self, error: ClickCleanError) -> None:
        """Tell why there will be no run."""
        facts = {"sentence": str(error), "hint": error.hint, "exit_code": error.exit_code}
        self._tell({"refused": facts})
        self.say(f"error: {error}" + (f"\nhint: {error.hint}" if error.hint else ""))

    def _tell(self, message: dict[str, Any]) -> None:
        if self._fd < 0 or self.deaf:
            return
        data = (json.dumps(message) + "\n").encode()
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError:
            self.deaf = True

    def say(self, text: str) -> None:
        """Write to the terminal, if there is one and something to say."""
        if text and self._fd < 0:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()
