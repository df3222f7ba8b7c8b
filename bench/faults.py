"""What callers notice of faults: ``python bench/faults.py``.

Two real servers of the reference model, each supervised, and one `Client` of both that is asked at
a fixed rate (an open loop). Then, one after another: nothing, a server is killed, a server is told
to stop, a model stalls, the process of a model dies, a server is stopped and started again, a
supervisor is killed and its server started again. Between two faults both servers are well.

The promise: none of it, but for the stall, costs a caller an error, and five seconds after a server
can answer again it gets its share of the calls. Exit code 1 when that is broken.
"""

import argparse
import json
import math
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from clickclean_client import ClickCleanError, Client
from surroundings import surroundings

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from tests.e2e.open_loop import Attempts, OpenLoop, Sent  # noqa: E402
from tests.e2e.two_servers import (  # noqa: E402
    MODEL,
    STALLING,
    Server,
    two_servers,
)

TIMEOUT_S = 1.0
BACK_MAX_S = 5.0
STALL_S = 2.0
CALM_S = 4.0
# How long both endpoints must have got traffic before a fault counts as over.
SETTLED_S = 1.5
GIVE_UP_S = 15.0
# An endpoint takes traffic while it answers this share of what it would get if all were equal, in
# every window of this length.
SHARE = 0.2
PULSE_S = 0.1
WINDOW_S = 0.5


@dataclass(frozen=True)
class Fault:
    """`act` does it to one server, and returns when the server is left to itself again.

    With `promised`, callers must not get an error.
    """

    name: str
    model: str
    act: Callable[[Server], None]
    promised: bool = True


def die_and_start(server: Server) -> None:
    """Kill the supervisor, then start again."""
    server.kill_supervisor()
    server.restart()


def stall(server: Server) -> None:
    """Let the stalling model compute nothing for a while."""
    with server.stalled():
        time.sleep(STALL_S)


FAULTS = (
    Fault("nothing", MODEL, lambda _: time.sleep(CALM_S)),
    Fault("kill -9 of a server", MODEL, Server.kill_server),
    Fault("SIGTERM of a server", MODEL, Server.terminate_server),
    Fault("a model stalls for 2 s", STALLING, stall, promised=False),
    Fault("kill -9 of a model process", MODEL, Server.kill_model),
    Fault("stop and start", MODEL, Server.restart),
    Fault("kill -9 of a supervisor, start", MODEL, die_and_start),
)


@dataclass(frozen=True)
class Outcome:
    """One line of the table.

    Attributes:
        calls: Due between the fault and the time when all was well again.
        errors: Calls without an answer, by class.
        p50_ms: Of all calls, those without an answer too; so are p99_ms and max_ms.
        attempts: Requests sent for one call, mean.
        repeated: Share of calls that took more than one.
        well_s: From the fault until the server answers a request to itself, whoever asks.
        back_s: From the fault until both endpoints take traffic; NaN if they did not.
        late: Calls that began 10 ms or more after they were due, because all threads waited.
        first_error: In words, "" without any.
        kept: Whether the promise was.
    """

    fault: str
    calls: int
    errors: dict[str, int]
    p50_ms: float
    p99_ms: float
    max_ms: float
    attempts: float
    repeated: float
    well_s: float
    back_s: float
    late: int
    first_error: str
    kept: bool


def main() -> int:
    """Do it all and print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=100.0, help="calls/s")
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--only", metavar="WORDS", default="", help="faults whose name has this")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here, too")
    chosen = parser.parse_args()
    if not (chosen.repository / MODEL / "configs" / "cpu.pbtxt").is_file():
        print(
            f"error: no version of '{MODEL}' is promoted in {chosen.repository}\nhint: make demo",
            file=sys.stderr,
        )
        return 2
    faults = [one for one in FAULTS if chosen.only in one.name]
    where = surroundings()
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            two_servers(chosen.repository, Path(folder)) as servers,
        ):
            found = [
                suffer(fault, servers, servers[number % 2], chosen.rate, chosen.threads)
                for number, fault in enumerate(faults)
            ]
    except ClickCleanError as error:
        print(f"error: {error}\nhint: {error.hint}", file=sys.stderr)
        return error.exit_code
    show(found, where, chosen)
    if chosen.json is not None:
        tree = {"surroundings": where, "rate": chosen.rate, "threads": chosen.threads}
        tree["faults"] = [asdict(one) for one in found]
        chosen.json.write_text(json.dumps(tree, indent=2) + "\n")
    return 0 if all(one.kept for one in found) else 1


def suffer(
    fault: Fault, servers: tuple[Server, Server], victim: Server, rate: float, threads: int
) -> Outcome:
    """One fault under load, and what the callers saw of it."""
    print(f"{fault.name} ...", file=sys.stderr, flush=True)
    image = np.zeros((1, 1, 8, 8), np.float32)
    attempts = Attempts()
    addresses = [server.address for server in servers]
    with (
        Client(addresses, timeout_s=TIMEOUT_S, hooks=[attempts]) as client,
        OpenLoop(
            lambda: client.infer(fault.model, image=image), rate=rate, threads=threads
        ) as loop,
    ):
        time.sleep(SETTLED_S)
        start_s = time.monotonic()
        with Pulse(victim, fault.model) as pulse:
            fault.act(victim)
            acted_s = time.monotonic()
            least = SHARE * rate / len(servers) * WINDOW_S
            while True:
                time.sleep(WINDOW_S / 5)
                now_s = time.monotonic()
                idle_s = max(last_idle(attempts, one, start_s, now_s, least) for one in addresses)
                well = now_s - max(idle_s, pulse.well_since_s) > SETTLED_S
                if well or now_s - acted_s > GIVE_UP_S:
                    break
        end_s = now_s - TIMEOUT_S  # what was due later may not have ended
        calls = loop.between(start_s, end_s)
    back_s = idle_s - start_s if well else float("nan")
    well_s = max(0.0, pulse.well_since_s - start_s)
    return outcome(fault, calls, attempts, (start_s, end_s), (well_s, back_s))


class Pulse:
    """Asks one server by itself, all the time in the block."""

    def __init__(self, server: Server, model: str) -> None:
        self.well_since_s = 0.0  # on the monotonic clock; the future while it does not answer
        self._ask = partial(server.answers, model)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        well = True
        while not self._stop.wait(PULSE_S):
            before, well = well, self._ask()
            if not well:
                self.well_since_s = float("inf")
            elif not before:
                self.well_since_s = time.monotonic()

    def __enter__(self) -> "Pulse":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def last_idle(
    attempts: Attempts, address: str, start_s: float, end_s: float, least: float
) -> float:
    """The end of the last window since `start_s` in which an endpoint answered too little."""
    times = sorted(
        one.ended_s
        for one in list(attempts.tried)
        if one.ok and one.endpoint == address and one.ended_s >= start_s
    )
    ended = start_s
    count = math.ceil(least)
    # Between `count` answers in a row there is a window with fewer, if they are far apart.
    marks = [start_s] * count + times + [end_s] * count
    for before, after in zip(marks, marks[count:], strict=False):
        if after - before > WINDOW_S and before < end_s:
            ended = max(ended, after)
    return ended


def outcome(
    fault: Fault,
    calls: Sequence[Sent],
    attempts: Attempts,
    window: tuple[float, float],
    healed_s: tuple[float, float],
) -> Outcome:
    """Count."""
    well_s, back_s = healed_s
    latency_ms = np.array([one.ended_s - one.began_s for one in calls]) * 1e3
    errors = Counter(one.error for one in calls if one.error)
    counts = [count for began_s, count in attempts.counts if window[0] <= began_s < window[1]]
    return Outcome(
        fault=fault.name,
        calls=len(calls),
        errors=dict(errors),
        p50_ms=float(np.percentile(latency_ms, 50)),
        p99_ms=float(np.percentile(latency_ms, 99)),
        max_ms=float(latency_ms.max()),
        attempts=sum(counts) / max(1, len(counts)),
        repeated=sum(count > 1 for count in counts) / max(1, len(counts)),
        well_s=well_s,
        back_s=back_s,
        late=sum(one.began_s - one.due_s >= 0.01 for one in calls),  # noqa: PLR2004
        first_error=next((one.text for one in calls if one.error), ""),
        kept=back_s - well_s <= BACK_MAX_S and not (fault.promised and errors),
    )


def show(found: Sequence[Outcome], where: dict[str, str], chosen: argparse.Namespace) -> None:
    """Print the table."""
    print(", ".join(f"{name} {value}" for name, value in where.items()))
    print(
        f"one Client of two servers, {chosen.rate:g} calls/s from {chosen.threads} threads,"
        f" timeout_s={TIMEOUT_S:g}\n"
    )
    print(
        f"{'fault':32} {'calls':>6} {'errors':>7} {'p50':>8} {'p99':>8} {'max':>8}"
        f" {'attempts':>9} {'repeated':>9} {'late':>5} {'well':>7} {'back':>7}"
    )
    for one in found:
        print(
            f"{one.fault:32} {one.calls:6} {sum(one.errors.values()):7}"
            f" {one.p50_ms:5.1f} ms {one.p99_ms:5.0f} ms {one.max_ms:5.0f} ms"
            f" {one.attempts:9.3f} {one.repeated:8.1%} {one.late:6}"
            f" {one.well_s:5.1f} s {one.back_s:5.1f} s"
            f"{'' if one.kept else '  BROKEN'}"
        )
        for name, count in one.errors.items():
            print(f"    {count} x {name}, the first of all: {one.first_error}")


if __name__ == "__main__":
    sys.exit(main())
