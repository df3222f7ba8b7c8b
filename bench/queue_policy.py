"""What a queue policy does to the CPU fleet's server: ``python bench/queue_policy.py``.

The same promoted `digits` version served twice, with and without ``default_queue_policy`` in its
``configs/cpu.pbtxt``, asked in turn by callers that ask again at once. A request that a lost
wake-up stalls takes up to 500 ms, or is refused by the timeout of the policy.
"""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from clickclean_client import Client, Golden
from clickclean_client.protocol import format_model_config, parse_model_config
from clickclean_export.repository import CPU_CONFIG
from clickclean_server import serving
from closed_loop import Call, Connect, Sample, run_round
from serving import MODEL, ROOT, NothingToBenchError
from surroundings import surroundings

CALLERS = (1, 2, 4, 16)
ROUNDS = 5
SECONDS = 2.0
STALLED_MS = 100.0


def variant(source: Path, target: Path, *, timeout_ms: int) -> Path:
    """Copy the repository's model with a queue timeout, or without any policy for 0."""
    shutil.copytree(source / MODEL, target / MODEL)
    path = target / MODEL / CPU_CONFIG
    config = parse_model_config(path.read_text())
    config.dynamic_batching.ClearField("default_queue_policy")
    if timeout_ms:
        policy = config.dynamic_batching.default_queue_policy
        policy.default_timeout_microseconds = timeout_ms * 1000
        policy.allow_timeout_override = True
    path.write_text(format_model_config(config))
    return target


def connect_to(endpoint: str, golden: Golden) -> Connect:
    """Return what opens a connection that asks with one golden row per call."""
    rows = [golden.row(number).inputs for number in range(golden.rows)]

    @contextmanager
    def connect() -> Iterator[Call]:
        with Client(endpoint, timeout_s=5.0, retry=None) as client:
            yield lambda number: client.infer(MODEL, rows[number % len(rows)])

    return connect


def figures(samples: list[Sample]) -> str:
    """Word the rounds of one variant at one number of callers."""
    stalled = sum(int((sample.latency_ms > STALLED_MS).sum()) for sample in samples)
    return (
        f"{median(sample.rate for sample in samples):8,.0f}"
        f"{median(sample.percentile_ms(50) for sample in samples):9.2f}"
        f"{max(sample.percentile_ms(100) for sample in samples):9.0f}"
        f"{stalled:9d}{sum(sample.errors for sample in samples):9d}"
    )


def main() -> None:
    """Measure both variants in turn and print the table."""
    repository = ROOT / "model_repository"
    goldens = sorted(repository.glob(f"{MODEL}/*/golden.npz"))
    if not goldens:
        sys.exit(f"error: {NothingToBenchError(repository)}\nhint: make demo")
    golden = Golden.load(goldens[-1])
    with tempfile.TemporaryDirectory() as folder:
        with_policy = variant(repository, Path(folder, "with"), timeout_ms=100)
        without = variant(repository, Path(folder, "without"), timeout_ms=0)
        with serving(with_policy) as one, serving(without) as other:
            field = {
                "timeout 100 ms": connect_to(one.grpc, golden),
                "no policy": connect_to(other.grpc, golden),
            }
            found: dict[tuple[int, str], list[Sample]] = {}
            for number in range(1, ROUNDS + 1):
                sys.stderr.write(f"round {number} of {ROUNDS}\n")
                for callers in CALLERS:
                    for name, connect in field.items():
                        sample = run_round(connect, callers=callers, seconds=SECONDS)
                        found.setdefault((callers, name), []).append(sample)
    print(", ".join(f"{name} {value}" for name, value in surroundings().items()))
    print(f"medians of {ROUNDS} rounds of {SECONDS:g} s; stalls and refusals are sums\n")
    print("callers  queue policy    requests/s  p50 ms   max ms  >100 ms  refused")
    for (callers, name), samples in found.items():
        print(f"{callers:7d}  {name:<16}{figures(samples)}")


if __name__ == "__main__":
    main()
