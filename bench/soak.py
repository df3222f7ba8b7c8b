"""Whether a client leaks: ``python bench/soak.py --minutes 10``.

Two real servers that are stopped and started again in turn, and one `Client` of both (with
`--asyncio` one `AsyncClient`) that is asked at a fixed rate. Every ten seconds: memory, threads,
open files and connections of this process, and errors. At the end the growth from the second minute
on: the slope of a straight line through the samples, and the last third against the first.
"""

import argparse
import asyncio
import gc
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clickclean_client import AsyncClient, ClickCleanError, Client, ClientError
from surroundings import surroundings

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from tests.e2e.open_loop import OpenLoop  # noqa: E402
from tests.e2e.two_servers import MODEL, Server, two_servers  # noqa: E402

TIMEOUT_S = 1.0
SAMPLE_S = 10.0
WARM_S = 60.0
ESTABLISHED = "01"  # include/net/tcp_states.h
GROWING = ("rss_mib", "threads", "files", "connections")


@dataclass(frozen=True)
class Sample:
    """This process at one moment; `calls` and `errors` are those since the last sample."""

    at_s: float
    rss_mib: float
    threads: int
    files: int
    connections: int
    calls: int
    errors: int


class Counts:
    """What became of the calls; safe for many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls = 0
        self._errors = 0
        self.first_error = ""

    def add(self, error: Exception | None) -> None:
        """One call has ended."""
        with self._lock:
            self._calls += 1
            if error is not None:
                self._errors += 1
                self.first_error = self.first_error or f"{type(error).__name__}: {error}"

    def take(self) -> tuple[int, int]:
        """Calls and errors since the last time."""
        with self._lock:
            found = self._calls, self._errors
            self._calls = self._errors = 0
        return found


def sample(at_s: float, ports: frozenset[int], counts: Counts) -> Sample:
    """Look at this process."""
    # Garbage that is only not collected yet is no leak.
    gc.collect()
    status = Path("/proc/self/status").read_text().splitlines()
    rows = (row.split() for row in status)
    fields = {row[0].rstrip(":"): row[1] for row in rows if len(row) > 1}
    calls, errors = counts.take()
    return Sample(
        at_s=at_s,
        rss_mib=int(fields["VmRSS"]) / 1024,
        threads=int(fields["Threads"]),
        files=len(os.listdir("/proc/self/fd")),  # noqa: PTH208 - names alone are wanted
        connections=connections_to(ports),
        calls=calls,
        errors=errors,
    )


def connections_to(ports: frozenset[int]) -> int:
    """How many established TCP connections of this process lead to one of these ports."""
    mine = set()
    for entry in Path("/proc/self/fd").iterdir():
        # Files are closed while we look.
        with suppress(OSError):
            mine.add(str(entry.readlink()))
    count = 0
    # gRPC reaches IPv4 addresses through sockets of IPv6, too.
    rows = [
        row for name in ("tcp", "tcp6") for row in Path("/proc/net", name).read_text().splitlines()
    ]
    for row in rows:
        fields = row.split()
        if fields[0] == "sl":
            continue
        port = int(fields[2].rpartition(":")[2], 16)
        count += fields[3] == ESTABLISHED and port in ports and f"socket:[{fields[9]}]" in mine
    return count


@contextmanager
def asked_by_threads(addresses: Sequence[str], rate: float, counts: Counts) -> Iterator[None]:
    """Calls from threads, for the block."""
    image = np.zeros((1, 1, 8, 8), np.float32)
    with Client(addresses, timeout_s=TIMEOUT_S) as client:

        def ask() -> None:
            try:
                client.infer(MODEL, image=image)
            except Exception as error:
                counts.add(error)
                raise
            counts.add(None)

        loop = OpenLoop(ask, rate=rate, threads=16, keep=False)
        with loop:
            yield


@contextmanager
def asked_by_tasks(addresses: Sequence[str], rate: float, counts: Counts) -> Iterator[None]:
    """Calls from tasks of an event loop that runs in a thread, for the block."""
    stop = threading.Event()
    thread = threading.Thread(
        target=lambda: asyncio.run(_tasks(addresses, rate, counts, stop)), name="event loop"
    )
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


async def _tasks(
    addresses: Sequence[str], rate: float, counts: Counts, stop: threading.Event
) -> None:
    image = np.zeros((1, 1, 8, 8), np.float32)
    running: set[asyncio.Task[None]] = set()
    async with AsyncClient(addresses, timeout_s=TIMEOUT_S) as client:

        async def ask() -> None:
            try:
                await client.infer(MODEL, image=image)
            except ClientError as error:
                counts.add(error)
            else:
                counts.add(None)

        due_s = time.monotonic()
        while not stop.is_set():
            due_s += 1 / rate
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            task = asyncio.create_task(ask())
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.gather(*running)


def soak(
    servers: tuple[Server, Server], minutes: float, restart_s: float, counts: Counts
) -> list[Sample]:
    """Restart the servers in turn for that long; returns the samples."""
    ports = frozenset(int(server.address.rpartition(":")[2]) for server in servers)
    samples: list[Sample] = []
    done = threading.Event()
    start_s = time.monotonic()

    def watch() -> None:
        while not done.wait(max(0.0, start_s + SAMPLE_S * (len(samples) + 1) - time.monotonic())):
            found = sample(time.monotonic() - start_s, ports, counts)
            samples.append(found)
            print(
                f"{found.at_s:6.0f} s  {found.rss_mib:7.1f} MiB  {found.threads:3} threads"
                f"  {found.files:3} files  {found.connections:2} connections"
                f"  {found.calls:5} calls  {found.errors:3} errors",
                flush=True,
            )

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        turn = 0
        while (left_s := start_s + minutes * 60 - time.monotonic()) > 0:
            time.sleep(min(left_s, restart_s))
            if left_s > restart_s:
                servers[turn % 2].restart()
                turn += 1
    finally:
        done.set()
        watcher.join()
    return samples


def growth(samples: Sequence[Sample]) -> dict[str, dict[str, float]]:
    """Per quantity: slope by least squares, per minute, and last third against first third."""
    late = [one for one in samples if one.at_s >= WARM_S] or list(samples)
    found = {}
    minutes = np.array([one.at_s for one in late]) / 60
    third = max(1, len(late) // 3)
    for name in GROWING:
        values = np.array([getattr(one, name) for one in late], dtype=float)
        slope = np.polyfit(minutes, values, 1)[0] if len(late) > 1 else float("nan")
        first, last = float(np.median(values[:third])), float(np.median(values[-third:]))
        found[name] = {"per_minute": float(slope), "first": first, "last": last}
    return found


def main() -> int:
    """Soak and print; returns the exit code, 1 when a caller got an error."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=200.0, help="calls/s")
    parser.add_argument("--restart-s", type=float, default=45.0, help="between two restarts")
    parser.add_argument("--asyncio", action="store_true", help="one AsyncClient")
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here, too")
    chosen = parser.parse_args()
    if not (chosen.repository / MODEL / "configs" / "cpu.pbtxt").is_file():
        print(
            f"error: no version of '{MODEL}' is promoted in {chosen.repository}\nhint: make demo",
            file=sys.stderr,
        )
        return 2
    where = surroundings()
    print(", ".join(f"{name} {value}" for name, value in where.items()))
    counts = Counts()
    asked = asked_by_tasks if chosen.asyncio else asked_by_threads
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            two_servers(chosen.repository, Path(folder)) as servers,
            asked([one.address for one in servers], chosen.rate, counts),
        ):
            samples = soak(servers, chosen.minutes, chosen.restart_s, counts)
    except ClickCleanError as error:
        print(f"error: {error}\nhint: {error.hint}", file=sys.stderr)
        return error.exit_code
    grown = growth(samples)
    errors = sum(one.errors for one in samples)
    print(f"\n{sum(one.calls for one in samples)} calls, {errors} errors {counts.first_error}")
    for name, values in grown.items():
        print(
            f"{name:12} {values['first']:8.1f} -> {values['last']:8.1f}"
            f"   {values['per_minute']:+.3f} a minute"
        )
    if chosen.json is not None:
        tree: dict[str, Any] = {"surroundings": where, "asyncio": chosen.asyncio}
        tree |= {"samples": [asdict(one) for one in samples], "growth": grown}
        chosen.json.write_text(json.dumps(tree, indent=2) + "\n")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
