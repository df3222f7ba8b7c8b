"""End to end: the real Locust, the real client, gRPC, and a server that misbehaves on demand."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clickclean_client import ModelNotFound, Unavailable
from clickclean_loadtest import LoadResult, LoadSpec, LoadTestError, Verdict, run

LOCUSTFILE = Path(__file__).parents[2] / "loadtest" / "locustfile.py"
LOCUST = (sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary")

StartFake = Callable[..., str]


def spec(endpoint: str, repository: Path, **changes: Any) -> LoadSpec:
    # Limits so wide that a busy machine cannot change a verdict.
    fields: dict[str, Any] = {
        "model": "double",
        "endpoint": endpoint,
        "repository": repository,
        "rate": 100.0,
        "duration_s": 2.0,
        "mean_ms": 20_000.0,
        "p99_ms": 60_000.0,
        "users": 100,
    }
    return LoadSpec(**{**fields, **changes})


def test_a_right_and_fast_server_meets(
    fake_server: StartFake, repository: Path, tmp_path: Path
) -> None:
    told: list[tuple[int, int, int, float]] = []
    load = spec(
        fake_server(),
        repository,
        rate=200.0,
        duration_s=2.5,
        locust_args=("--csv", str(tmp_path / "csv")),
    )
    result = run(load, on_progress=lambda *numbers: told.append(numbers))
    assert result.verdict is Verdict.MEET, result.table()
    assert result.exit_code == 0
    assert result.requests + result.warmup_requests == 500
    assert result.warmup_requests == 50
    assert result.errors == {}
    assert result.versions == {"3": 500}
    assert result.checked == 500
    assert result.accuracy == 1.0
    assert len(result.sample_ms) == 450
    assert told[0][1:3] == (500, 0)
    stats = (tmp_path / "csv_stats.csv").read_text(encoding="utf-8")
    assert "grpc,double," in stats


def test_a_slow_server_misses(fake_server: StartFake, repository: Path) -> None:
    load = spec(fake_server("--delay-ms", "1000"), repository, rate=50.0, mean_ms=600.0)
    result = run(load)
    assert result.verdict is Verdict.MISS, result.table()
    assert result.latency.p50_ms >= 1000
    assert "over the target of 600 ms" in result.reasons[0]


def test_wrong_answers_and_failures_are_errors_of_their_own_kinds(
    fake_server: StartFake, repository: Path
) -> None:
    result = run(spec(fake_server("--wrong", "--fail-every", "10"), repository))
    assert result.verdict is Verdict.MISS, result.table()
    assert set(result.errors) == {"WrongAnswer", "ServerFault"}
    assert result.error_count == result.requests
    assert "the model failed" in result.error_examples["ServerFault"]


def test_a_server_gone_in_the_middle_is_a_miss_in_bounded_time(
    fake_server: StartFake, repository: Path
) -> None:
    load = spec(fake_server("--die-at", "150"), repository, duration_s=4.0)
    result = run(load)
    assert result.verdict is Verdict.MISS, result.table()
    assert result.errors["Unavailable"] > 50
    assert result.requests + result.warmup_requests == 400


def test_a_stall_shows_in_the_corrected_latency_only(
    fake_server: StartFake, repository: Path
) -> None:
    endpoint = fake_server("--stall-at", "150", "--stall-s", "2")
    load = spec(endpoint, repository, duration_s=4.0, p99_ms=800.0, users=2)
    result = run(load)
    assert result.latency.p95_ms > 800, result.table()
    assert result.service_time.p95_ms < result.latency.p95_ms / 2
    assert result.verdict is not Verdict.MEET


def test_rows_of_an_inputs_file_are_sent_and_scored(fake_server: StartFake, tmp_path: Path) -> None:
    rows = np.eye(4, dtype=np.float32)
    labels = np.array([0, 1, 2, 0])  # one is wrong on purpose
    np.savez(tmp_path / "rows.npz", x=rows, label=labels)
    load = spec(
        fake_server(),
        tmp_path / "no-repository",
        inputs=tmp_path / "rows.npz",
        batch=4,
        accuracy_min=0.9,
    )
    result = run(load)
    assert result.verdict is Verdict.MISS
    assert result.accuracy == pytest.approx(0.75)
    assert result.checked == 0
    assert any("were not compared" in reason for reason in result.reasons)


def test_what_cannot_start_is_an_error_before_any_load(
    fake_server: StartFake, repository: Path, tmp_path: Path
) -> None:
    endpoint = fake_server()
    with pytest.raises(Unavailable):
        run(spec("127.0.0.1:9", repository))
    with pytest.raises(ModelNotFound):
        run(spec(endpoint, repository, model="digits"))
    with pytest.raises(LoadTestError, match=r"nothing to send to double version 3: .*golden\.npz"):
        run(spec(endpoint, tmp_path))
    with pytest.raises(LoadTestError, match="ended without a result") as caught:
        run(spec(endpoint, repository, locust_args=("--no-such-flag",)))
    assert "no-such-flag" in caught.value.hint


def test_plain_locust_gives_the_same_verdict_as_exit_code_and_file(
    fake_server: StartFake, repository: Path, tmp_path: Path
) -> None:
    flags = ("--cc-model=double", "--cc-rate=100", f"--cc-repository={repository}")
    endpoint = fake_server("--fail-every=10")
    limits = ("--run-time=3s", "--cc-mean-ms=20000", "--cc-p99-ms=60000")
    done = subprocess.run(
        [*LOCUST, f"--host={endpoint}", *flags, *limits, f"--cc-result={tmp_path}/r.json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 10, done.stderr
    assert "verdict: miss" in done.stderr
    assert "Traceback" not in done.stderr
    result = LoadResult.from_json((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert result.verdict is Verdict.MISS
    assert result.requests + result.warmup_requests == 300


@pytest.mark.parametrize(
    ("flags", "code", "says"),
    [
        (("--host=127.0.0.1:9", "--cc-model=double"), 1, "error: Model 'double' at 127.0.0.1:9"),
        (("--host=nonsense", "--cc-model=double"), 2, "error: "),
        (("--cc-repository=/no/such/folder",), 2, "error: --cc-model is missing"),
        (("--cc-model=double", "--cc-mean-ms=soon"), 2, "error: --cc-mean-ms is 'soon'"),
        (("--cc-model=double", "--cc-result=/no/such/folder/r"), 2, "error: load test result"),
        (("--cc-model=double", "--master"), 2, "error: one schedule of arrivals"),
    ],
)
def test_plain_locust_refuses_in_a_sentence(flags: tuple[str, ...], code: int, says: str) -> None:
    done = subprocess.run(
        [*LOCUST, "--run-time=3s", *flags],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupted_locust_still_judges_what_it_saw(
    fake_server: StartFake, repository: Path, tmp_path: Path
) -> None:
    flags = ("--cc-model=double", "--cc-rate=100", f"--cc-repository={repository}")
    process = subprocess.Popen(
        [*LOCUST, "--host", fake_server(), *flags, "--run-time=60s", f"--cc-result={tmp_path}/r"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "All users spawned" in line:
                break
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        output = process.stdout.read()
        assert process.wait(timeout=30) in (11, 12), output
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    result = json.loads((tmp_path / "r").read_text(encoding="utf-8"))
    assert 50 < result["requests"] < 3000
    assert any("stopped before its end" in reason for reason in result["reasons"])


def test_ctrl_c_in_the_caller_ends_locust_too(fake_server: StartFake, repository: Path) -> None:
    children: list[int] = []

    def interrupt(*_: object) -> None:
        mine = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text(encoding="ascii")
        children.extend(int(pid) for pid in mine.split() if b"locust" in cmdline(int(pid)))
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(spec(fake_server(), repository, duration_s=60.0), on_progress=interrupt)
    with pytest.raises(ProcessLookupError):  # neither running nor left as a zombie
        os.kill(children[0], 0)


def test_locust_ends_when_its_caller_was_killed(fake_server: StartFake, repository: Path) -> None:
    caller = subprocess.Popen(
        [sys.executable, "-c", CALLER, fake_server(), str(repository)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert caller.stdout is not None
    locust = int(caller.stdout.readline())
    assert b"locust" in cmdline(locust)
    caller.kill()
    caller.wait()
    caller.stdout.close()
    end_s = time.monotonic() + 30
    while time.monotonic() < end_s and b"locust" in cmdline(locust):
        time.sleep(0.1)
    assert b"locust" not in cmdline(locust)


CALLER = """
import os, sys
from pathlib import Path
from clickclean_loadtest import LoadSpec, run

def tell(*numbers):
    me = os.getpid()
    print(Path(f"/proc/{me}/task/{me}/children").read_text().split()[0], flush=True)

run(LoadSpec("double", 50.0, 60.0, sys.argv[1], repository=Path(sys.argv[2])), on_progress=tell)
"""


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
