"""What the supervisor saw and did: one line for people, one JSON object for programs."""

import json
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

LONGEST_LINE = 400


class Events:
    """Writes short lines to stderr (unless quiet) and JSON lines to a file.

    Names of events: swept, skipped, starting, ready, fault, overloaded, dead, revived,
    revive-failed, hung, server-died, restarting, restarted, promoted, promotion-failed,
    changed, unloaded, config-missing, gave-up, stopping, stopped.
    """

    def __init__(self, path: Path, *, quiet: bool) -> None:
        self.path = path
        self.quiet = quiet
        self._lock = Lock()

    def emit(self, event: str, text: str, **facts: Any) -> None:
        """`text` is one sentence without a full stop; `facts` go into the JSON object."""
        now = datetime.now(UTC)
        record = {"time": now.isoformat(), "event": event, "text": text, **facts}
        line = json.dumps(record, default=str)
        with self._lock:
            # A full disk or a closed terminal is no reason to stop serving.
            with suppress(OSError), self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
            if not self.quiet:
                with suppress(OSError):
                    sys.stderr.write(f"{now.astimezone():%H:%M:%S} {shorten(text)}\n")
                    sys.stderr.flush()


def shorten(text: str) -> str:
    """One line for a terminal."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]} ..."
