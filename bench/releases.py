"""Promotes and rollbacks under load: ``python bench/releases.py --releases 1000``.

A real server with two versions of the digits net, whose answers differ by a factor. Callers ask all
the time, some name no version, some name 1 or 2. Meanwhile the live version goes to and fro. Every
answer is compared with the golden answer of the version that it claims, and for every caller the
versions are followed through each release. At the end plain rollbacks are timed.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from clickclean_client import Client, ClientError, Golden
from clickclean_export.release.live import release, roll_back
from clickclean_export.release.rollout import Settings
from clickclean_export.release.server import Address
from clickclean_export.release.status import status
from clickclean_export.repository import Repository
from clickclean_server import Endpoint, serving
from surroundings import surroundings

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from tests.models.versions import add_version  # noqa: E402

MODEL = "digits"
VERSIONS = (1, 2)
# A version that is named by callers stays; all of them ask many times in the drain.
HELD = Settings(hold=True, drain_s=1.0)
PLAIN_ROLLBACKS = 20
TIMEOUT_S = 20.0


@dataclass
class Caller:
    """One thread that asks; times are of the monotonic clock, in seconds."""

    endpoint: str
    goldens: dict[int, Golden]
    version: int | None
    rate: float
    answers: list[tuple[float, float, int]] = field(default_factory=list)
    wrong: int = 0
    failures: Counter[str] = field(default_factory=Counter)

    def ask(self, stop: threading.Event) -> None:
        """Ask until told to stop."""
        inputs = self.goldens[1].inputs
        due = time.monotonic()
        with Client(self.endpoint, timeout_s=TIMEOUT_S, retry=None) as client:
            while not stop.is_set():
                due = max(due + 1 / self.rate, time.monotonic())
                time.sleep(max(0.0, due - time.monotonic()))
                began = time.monotonic()
                try:
                    answer = client.infer(MODEL, inputs, version=self.version)
                except ClientError as error:
                    self.failures[f"{type(error).__name__}: {error}"] += 1
                    continue
                claimed = int(answer.version)
                self.answers.append((began, time.monotonic(), claimed))
                named_another = self.version not in (None, claimed)
                self.wrong += named_another or not self.goldens[claimed].compare(answer).ok

    def went_back(self, windows: list[tuple[float, float, int]]) -> int:
        """Count the releases in which this caller saw the new version and then the old one."""
        count = 0
        for start, end, new in windows:
            seen = [v for began, ended, v in self.answers if began >= start and ended <= end]
            arrived = seen.index(new) if new in seen else len(seen)
            count += any(version != new for version in seen[arrived:])
        return count


def memory_mib(endpoint: Endpoint) -> float:
    """Return the resident memory of tritonserver, without its model processes; NaN if unknown."""
    for entry in Path("/proc").iterdir():
        # Processes come and go while we look.
        with suppress(OSError, StopIteration):
            if entry.name.isdecimal() and (entry / "comm").read_text().strip() == "tritonserver":
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == endpoint.pid:
                    lines = (entry / "status").read_text().splitlines()
                    resident = next(one for one in lines if one.startswith("VmRSS"))
                    return int(resident.split()[1]) / 1024
    return float("nan")


def main() -> None:
    """Run it and print the figures; exit code 1 when a request failed or an answer was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--releases", type=int, default=1000)
    parser.add_argument("--unnamed", type=int, default=6, help="callers that name no version")
    parser.add_argument("--named", type=int, default=4, help="callers that name 1 or 2")
    parser.add_argument("--rate", type=float, default=10.0, help="requests/s of each")
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    chosen = parser.parse_args()
    source = chosen.repository / MODEL / "1"
    if not source.is_dir():
        print(f"error: {source} is missing\nhint: make demo", file=sys.stderr)
        raise SystemExit(2)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        shutil.copytree(source, root / MODEL / "1")
        add_version(root / MODEL, 2)
        release(Repository(root), MODEL, 1)
        with serving(root, models=[MODEL]) as endpoint:
            raise SystemExit(0 if under_load(Repository(root), endpoint, chosen) else 1)


def under_load(repository: Repository, endpoint: Endpoint, chosen: argparse.Namespace) -> bool:
    """Release to and fro; returns whether nothing failed."""
    servers = [Address(endpoint.grpc, endpoint.key)]
    goldens = {
        version: Golden.load(repository.version_dir(MODEL, version) / "golden.npz").head(1)
        for version in VERSIONS
    }
    wanted = [None] * chosen.unnamed + [VERSIONS[i % 2] for i in range(chosen.named)]
    callers = [Caller(endpoint.grpc, goldens, version, chosen.rate) for version in wanted]
    stop = threading.Event()
    threads = [threading.Thread(target=caller.ask, args=(stop,)) for caller in callers]
    # Version 2 can be named once it has been loaded.
    release(repository, MODEL, 2, servers=servers, settings=Settings(hold=True, drain_s=0.0))
    for thread in threads:
        thread.start()
    time.sleep(1)
    windows: list[tuple[float, float, int]] = []
    memory: list[float] = []
    began = time.monotonic()
    for number in range(chosen.releases):
        start = time.monotonic()
        live = repository.promoted(MODEL)
        if number % 2:
            roll_back(repository, MODEL, servers=servers, settings=HELD)
        else:
            release(repository, MODEL, 3 - (live or 1), servers=servers, settings=HELD)
        windows.append((start, time.monotonic(), repository.promoted(MODEL) or 0))
        memory.append(memory_mib(endpoint))
        if (number + 1) % 25 == 0:
            failed = sum(sum(caller.failures.values()) for caller in callers)
            rate = (time.monotonic() - began) / (number + 1)
            texts = sum((caller.failures for caller in callers), Counter()).most_common(1)
            print(
                f"{number + 1}/{chosen.releases} releases, {failed} failed requests,"
                f" {rate:.1f} s each {texts or ''}",
                file=sys.stderr,
            )
    stop.set()
    for thread in threads:
        thread.join()
    plain = []
    for _ in range(PLAIN_ROLLBACKS):
        start = time.monotonic()
        roll_back(repository, MODEL, servers=servers)
        plain.append(time.monotonic() - start)
    return show(callers, windows, memory, plain, status(repository, MODEL, servers).degraded)


def show(
    callers: list[Caller],
    windows: list[tuple[float, float, int]],
    memory: list[float],
    plain: list[float],
    degraded: bool,
) -> bool:
    """Print the figures."""
    answered = sum(len(caller.answers) for caller in callers)
    failures = sum((caller.failures for caller in callers), Counter())
    wrong = sum(caller.wrong for caller in callers)
    back = sum(caller.went_back(windows) for caller in callers if caller.version is None)
    took = sorted(end - start for start, end, _ in windows)
    for name, value in surroundings().items():
        print(f"{name:34} {value}")
    unnamed = sum(caller.version is None for caller in callers)
    print(f"{'callers':34} {unnamed} name no version, {len(callers) - unnamed} name 1 or 2")
    print(f"{'promotes and rollbacks':34} {len(windows)}")
    print(f"{'requests answered':34} {answered}")
    print(f"{'requests failed':34} {sum(failures.values())}")
    for text, count in failures.most_common(3):
        print(f"    {count} x {text}")
    print(f"{'answers unlike their version':34} {wrong}")
    print(f"{'releases seen going back':34} {back}")
    print(
        f"{'one release, median and longest':34} {statistics.median(took):.2f} s, {took[-1]:.2f} s"
    )
    print(
        f"{'plain rollback, idle server':34} median {statistics.median(plain):.2f} s,"
        f" longest {max(plain):.2f} s of {len(plain)}"
    )
    tenth = max(1, len(memory) // 10)
    first, last = statistics.median(memory[:tenth]), statistics.median(memory[-tenth:])
    print(
        f"{'memory of tritonserver':34} {first:.1f} MiB in the first tenth, {last:.1f} in the last:"
        f" {(last - first) * 1024 / max(1, len(windows) - tenth):.1f} KiB a release"
    )
    print(f"{'status at the end':34} {'degraded' if degraded else 'well'}")
    return not (failures or wrong or back or degraded)


if __name__ == "__main__":
    main()
