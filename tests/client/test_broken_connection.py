"""Deadlines, servers that die, ports where something else listens, clients that are closed."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from clickclean_client import Cancelled, Client, ClientError, DeadlineExceeded, Unavailable
from clickclean_client.testing import FakeServer

ROW = np.zeros((1, 3), np.float32)
HOLDING = Path(__file__).with_name("holding_server.py")


@pytest.fixture
def held(fake: FakeServer) -> Iterator[FakeServer]:
    """The fake, taking requests and not answering them."""
    with fake.block("ModelInfer"):
        yield fake


def test_a_deadline_that_passes(held: FakeServer) -> None:
    with Client(held.endpoint, timeout_s=20) as client:
        client.metadata("m")
        with pytest.raises(DeadlineExceeded, match=r"no answer within 0\.1 s") as caught:
            client.infer("m", x=ROW, timeout_s=0.1)
    assert caught.value.elapsed_s >= 0.1
    assert held.left_s < 2  # not the client's 20 s; gRPC rounds up what it writes into a header
    assert held.calls["ModelInfer"] == 1


def test_one_deadline_covers_metadata_and_call(held: FakeServer) -> None:
    with (
        Client(held.endpoint, timeout_s=20) as client,
        pytest.raises(DeadlineExceeded) as caught,
    ):
        client.infer("m", x=ROW, timeout_s=1)
    left_us = held.last_request["ModelInfer"].parameters["timeout"].int64_param
    assert left_us < 1e6
    assert held.left_s < 2  # not the client's 20 s; gRPC rounds up what it writes into a header
    assert caught.value.elapsed_s >= 1


def test_a_deadline_that_is_over_before_the_call(fake: FakeServer, client: Client) -> None:
    with pytest.raises(DeadlineExceeded):
        client.infer("m", x=ROW, timeout_s=1e-9)
    assert fake.calls["ModelInfer"] == 0


def test_a_listener_that_never_speaks() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"127.0.0.1:{silent.getsockname()[1]}"
        with Client(endpoint, timeout_s=0.3) as client:
            assert not client.is_ready()
            with pytest.raises((DeadlineExceeded, Unavailable)):
                client.infer("m", x=ROW)


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with Client(f"127.0.0.1:{port}", timeout_s=20) as client:
        with pytest.raises(Unavailable, match="cannot be reached") as caught:
            client.infer("m", x=ROW)
        assert f"gRPC on 127.0.0.1:{port}?" in caught.value.hint
        assert "8001" in caught.value.hint
        assert not client.is_ready()


def test_a_port_that_speaks_http() -> None:
    def answer(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        endpoint = f"127.0.0.1:{listener.getsockname()[1]}"
        with Client(endpoint, timeout_s=5) as client, pytest.raises(Unavailable) as caught:
            client.infer("m", x=ROW)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert "8000 is HTTP" in caught.value.hint


def test_a_name_that_does_not_resolve() -> None:
    with (
        Client("no-such-host.invalid:8001", timeout_s=3) as client,
        pytest.raises((Unavailable, DeadlineExceeded)),
    ):
        client.infer("m", x=ROW)


def test_a_server_that_is_killed_mid_call() -> None:
    with subprocess.Popen([sys.executable, HOLDING], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        endpoint = server.stdout.readline().strip()
        failure: list[ClientError] = []

        def call() -> None:
            try:
                client.infer("m", x=ROW)
            except ClientError as exc:
                failure.append(exc)

        with Client(endpoint, timeout_s=60) as client:
            thread = threading.Thread(target=call)
            thread.start()
            assert server.stdout.readline() == "holding\n"
            server.kill()
            thread.join()
            with pytest.raises(Unavailable):
                client.infer("m", x=ROW)
    assert [type(exc) for exc in failure] == [Unavailable]


def test_a_client_closed_by_another_thread_mid_call(held: FakeServer) -> None:
    failure: list[ClientError] = []

    def call() -> None:
        try:
            client.infer("m", x=ROW)
        except ClientError as exc:
            failure.append(exc)

    client = Client(held.endpoint, timeout_s=60)
    thread = threading.Thread(target=call)
    thread.start()
    held.wait_for("ModelInfer")
    client.close()
    thread.join()
    assert [type(exc) for exc in failure] == [Cancelled]
    assert "closed" in failure[0].hint


def test_a_server_that_comes_back_is_found_again(fake: FakeServer, client: Client) -> None:
    client.infer("m", x=ROW)
    fake.stop()
    for _ in range(3):  # the last ones have tried to connect, which is what makes gRPC wait
        with pytest.raises(Unavailable):
            client.infer("m", x=ROW)
    fake.start()
    patience_s = time.monotonic() + 30
    while not client.is_ready("m") and time.monotonic() < patience_s:
        time.sleep(0.05)
    assert client.infer("m", x=ROW)["y0"].shape == (1, 3)


def test_clients_do_not_share_a_connection(fake: FakeServer) -> None:
    for _ in range(2):
        with Client(fake.endpoint, timeout_s=20) as first, Client(fake.endpoint) as second:
            first.infer("m", x=ROW)
            second.infer("m", x=ROW, timeout_s=20)
    assert len(fake.peers) == 4
