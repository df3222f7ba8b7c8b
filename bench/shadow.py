"""What mirroring costs the caller: ``python bench/shadow.py``.

A real server with a tiny model, its challenger beside it, and one client that asks with keys at
the times of a Poisson process (an open loop: a late answer delays no later request). Rounds with
and without shadow take turns in one run, in an order that alternates; the server keeps both
versions loaded in all of them. Latency counts from the time that the request was due. The interval
is of the difference of the 99th percentiles, by resampling whole rounds, which keeps what requests
of one round have in common.

Caller, mirroring thread and server share this machine's cores, so what is measured holds the
challenger's own work, too. Production serves on other machines than the callers'.
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clickclean_client import Client, ClientError, Split
from clickclean_client.slots import SPLIT, challenger
from clickclean_server import serving
from surroundings import surroundings

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from tests.server.tiny_models import TinyRepository, linear  # noqa: E402

MODEL = "linear"
CALLERS = 8
WARM_S = 1.0
RESAMPLES = 5_000
SPLIT_READ_S = 0.05


def split_of(shadow_percent: float) -> Split:
    """Return a split that sends nobody to the challenger."""
    return Split("bench", "salt", 0.0, 1, 2, shadow_percent=shadow_percent)


def write_split(repository: TinyRepository, shadow_percent: float) -> None:
    """Serve version 2 as the challenger; the supervisor follows the file."""
    parameters = {SPLIT: split_of(shadow_percent).to_json()}
    repository.promote(challenger(MODEL), [2], linear(), parameters=parameters)


def prepare(root: Path) -> TinyRepository:
    """Write a repository with a champion and a challenger."""
    repository = TinyRepository(root)
    repository.add(MODEL, linear())
    repository.publish(MODEL, 2, linear(2))
    slot = root / challenger(MODEL)
    slot.mkdir()
    (slot / "2").symlink_to(Path("..") / MODEL / "2")
    write_split(repository, 0.0)
    return repository


def settle(client: Client, repository: TinyRepository, shadow_percent: float) -> None:
    """Change the share, and wait until the client follows it."""
    write_split(repository, shadow_percent)
    row = np.ones((1, 4), np.float32)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        # A request of every round is mirrored only with a share; so is its absence told.
        before = client.shadows.answered
        for number in range(200):
            client.infer(MODEL, x=row, key=number)
        time.sleep(SPLIT_READ_S)
        if (client.shadows.answered > before) == (shadow_percent > 0):
            return
    raise TimeoutError(f"the client does not follow a shadow share of {shadow_percent:g} %")


def ask_round(
    client: Client, pool: ThreadPoolExecutor, rate: float, seconds: float, seed: int
) -> NDArray[np.float64]:
    """Return float64[requests], milliseconds from the due time to the answer; NaN for a failure."""
    gaps = np.random.default_rng(seed).exponential(1 / rate, int(rate * seconds))
    due = np.cumsum(gaps) + time.perf_counter() + 0.05
    row = np.ones((1, 4), np.float32)
    took = np.full(len(due), np.nan)
    lock = threading.Lock()
    numbers = iter(range(len(due)))

    def work() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            wait_s = due[number] - time.perf_counter()
            if wait_s > 0:
                time.sleep(wait_s)
            try:
                client.infer(MODEL, x=row, key=number)
            except ClientError:
                continue
            took[number] = (time.perf_counter() - due[number]) * 1e3

    for worker in [pool.submit(work) for _ in range(CALLERS)]:
        worker.result()
    return took


def p99_interval(
    off: Sequence[NDArray[np.float64]], on: Sequence[NDArray[np.float64]]
) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of p99(on) - p99(off), pairs of rounds resampled."""
    numbers = np.random.default_rng(0)
    differences = np.empty(RESAMPLES)
    for index in range(RESAMPLES):
        chosen = numbers.integers(len(off), size=len(off))
        without = np.concatenate([off[pair] for pair in chosen])
        mirrored = np.concatenate([on[pair] for pair in chosen])
        differences[index] = np.percentile(mirrored, 99) - np.percentile(without, 99)
    low, high = np.percentile(differences, [2.5, 97.5])
    return float(low), float(high)


def words(name: str, rounds: Sequence[NDArray[np.float64]]) -> str:
    """Word the rounds of one variant, all their answers together."""
    every = np.concatenate(rounds)
    p50, p99 = np.percentile(every, [50, 99])
    return f"{name:10} p50 {p50:7.3f} ms   p99 {p99:7.3f} ms   {len(every):,} answers"


def main() -> int:
    """Measure and report; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=float, default=100.0, help="requests per second")
    parser.add_argument("--percent", type=float, default=10.0, help="the share that is mirrored")
    parser.add_argument("--pairs", type=int, default=12, help="rounds with, and without")
    parser.add_argument("--seconds", type=float, default=5.0, help="of a round")
    options = parser.parse_args()
    rounds: dict[bool, list[NDArray[np.float64]]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(CALLERS) as pool:
        repository = prepare(Path(folder))
        with (
            serving(repository.root) as endpoint,
            Client(
                endpoint.grpc, timeout_s=5, retry=None, experiment_refresh_s=SPLIT_READ_S
            ) as client,
        ):
            ask_round(client, pool, options.rate, WARM_S, 0)
            for pair in range(options.pairs):
                for shadow in (False, True) if pair % 2 else (True, False):
                    settle(client, repository, options.percent if shadow else 0.0)
                    found = ask_round(client, pool, options.rate, options.seconds, pair + 1)
                    rounds[shadow].append(found)
                sys.stderr.write(f"pair {pair + 1} of {options.pairs}\n")
            counts = client.shadows
    failed = {on: int(np.isnan(np.concatenate(found)).sum()) for on, found in rounds.items()}
    kept = {on: [r[~np.isnan(r)] for r in found] for on, found in rounds.items()}
    print(", ".join(f"{name} {value}" for name, value in surroundings().items()))
    print(
        f"{options.rate:g} requests/s, {options.pairs} rounds of {options.seconds:g} s each way,"
        f" load average at the end {os.getloadavg()[0]:.1f}"
    )
    print(words("shadow off", kept[False]))
    print(words(f"{options.percent:g} % on", kept[True]))
    low, high = p99_interval(kept[False], kept[True])
    print(f"p99 with minus without: 95 % interval {low:+.3f} to {high:+.3f} ms")
    verdict = "worse" if low > 0 else "better" if high < 0 else "not measurably different"
    print(f"so the caller's p99 is {verdict} in this run")
    print(
        f"failed calls: {failed[False]} off, {failed[True]} on; mirrored: {counts.answered}"
        f" answered, {counts.failed} failed, {counts.dropped} dropped"
    )
    return 0 if not sum(failed.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
