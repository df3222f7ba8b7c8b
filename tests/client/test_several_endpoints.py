"""One client, several servers: calls go around those that fail, and come back to them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from clickclean_client import (
    Balancing,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    Timeout,
    Unavailable,
)
from clickclean_client.testing import FakeServer
from tests.client.challengers import until
from tests.client.fleets import BOTH, INPUTS, ROW, asked, fakes, retry, warm

pytestmark = pytest.mark.parametrize("kind", BOTH)


def endpoints(servers: list[FakeServer]) -> list[str]:
    return [server.endpoint for server in servers]


def comes_back(client: Any, server: FakeServer) -> bool:
    """Whether a call reaches the server within a bounded number of calls."""
    before = server.calls["ModelInfer"]
    pause = threading.Event()
    for _ in range(500):
        client.infer("m", x=ROW)
        if server.calls["ModelInfer"] > before:
            return True
        pause.wait(0.01)
    return False


def test_all_are_asked(kind: Any) -> None:
    with fakes(3) as servers, kind(endpoints(servers), timeout_s=10) as client:
        warm(client, servers, 60)


def test_a_server_that_is_not_there_costs_no_call(kind: Any) -> None:
    with fakes(2) as servers, kind(endpoints(servers), timeout_s=10, retry=retry()) as client:
        servers[0].stop()
        for _ in range(30):
            client.infer("m", x=ROW)
        assert asked(servers) == [0, 30]


def test_a_server_that_dies_and_comes_back(kind: Any) -> None:
    with fakes(2) as servers, kind(endpoints(servers), timeout_s=10, retry=retry()) as client:
        warm(client, servers)
        block = servers[0].block("ModelInfer")
        with ThreadPoolExecutor(6) as threads:
            calls = [threads.submit(client.infer, "m", x=ROW) for _ in range(6)]
            servers[0].wait_for("ModelInfer", 1)
            servers[0].stop()
            for call in calls:
                assert call.result()["y0"].shape == (1, 3)
        block.set()
        servers[0].start()
        assert comes_back(client, servers[0])


@pytest.mark.parametrize("code", ["UNAVAILABLE", "NOT_FOUND"])
def test_a_server_that_stops(kind: Any, code: str) -> None:
    with fakes(2) as servers, kind(endpoints(servers), timeout_s=10, retry=retry()) as client:
        warm(client, servers)
        servers[0].drain(code)
        for _ in range(30):
            client.infer("m", x=ROW)
        assert asked(servers)[1] == 30
        assert asked(servers)[0] <= 2
        servers[0].heal()
        assert comes_back(client, servers[0])


def test_a_dead_model_process_is_gone_around(kind: Any) -> None:
    with fakes(2) as servers, kind(endpoints(servers), timeout_s=10, retry=retry()) as client:
        warm(client, servers)
        servers[0].kill_model("m", after_s=0)
        for _ in range(30):
            client.infer("m", x=ROW)
        assert asked(servers)[1] == 30
        servers[0].heal()
        assert comes_back(client, servers[0])


def test_a_stalled_model_is_given_up_for_the_other_one(kind: Any) -> None:
    with fakes(2) as servers, kind(endpoints(servers), timeout_s=6, retry=retry()) as client:
        warm(client, servers, 120)
        block = servers[0].block("ModelInfer")
        for _ in range(20):
            client.infer("m", x=ROW)
        assert asked(servers)[1] == 20
        assert asked(servers)[0] >= 1
        block.set()


def test_patience_can_be_switched_off(kind: Any) -> None:
    settings = retry(patience=0)
    with fakes(2) as servers, kind(endpoints(servers), timeout_s=0.5, retry=settings) as client:
        warm(client, servers, 120)
        blocks = [server.block("ModelInfer") for server in servers]
        with pytest.raises(Exception, match="gave no answer within"):
            client.infer("m", x=ROW)
        assert sum(asked(servers)) == 1
        for block in blocks:
            block.set()


def test_an_attempt_may_be_given_a_time_of_its_own(kind: Any) -> None:
    timeout = Timeout(10, attempt_s=0.2)
    with fakes(2) as servers, kind(endpoints(servers), timeout_s=timeout, retry=retry()) as client:
        warm(client, servers)
        block = servers[0].block("ModelInfer")
        for _ in range(10):
            client.infer("m", x=ROW)
        assert asked(servers)[1] == 10
        assert servers[0].calls["ModelInfer"] >= 1
        block.set()


def test_a_full_queue_is_gone_around(kind: Any) -> None:
    with fakes(2) as servers, kind(endpoints(servers), timeout_s=10, retry=retry()) as client:
        warm(client, servers)
        servers[0].overload("m")
        for _ in range(20):
            client.infer("m", x=ROW)
        servers[1].overload("m")
        with pytest.raises(Overloaded) as caught:
            client.infer("m", x=ROW)
        assert caught.value.attempts == 2


def test_a_model_that_no_server_has(kind: Any) -> None:
    with fakes(2) as servers, kind(endpoints(servers), timeout_s=10, retry=retry()) as client:
        warm(client, servers)
        for _ in range(3):
            with pytest.raises(ModelNotFound) as caught:
                client.infer("nothing", x=ROW)
            assert caught.value.attempts == 2
        assert asked(servers, "ModelMetadata") == [3, 3]
        servers[0].forget_calls()
        for _ in range(20):
            client.infer("m", x=ROW)
        assert servers[0].calls["ModelReady"] == 0, "nobody has it, so nobody is probed for it"


def test_a_version_that_one_server_has_already(kind: Any) -> None:
    with fakes(2) as servers, kind(endpoints(servers), timeout_s=10, retry=retry()) as client:
        servers[1].serve("m", inputs=INPUTS, version=2)
        for _ in range(10):
            assert client.infer("m", x=ROW, version=2).version == "2"


def test_all_are_gone(kind: Any) -> None:
    with fakes(2) as servers, kind(endpoints(servers), timeout_s=10, retry=retry()) as client:
        warm(client, servers)
        for server in servers:
            server.stop()
        with pytest.raises(Unavailable) as caught:
            client.infer("m", x=ROW)
        assert caught.value.endpoint in endpoints(servers)
        assert caught.value.attempts == 3
        servers[1].start()
        until(lambda: client.is_ready("m"))
        assert comes_back(client, servers[1])


def test_a_name_stands_for_its_addresses(kind: Any) -> None:
    with fakes(1) as servers:
        name = f"dns:///localhost:{servers[0].port}"
        with kind(name, timeout_s=10) as client:
            assert client.endpoint == name
            client.infer("m", x=ROW)
        assert asked(servers) == [1]


def test_a_name_that_does_not_exist(kind: Any) -> None:
    with (
        kind("dns:///no-such-host.invalid:1", timeout_s=10) as client,
        pytest.raises(Unavailable, match=r"'no-such-host.invalid' has no address") as caught,
    ):
        client.infer("m", x=ROW)
    assert caught.value.endpoint == "dns:///no-such-host.invalid:1"


def test_new_addresses_of_a_name_are_noticed(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with fakes(2) as servers:
        hosts = ["127.0.0.1"]

        def addresses(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
            # Stands for a DNS server: every test machine has but one loopback address to listen on.
            return [(0, 0, 0, "", (found, port)) for found in hosts]

        second = FakeServer(servers[0].port)
        second_host = "127.0.0.2"
        monkeypatch.setattr("socket.getaddrinfo", addresses)
        balancing = Balancing(resolve_s=0.05)
        name = f"dns:///triton:{servers[0].port}"
        with kind(name, timeout_s=10, balancing=balancing, retry=retry()) as client:
            client.infer("m", x=ROW)
            assert len(peers(client)) == 1
            hosts.append(second_host)
            until(lambda: client.infer("m", x=ROW) and len(peers(client)) == 2)
            hosts.remove(second_host)
            until(lambda: client.infer("m", x=ROW) and len(peers(client)) == 1)
        del second


def test_connections_are_replaced_without_losing_a_call(kind: Any) -> None:
    balancing = Balancing(connections=2, reconnect_s=0.05)
    with (
        fakes(1) as servers,
        kind(servers[0].endpoint, timeout_s=10, balancing=balancing) as client,
    ):
        with ThreadPoolExecutor(4) as threads:
            for answer in threads.map(lambda _: client.infer("m", x=ROW), range(300)):
                assert answer.version == "1"
        until(lambda: client.infer("m", x=ROW) and len(servers[0].peers) >= 5)
        assert len(peers(client)) == 2


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ([], "no endpoint is given"),
        (["a:1", "a:1"], "'a:1' is given twice"),
        (["a:1", "http://a:1"], "'http://a:1' is no endpoint"),
        ("dns:///a", "'dns:///a' is no endpoint"),
        ("dns://8.8.8.8/a:1", "is no endpoint"),
        ("a:1,b:1", "is no endpoint"),
        (["a:1", 7], "7 is no endpoint"),
    ],
)
def test_endpoints_that_are_refused(kind: Any, given: Any, sentence: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        kind(given)
    assert sentence in str(caught.value)


def peers(client: Any) -> tuple[Any, ...]:
    core = getattr(client, "client", client)._core
    found: tuple[Any, ...] = core.pool.peers
    return found
