"""A program that forks: `python -m tests.client.forking ENDPOINT CLIENT PARENT CHILD`.

PARENT is what is done before the fork, CHILD what after it; prints what became of the child, and
then of a call in the parent.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

from clickclean_client import AsyncClient, Client, ClientError
from tests.client.fleets import ROW
from tests.client.in_loop import InLoop

_LONGEST_S = 20.0


def _outcome(client: Any) -> str:
    try:
        for _ in range(5):
            client.infer("m", x=ROW)
    except ClientError as exc:
        return f"{type(exc).__name__}: {exc} hint: {exc.hint}"
    return "ok"


class _Caller:
    """A client whose loop, if it needs one, begins with its first call, and ends with it."""

    def __init__(self, kind: str, endpoint: str) -> None:
        kinds = {"Client": Client, "AsyncClient": AsyncClient}
        self.client: Any = kinds[kind](endpoint, timeout_s=10)
        self._loop: InLoop | None = None

    def infer(self, *args: Any, **named: Any) -> Any:
        if isinstance(self.client, Client):
            return self.client.infer(*args, **named)
        if self._loop is None:
            self._loop = InLoop("127.0.0.1:1")
            self._loop.client = self.client
        return self._loop.infer(*args, **named)

    def close(self) -> None:
        (self._loop or self.client).close()

    def in_child(self) -> None:
        self._loop = None


def main(endpoint: str, kind: str, parent: str, child: str) -> None:
    client = _Caller(kind, endpoint)
    if parent in {"called", "busy", "closed"}:
        client.infer("m", x=ROW)
    if parent == "closed":
        client.close()
    stop = threading.Event()
    threads = []
    if parent == "busy":

        def calls() -> None:
            while not stop.is_set():
                client.infer("m", x=ROW)

        threads = [threading.Thread(target=calls) for _ in range(4)]
        for thread in threads:
            thread.start()
        stop.wait(0.1)
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        client.in_child()
        other = {"Client": "AsyncClient", "AsyncClient": "Client"}[kind]
        used = {
            "same": lambda: client,
            "new": lambda: _Caller(kind, endpoint),
            "other": lambda: _Caller(other, endpoint),
        }[child]()
        os.write(writer, _outcome(used).encode())
        os._exit(0)
    os.close(writer)
    ended = threading.Event()

    def kill() -> None:
        if not ended.wait(_LONGEST_S):
            os.kill(process, 9)

    watch = threading.Thread(target=kill)
    watch.start()
    _, status = os.waitpid(process, 0)
    ended.set()
    watch.join()
    stop.set()
    for thread in threads:
        thread.join()
    said = os.read(reader, 10_000).decode()
    of_child = said or f"ended with {os.waitstatus_to_exitcode(status)}"
    of_parent = _outcome(client) if parent != "closed" else "ok"
    sys.stdout.write(f"{of_child}\n{of_parent}\n")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
