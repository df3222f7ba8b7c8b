"""Many callers at once, while something happens to their server, and a word for what they saw."""

import threading
import time
from collections.abc import Callable

from failing_server import Calls, Repository, Seen, calls_to
from failing_table import MAYBE, NO, Table, most

CROWD = 16
NOT_THERE = "has no available versions"
NOT_READY = "is not at ready state"
REFUSED = "failed to connect to all addresses"
SICK = "is not healthy"


def crowd(endpoint: str, model: str, busy_s: float, act: Callable[[], None]) -> list[Seen]:
    """What callers see that ask all the time, over four connections, while something happens."""
    stop = threading.Event()
    seen: list[Seen] = []

    def ask(calls: Calls) -> None:
        while not stop.is_set():
            seen.append(calls.infer(model, busy_s, timeout_s=8))

    with (
        calls_to(endpoint) as one,
        calls_to(endpoint) as two,
        calls_to(endpoint) as three,
        calls_to(endpoint) as four,
    ):
        connections = (one, two, three, four)
        threads = [
            threading.Thread(target=ask, args=(connections[number % 4],)) for number in range(CROWD)
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.7)
        act()
        stop.set()
        for thread in threads:
            thread.join()
    return seen


def note_crowd(table: Table, repository: Repository, when: str, seen: list[Seen]) -> None:
    """Rows for every different failure that a crowd saw; those that were computed come first."""
    total = len(seen)
    for (code, text), alike in most(seen).items():
        if code == "OK":
            continue
        reached = [one for one in alike if repository.reached(one)]
        kind, computed, part = judge_stop(code, text)
        table.note(
            f"{when}, seen by a crowd: {code} {part!r}",
            (reached or alike)[0],
            code,
            part,
            computed=computed,
            raises=kind,
            how=f"{CROWD} threads on 4 connections: {len(alike)} of {total} calls, "
            f"{len(reached)} of them had reached the model",
            reached=repository.reached,
        )


Judge = Callable[[str, str], tuple[str, str, str]]


def judge_stop(code: str, text: str) -> tuple[str, str, str]:
    """The class, whether the model can have run, and the words that tell."""
    rows = (
        ("NOT_FOUND", NOT_THERE, "ModelNotFound", NO),
        ("NOT_FOUND", "is not found", "ModelNotFound", NO),
        ("UNAVAILABLE", NOT_READY, "ModelNotFound", NO),
        ("UNAVAILABLE", "Server exiting", "Unavailable", NO),
        ("UNAVAILABLE", "Server is stopping", "Unavailable", NO),
        ("UNAVAILABLE", REFUSED, "Unavailable", NO),
        ("UNAVAILABLE", "Stream removed", "Unavailable", MAYBE),
        ("CANCELLED", "CANCELLED", "Unavailable", MAYBE),
        ("CANCELLED", "Stream removed", "Unavailable", MAYBE),
        ("INTERNAL", SICK, "ServerFault", MAYBE),
    )
    for known, part, kind, computed in rows:
        if code == known and part in text:
            return kind, computed, part
    return "?", MAYBE, ""
