"""Failures of connections that were well: too old, pinged too often, to a server that is frozen."""

import signal
import time
from pathlib import Path

from failing_crowd import crowd, note_crowd
from failing_server import Model, Repository, Seen, calls_to, triton
from failing_table import MAYBE, NO, Table


def measure(folder: Path, table: Table) -> None:
    """Start a server for each."""
    for part in (_aging, _frozen):
        place = folder / part.__name__
        place.mkdir()
        part(place, table)


def _aging(folder: Path, table: Table) -> None:
    """Connections that the server ends by itself, as behind many load balancers."""
    repository = Repository(folder, [Model("plain")])
    # A load call could itself outlive its connection.
    age = ("--grpc-max-connection-age=1000", "--grpc-max-connection-age-grace=500")
    with triton(repository, folder / "log", extra=(*age, "--load-model=plain")) as server:
        seen = crowd(server.endpoint, "plain", 0.01, lambda: time.sleep(4))
        note_crowd(table, repository, "connections that live 1 s", seen)
        with calls_to(server.endpoint) as calls:
            calls.infer("plain")
            table.note(
                "a connection at the end of its age",
                calls.infer("plain", 3.0, timeout_s=6),
                "UNAVAILABLE",
                "enter idle",
                computed=MAYBE,
                raises="Unavailable",
                how="--grpc-max-connection-age=1000 with 500 ms of grace, a call of 3 s",
                reached=repository.reached,
            )


def _frozen(folder: Path, table: Table) -> None:
    repository = Repository(folder, [Model("plain")])
    pings = (("grpc.keepalive_time_ms", 1000), ("grpc.http2.max_pings_without_data", 0))
    with triton(repository, folder / "log") as server:
        server.load("plain")
        with calls_to(server.endpoint, *pings) as calls:
            table.note(
                "a client that pings every second",
                calls.infer("plain", 7.0, timeout_s=9),
                "UNAVAILABLE",
                "Too many pings",
                computed=MAYBE,
                raises="Unavailable",
                how="grpc.keepalive_time_ms=1000 and a call of 7 s; Triton takes no more than two"
                " pings without data in 300 s (--grpc-http2-min-recv-ping-interval-without-data)",
                reached=repository.reached,
            )
            time.sleep(3)
        with calls_to(server.endpoint) as calls:
            calls.infer("plain")
            server.signal(signal.SIGSTOP)
            table.note(
                "a frozen server",
                calls.infer("plain", timeout_s=1.0),
                "DEADLINE_EXCEEDED",
                "",
                computed=MAYBE,
                raises="DeadlineExceeded",
                how="SIGSTOP of tritonserver",
                reached=repository.reached,
            )
            table.note(
                "a frozen server, a new connection",
                _once_for(server.endpoint, 1.0),
                "DEADLINE_EXCEEDED",
                "",
                computed=NO,
                raises="DeadlineExceeded",
                how="the kernel takes the connection, nobody answers on it",
                reached=repository.reached,
            )


def _once_for(endpoint: str, timeout_s: float) -> Seen:
    with calls_to(endpoint) as calls:
        return calls.infer("plain", timeout_s=timeout_s)
