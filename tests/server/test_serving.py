import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from clickclean_client import AccessRefused, Admin, Client
from clickclean_server import ServerLostError, serving
from clickclean_server.ownership import start_time
from tests.server.tiny_models import EMBEDDING, WEIGHTS, TinyRepository, linear, pair, unbatched
from tests.server.watching import Watch, eventually, leftovers, owner_of_supervisor

ONE_ROW = np.ones((1, 4), np.float32)


def test_serves_what_is_promoted_and_leaves_nothing_behind(repository: TinyRepository) -> None:
    repository.add("linear", linear())
    repository.add("pair", pair())
    repository.add("unbatched", unbatched())
    repository.publish("linear", 2, linear(2))
    repository.publish("never_promoted", 1, linear())
    (repository.root / "README.md").write_text("a foreign file")
    (repository.root / "linear" / ".staging-1").mkdir()

    with serving(repository.root) as endpoint:
        watch = Watch(endpoint)
        assert endpoint.models == {"linear": [1], "pair": [1], "unbatched": [1]}
        assert watch.leftovers()
        with Client(endpoint.grpc, timeout_s=10) as client:
            x = np.ones((3, 4), np.float32)
            answer = client.infer("linear", x=x)
            np.testing.assert_allclose(answer["y"], x @ WEIGHTS)
            assert answer.version == "1"
            ids = np.array([[7, 8, 9, 1, 2]])
            tokens = client.infer("pair", ids=ids, bias=np.zeros((1, 4), np.float32))["tokens"]
            np.testing.assert_allclose(tokens, EMBEDDING[ids])
            signs = np.array([[-1, 0, 2]], np.float32)
            relu = client.infer("unbatched", x=signs)["y"]
            np.testing.assert_allclose(relu, np.maximum(signs, 0))
        assert b"Started GRPCInferenceService" in endpoint.log.read_bytes()
        skipped = [event["model"] for event in watch.events() if event["event"] == "skipped"]
        assert skipped == ["never_promoted"]

    assert not watch.leftovers()
    assert [event["event"] for event in watch.events()][-2:] == ["stopping", "stopped"]


def test_metrics_are_open_and_administration_is_not(repository: TinyRepository) -> None:
    repository.add("linear", linear())
    with serving(repository.root) as endpoint:
        with urllib.request.urlopen(endpoint.metrics, timeout=10) as page:  # noqa: S310
            assert b'nv_inference_count{model="linear"' in page.read()
        with Admin(endpoint.grpc) as admin, pytest.raises(AccessRefused):
            admin.unload("linear")
        request = urllib.request.Request(f"{endpoint.http}/v2/models/linear/infer", data=b"{}")  # noqa: S310
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(request, timeout=10)  # noqa: S310
        with refusal.value:
            assert refusal.value.code == 403


def test_two_servers_do_not_touch_each_other(repository: TinyRepository) -> None:
    repository.add("linear", linear())
    with serving(repository.root) as first, Client(first.grpc, timeout_s=10) as client:
        with serving(repository.root) as second, Client(second.grpc, timeout_s=10) as other:
            assert other.infer("linear", x=ONE_ROW).version == "1"
        assert Watch(first).leftovers()
        assert client.infer("linear", x=ONE_ROW).version == "1"
        assert Watch(first).events()[-1]["event"] == "ready"


def test_requests_in_flight_are_answered_at_stop(repository: TinyRepository) -> None:
    # The queue holds every request for two seconds, so that the stop comes while they wait.
    repository.add("linear", linear(), delay_us=2_000_000)
    answers: list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = []
    with ExitStack() as stack:
        endpoint = stack.enter_context(serving(repository.root))
        client = stack.enter_context(Client(endpoint.grpc, timeout_s=15))
        client.metadata("linear")

        def call() -> None:
            answers.append(client.infer("linear", x=ONE_ROW)["y"])

        callers = [threading.Thread(target=call) for _ in range(3)]
        for caller in callers:
            caller.start()
        time.sleep(0.5)
        assert not answers
        os.kill(endpoint.pid, signal.SIGINT)
        for caller in callers:
            caller.join()
        assert len(answers) == 3
        eventually(lambda: start_time(endpoint.pid) is None, "the supervisor's end")
        # It ended before the block did, and somebody who relies on the block should know.
        with pytest.raises(ServerLostError, match="before it was stopped"):
            stack.close()


def test_ends_with_the_process_that_started_it(repository: TinyRepository) -> None:
    repository.add("linear", linear())
    program = (
        "import sys, time; from pathlib import Path; from clickclean_server import serving\n"
        "with serving(Path(sys.argv[1])) as endpoint:\n"
        "    print(endpoint.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(repository.root)], stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        owner = owner_of_supervisor(int(parent.stdout.readline()))
        assert leftovers(owner)
        parent.kill()
    eventually(lambda: not leftovers(owner), "the end of the server")


def test_foreground_prints_where_it_listens_and_stops_on_ctrl_c(
    repository: TinyRepository, tmp_path: Path
) -> None:
    repository.add("linear", linear())
    log = tmp_path / "logs" / "server.log"
    command = [sys.executable, "-m", "clickclean_server"]
    command += ["--repository", str(repository.root), "--log", str(log)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        said = dict(server.stdout.readline().split(maxsplit=1) for _ in range(4))
        assert said["linear"] == "version 1\n"
        with Client(said["gRPC"].strip(), timeout_s=10) as client:
            assert client.infer("linear", x=ONE_ROW).version == "1"
        owner = owner_of_supervisor(server.pid)
        server.send_signal(signal.SIGINT)
        _, progress = server.communicate(timeout=60)
    assert server.returncode == 0
    assert "ready: linear [1]" in progress
    assert log.stat().st_size > 0
    assert not leftovers(owner)


def test_the_printed_command_serves_by_hand(repository: TinyRepository) -> None:
    repository.add("linear", linear())
    repository.publish("never_promoted", 1, linear())
    with serving(repository.root) as supervised:
        ports = [supervised.grpc, supervised.http, supervised.metrics.removesuffix("/metrics")]
    options = []
    for name, address in zip(("grpc", "http", "metrics"), ports, strict=True):
        options += [f"--{name}-port", address.rpartition(":")[2]]
    command = [sys.executable, "-m", "clickclean_server", "--repository", str(repository.root)]
    line = subprocess.run(
        [*command, *options, "--print-command"], check=True, capture_output=True, text=True
    ).stdout
    with (
        subprocess.Popen(
            ["/bin/bash", "-c", line],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as by_hand,
        Client(supervised.grpc, timeout_s=10) as client,
    ):
        try:
            eventually(lambda: client.is_ready("linear"), "the server by hand")
            assert client.infer("linear", x=ONE_ROW).version == "1"
        finally:
            by_hand.terminate()
    assert by_hand.returncode == 0


def test_package_is_cheap_to_import() -> None:
    program = (
        "import sys, json, clickclean_server, clickclean_server.errors\n"
        "heavy = ('numpy', 'grpc', 'openvino')\n"
        "print(json.dumps([name for name in heavy if name in sys.modules]))"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert json.loads(found.stdout) == []
