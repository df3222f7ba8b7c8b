"""What people see: progress on stderr, data on stdout."""

import json
import sys
import time
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.status import Status

stderr = Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """Write one line to stderr, however long it is."""
    stderr.print(text, soft_wrap=True, markup=False)


def print_json(value: Any) -> None:
    """Write one JSON document to stdout."""
    if sys.stdout is None:  # closed by the caller (>&-)
        return
    sys.stdout.write(json.dumps(value, indent=2) + "\n")
    sys.stdout.flush()  # a full disk is an error of the verb, not of Python's end


def print_table(rows: list[tuple[str, str]]) -> None:
    """Write names and right-aligned figures to stdout."""
    left = max(len(name) for name, _ in rows)
    right = max(len(figure) for _, figure in rows)
    sys.stdout.write("".join(f"{name:<{left}}  {figure:>{right}}\n" for name, figure in rows))
    sys.stdout.flush()


class Steps:
    """Progress in steps: a spinner on a terminal, one line per finished step anywhere.

    A step that tells its share shows it, on a terminal at once, elsewhere every 15 seconds.
    """

    _LINE_EVERY_S = 15.0

    def __init__(self) -> None:
        self._step = ""
        self._started = 0.0
        self._last_line = 0.0
        self._status: Status | None = None

    def begin(self, step: str) -> None:
        """Announce a step."""
        self._step, self._started = step, time.monotonic()
        self._last_line = self._started
        if stderr.is_terminal:
            self._status = stderr.status(f"{step} ...")
            self._status.start()

    def update(self, detail: str, share: float) -> None:
        """Show how far the step is."""
        text = f"{self._step}: {share:.0%} {detail}"
        if self._status is not None:
            self._status.update(f"{text} ...")
        elif time.monotonic() - self._last_line >= self._LINE_EVERY_S:
            self._last_line = time.monotonic()
            say(text)

    def end(self, outcome: str) -> None:
        """Print the finished step with its outcome and time."""
        self._stop()
        seconds = time.monotonic() - self._started
        say(f"{self._step:<28}  {seconds:4.1f} s  {outcome}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None


class LoadProgress:
    """Progress of a load test: a bar on a terminal, a line every five seconds elsewhere."""

    _LINE_EVERY_S = 5.0

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("load test"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f} requests, {task.fields[state]}"),
            TimeElapsedColumn(),
            console=stderr,
            transient=True,
            disable=not stderr.is_terminal,
        )
        self._task = self._bar.add_task("load", total=1, state="starting")
        self._last_line = time.monotonic()

    def __call__(self, done: int, total: int, errors: int, p50_ms: float) -> None:
        """Show how far the run is."""
        state = f"{errors} errors, p50 {p50_ms:.1f} ms"
        self._bar.update(self._task, completed=done, total=total, state=state)
        if not stderr.is_terminal and time.monotonic() - self._last_line >= self._LINE_EVERY_S:
            self._last_line = time.monotonic()
            say(f"load test: {done}/{total} requests, {state}")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
