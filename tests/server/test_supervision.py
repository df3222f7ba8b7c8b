import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import pytest

from clickclean_client import Admin, Client, ClientError, Golden
from clickclean_server import serving
from clickclean_server.diagnosis import Diagnosis, Verdict
from clickclean_server.ownership import start_time, sweep
from clickclean_server.probe import Outcome, Prober
from tests.server.tiny_models import TinyRepository, linear, slow
from tests.server.watching import Watch, eventually, leftovers, owner_of_supervisor

ONE_ROW = np.ones((1, 4), np.float32)


def answers(client: Client, model: str = "linear") -> bool:
    try:
        client.infer(model, x=ONE_ROW, timeout_s=3)
    except ClientError:
        return False
    return True


def test_a_dead_model_process_is_revived(repository: TinyRepository) -> None:
    repository.add("linear", linear())
    repository.add("other", linear())
    with serving(repository.root) as endpoint, Client(endpoint.grpc) as client:
        watch = Watch(endpoint)
        server, other = watch.server(), watch.model_process("other")
        dead = watch.model_process("linear")
        model_file = repository.root / "linear" / "1" / "model.onnx"
        before = model_file.stat()

        os.kill(dead, signal.SIGKILL)
        assert watch.next_event("dead")["model"] == "linear"
        watch.next_event("revived")

        assert answers(client)
        assert watch.model_process("linear") != dead
        # Neither the server nor the other model noticed, and a published file is never touched.
        assert (watch.server(), watch.model_process("other")) == (server, other)
        assert model_file.stat().st_mtime_ns == before.st_mtime_ns


def test_a_frozen_model_process_is_replaced(repository: TinyRepository) -> None:
    repository.add("linear", linear())
    with serving(repository.root) as endpoint, Client(endpoint.grpc) as client:
        watch = Watch(endpoint)
        frozen = watch.model_process("linear")
        os.kill(frozen, signal.SIGSTOP)
        watch.next_event("revived", "restarted")
        assert answers(client)
        # Were it only set aside, going on later would crash the server.
        with suppress(ProcessLookupError):
            os.kill(frozen, signal.SIGCONT)
        assert watch.model_process("linear") != frozen
        assert answers(client)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_dead_or_frozen_server_is_restarted(
    repository: TinyRepository, how: signal.Signals
) -> None:
    repository.add("linear", linear())
    with serving(repository.root) as endpoint, Client(endpoint.grpc) as client:
        watch = Watch(endpoint)
        before = watch.server()
        os.kill(before, how)
        watch.next_event("restarted")
        # On the same port, with a connection that was open before.
        eventually(lambda: answers(client), "an answer")
        assert watch.server() != before
    assert not watch.leftovers()


def test_a_server_that_cannot_be_kept_up_is_given_up(repository: TinyRepository) -> None:
    repository.add("linear", linear())
    command = [sys.executable, "-m", "clickclean_server", "--repository", str(repository.root)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as supervisor:
        assert supervisor.stdout is not None
        supervisor.stdout.readline()
        owner = owner_of_supervisor(supervisor.pid)

        def crash() -> None:
            while supervisor.poll() is None:
                for leftover in leftovers(owner):
                    with suppress(ProcessLookupError, ValueError):
                        os.kill(int(leftover), signal.SIGKILL)
                threading.Event().wait(0.3)

        crasher = threading.Thread(target=crash)
        crasher.start()
        _, progress = supervisor.communicate(timeout=90)
        crasher.join()
    assert supervisor.returncode == 1
    assert "error: Tritonserver failed 5 times within 60 s." in progress
    assert not leftovers(owner)


def test_a_golden_request_tells_busy_from_hung(repository: TinyRepository) -> None:
    repository.add("slow", slow())
    golden = Golden.load(repository.root / "slow" / "1" / "golden.npz")
    diagnosis = Diagnosis(hang_after_s=0.0)
    with ExitStack() as stack:
        endpoint = stack.enter_context(serving(repository.root))
        client = stack.enter_context(Client(endpoint.grpc, timeout_s=60))
        prober = Prober(client, stack.enter_context(Admin(endpoint.grpc)))
        x = np.ones((1, 1), np.float32)
        with ThreadPoolExecutor(8) as pool:
            calls = [pool.submit(client.infer, "slow", x=x) for _ in range(8)]
            first = prober.probe("slow", 1, golden, 0.1)
            diagnosis.judge(first, started=0, now=0)
            eventually(lambda: sum(call.done() for call in calls) >= 2, "two answers")
            second = prober.probe("slow", 1, golden, 0.1)
            assert {first.outcome, second.outcome} == {Outcome.LATE}
            assert diagnosis.judge(second, started=9, now=9) is Verdict.BUSY
            assert all(call.result()["y"] == 1 for call in calls)
        os.kill(Watch(endpoint).server(), signal.SIGSTOP)
        third = prober.probe("slow", 1, golden, 0.1)
        assert third.executions is None
        assert diagnosis.judge(third, started=10, now=11) is Verdict.HUNG


def servers(pids: list[int]) -> list[int]:
    """Those of the processes that are a tritonserver and live."""
    return [pid for pid in pids if b"tritonserver\0" in cmdline(pid) and start_time(pid)]


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_a_killed_supervisor_takes_its_server_along_and_leaves_no_trace(
    repository: TinyRepository,
) -> None:
    repository.add("linear", linear())
    command = [sys.executable, "-m", "clickclean_server", "--repository", str(repository.root)]
    with subprocess.Popen([*command, "--json", "--quiet"], stdout=subprocess.PIPE) as supervisor:
        assert supervisor.stdout is not None
        supervisor.stdout.readline()
        owner = owner_of_supervisor(supervisor.pid)
        processes = [int(item) for item in leftovers(owner) if item.isdecimal()]
        assert len(processes) == 2
        assert len(servers(processes)) == 1
        supervisor.kill()
    # The kernel ends the server. Its model process ends by itself, but not when the server died
    # between an answer and its receipt; whatever is left is for the next start to remove.
    eventually(lambda: not servers(processes), "the end of the server")
    assert leftovers(owner), "the regions are still there for the next start to remove"
    with serving(repository.root) as endpoint:
        assert not leftovers(owner)
        swept = Watch(endpoint).next_event("swept")
        assert swept["regions"] >= 1
        # What a live supervisor owns is not swept.
        sweep()
        assert Watch(endpoint).leftovers()
        with Client(endpoint.grpc) as client:
            assert answers(client)
