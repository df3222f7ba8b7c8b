"""Writes what an experiment is judged by to Parquet files, never in the way of a call."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import logging
import math
import os
import re
import socket
import threading
import time
import weakref
from collections import deque
from pathlib import Path
from typing import Any, Final, Self

from clickclean_client._exceptions import ExperimentError
from clickclean_client.experiments.tables import FOLDERS, Outcome, Row, require_parquet, write_table

# Rows that may wait, in units of `flush_rows`, while a disk hangs.
_BACKLOG: Final = 10
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_]+")

_log = logging.getLogger("clickclean_client")


class ExperimentLog:
    """A folder that exposures, outcomes and shadows are written to; serves many threads.

    Processes and machines may share the folder: every file has a name of its own and appears
    whole. Rows are written every `flush_s` seconds, or when `flush_rows` wait, by a thread, and
    the rest on `close` and when the interpreter ends; a process that is killed loses up to
    `flush_s` of them. A folder that cannot be written to costs rows (`lost`) and one warning,
    never an inference. A forked child starts anew.

    Raises:
        ExperimentError: a setting is out of range.
        ParquetMissing: pyarrow is missing.
    """

    _thread: threading.Thread | None
    _wake: threading.Event

    def __init__(self, folder: Path | str, flush_s: float = 5.0, flush_rows: int = 10_000) -> None:
        if not _is_number(flush_s) or not flush_s > 0 or not _is_number(flush_rows):
            raise ExperimentError(f"A log cannot be flushed every {flush_s!r} s.")
        if flush_rows < 1:
            raise ExperimentError(f"A log cannot be flushed every {flush_rows!r} rows.")
        require_parquet()
        # Absolute, because a program may change its folder later.
        self.folder = Path(folder).absolute()
        self._flush_s = float(flush_s)
        self._flush_rows = int(flush_rows)
        self._begin()
        atexit.register(self.close)
        here = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _begin_in_child(here()))

    @property
    def lost(self) -> int:
        """How many rows could not be written."""
        return self._lost

    def outcome(
        self, prediction_id: str, value: float, name: str = "reward", *, experiment: str
    ) -> None:
        """Write down what became of a prediction, in the same process or another, now or later.

        `prediction_id` and `experiment` are those of the `InferResult`. With the empty experiment
        of a call that took part in none, nothing is written.

        Raises:
            ExperimentError: the value is no finite number, or a text is missing.
        """
        number = _finite(value)
        if number is None:
            raise ExperimentError(
                f"The outcome {value!r} is no finite number.",
                hint="Write True and False for a click, a number for anything that is counted.",
            )
        for label, text in (("prediction_id", prediction_id), ("name", name)):
            if not _is_text(text):
                raise ExperimentError(
                    f"The {label} of an outcome must be a text, not {text!r}.",
                    hint="InferResult.prediction_id of a call with a key is meant.",
                )
        if experiment != "" and not _is_text(experiment):
            raise ExperimentError(f"{experiment!r} is no experiment's name.")
        if experiment:
            now_us = time.time_ns() // 1000
            self.add(Outcome(now_us, experiment, prediction_id, name, number))

    def add(self, row: Row) -> None:
        """Take a row; returns at once and never raises. After `close` the row is lost."""
        if self._closed or len(self._rows) >= _BACKLOG * self._flush_rows:
            self._lose(1, "the log is closed" if self._closed else "the disk is too slow")
            return
        self._rows.append(row)
        if self._thread is None:
            self._start()
        if len(self._rows) >= self._flush_rows and not self._wake.is_set():
            self._wake.set()

    def flush(self) -> None:
        """Write what waits, now; what cannot be written counts as lost."""
        with self._writing:
            # Rows that are added meanwhile are for the next time.
            rows = [self._rows.popleft() for _ in range(len(self._rows))]
            for kind in FOLDERS:
                part = [row for row in rows if type(row) is kind]
                if part:
                    self._write(part)

    def close(self) -> None:
        """Write what waits and stop. May be repeated."""
        self._closed = True
        thread, self._thread = self._thread, None
        self._wake.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        self.flush()
        atexit.unregister(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"ExperimentLog({str(self.folder)!r})"

    def _begin(self) -> None:
        """The state of a new log, and of one in a forked child: the parent keeps its rows."""
        host = _UNSAFE.sub("_", socket.gethostname()) or "host"
        self._prefix = f"{host}-{os.getpid()}-{time.time_ns()}"
        self._numbers = itertools.count(1)
        self._rows: deque[Row] = deque()
        self._lost = 0
        self._warned = False
        self._closed = False
        self._thread = None
        self._wake = threading.Event()
        self._writing = threading.Lock()
        self._lock = threading.Lock()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and not self._closed:
                name = "clickclean-experiment-log"
                thread = threading.Thread(target=self._run, name=name, daemon=True)
                # No thread can be had (a limit, or the interpreter ends): the next row tries
                # again, and `close` writes what waits.
                with contextlib.suppress(RuntimeError):
                    thread.start()
                    self._thread = thread

    def _run(self) -> None:
        while not self._closed:
            self._wake.wait(self._flush_s)
            self._wake.clear()
            self.flush()

    def _write(self, rows: list[Row]) -> None:
        try:
            write_table(rows, self.folder, f"{self._prefix}-{next(self._numbers):06}")
        except Exception as exc:  # noqa: BLE001 - a log must not end a service
            self._lose(len(rows), str(exc))

    def _lose(self, count: int, reason: str) -> None:
        with self._lock:
            self._lost += count
            first, self._warned = not self._warned, True
        if first:
            _log.warning("rows of the experiment log %s are lost: %s", self.folder, reason)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    """A text that a file takes, of at least one character."""
    if not isinstance(value, str) or not value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _finite(value: Any) -> float | None:
    """The value as a float; None unless it is a finite number of Python or NumPy, or a bool."""
    scalar = value.item() if hasattr(value, "dtype") and getattr(value, "ndim", 1) == 0 else value
    if not isinstance(scalar, int | float):
        return None
    try:
        number = float(scalar)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _begin_in_child(log: ExperimentLog | None) -> None:
    if log is not None and not log._closed:
        log._begin()
