"""Looks at a running server from outside: its events, its processes, its shared memory."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clickclean_server import Endpoint
from clickclean_server.ownership import (
    SHM,
    Owner,
    model_processes,
    pid_namespace,
    processes_of,
    start_time,
)

# Only guards against waiting for ever; what is waited for takes a second or two.
PATIENCE_S = 45.0


def eventually(condition: Callable[[], Any], what: str) -> Any:
    """The first truthy value of `condition`."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"waited {PATIENCE_S:g} s for {what}")


def owner_of_supervisor(pid: int) -> Owner:
    start = start_time(pid)
    assert start is not None
    return Owner(pid_namespace(), pid, start)


class Watch:
    """One supervised server."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.owner = owner_of_supervisor(endpoint.pid)
        self._read = 0

    def events(self) -> list[dict[str, Any]]:
        return read_events(self.endpoint.events)

    def next_event(self, *names: str) -> dict[str, Any]:
        """The first event of these names that no earlier call has returned or passed by."""

        def find() -> dict[str, Any] | None:
            for number, event in enumerate(self.events()[self._read :], start=self._read + 1):
                if event["event"] in names:
                    self._read = number
                    return event
            return None

        found: dict[str, Any] = eventually(find, f"the event {' or '.join(names)}")
        return found

    def server(self) -> int:
        """The pid of tritonserver."""
        (pid,) = [
            pid
            for pid in processes_of(self.owner)
            if Path(f"/proc/{pid}/comm").read_text().strip() == "tritonserver"
        ]
        return pid

    def model_process(self, model: str, version: int = 1) -> int:
        (pid,) = model_processes(self.owner)[model, version]
        return pid

    def leftovers(self) -> list[str]:
        return leftovers(self.owner)


def leftovers(owner: Owner) -> list[str]:
    """Processes and shared memory regions of one supervisor."""
    regions = [str(region) for region in SHM.glob(f"{owner.shm_prefix}*")]
    return [*map(str, processes_of(owner)), *regions]


def read_events(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    lines = path.read_text().split("\n")
    # The last piece is empty, or a line that is still being written.
    return [json.loads(line) for line in lines[:-1]]
