"""Where this package keeps files on the user's machine (XDG base directories)."""

import os
from pathlib import Path

KEPT_LOGS = 20


def cache_dir() -> Path:
    """For what can be rebuilt."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clickclean"


def state_dir() -> Path:
    """For what tells of past and present runs."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return state / "clickclean"


def new_log() -> Path:
    """A fresh server log; the oldest beyond the newest `KEPT_LOGS` are removed."""
    folder = state_dir() / "servers"
    folder.mkdir(parents=True, exist_ok=True)
    logs = sorted(folder.glob("*.log"), key=lambda log: log.stat().st_mtime, reverse=True)
    for old in logs[KEPT_LOGS - 1 :]:
        old.unlink(missing_ok=True)
        events_path(old).unlink(missing_ok=True)
    return folder / f"{os.getpid()}.log"


def events_path(log: Path) -> Path:
    """The events file beside a server log."""
    return log.with_name(f"{log.stem}.events.jsonl")
