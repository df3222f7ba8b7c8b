"""Calls as a client tells its hooks of them."""

from typing import Any

from clickclean_client import ClientError
from clickclean_client._observe import AttemptRecord, CallEnd, CallStart, Hook, Hooks

START_NS = 1_795_000_000_000_000_000
FIRST = "10.0.0.1:8001"
SECOND = "10.0.0.2:8001"


def attempt(outcome: str = "ok", endpoint: str = FIRST, *, hedge: bool = False) -> AttemptRecord:
    return AttemptRecord(endpoint, START_NS + 1_000_000, 0.004, outcome, hedge)


def begun(**facts: Any) -> CallStart:
    usual: dict[str, Any] = {
        "model": "digits",
        "version": "",
        "key_given": False,
        "request_id": "",
        "headers": {},
        "start_ns": START_NS,
    }
    return CallStart(**{**usual, **facts})


def ended(error: ClientError | None = None, **facts: Any) -> CallEnd:
    usual: dict[str, Any] = {
        "model": "digits",
        "version": "",
        "answered_version": "" if error else "3",
        "arm": "",
        "experiment": "",
        "outcome": type(error).__name__ if error else "ok",
        "duration_s": 0.005,
        "attempts": (attempt(),),
        "request_bytes": 300,
        "response_bytes": 0 if error else 90,
        "error": error,
    }
    return CallEnd(**{**usual, **facts})


def tell(hook: Hook, *ends: CallEnd, start: CallStart | None = None) -> CallStart:
    """Let a hook see calls, one after another; fails if the hook does."""
    hooks = Hooks([hook])
    start = start or begun()
    for end in ends:
        hooks.begin(start)(end)
    assert hooks.failures == 0
    return start
