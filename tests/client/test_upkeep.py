"""Long use leaves nothing behind: no threads, files, peers or lines in the log."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clickclean_client import (
    Balancing,
    CallEnd,
    CallStart,
    ClientError,
    InvalidRequest,
    Retry,
    RetryBudget,
)
from tests.client.challengers import until
from tests.client.fleets import BOTH, ROW, fakes, retry
from tests.client.in_loop import InLoop

pytestmark = pytest.mark.parametrize("kind", BOTH)


class Told:
    """A hook that remembers; `begun` and `ended` hold request ids."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[tuple[str, CallEnd]] = []

    def __call__(self, start: CallStart) -> Callable[[CallEnd], None]:
        self.begun.append(start.request_id)
        return lambda end: self.ended.append((start.request_id, end))


def patient() -> Retry:
    """With a budget for all that these tests break."""
    return retry(budget=RetryBudget(reserve=10_000))


def files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def endpoints(servers: list[Any]) -> list[str]:
    return [server.endpoint for server in servers]


def close(client: Any) -> None:
    """Close it, but not the loop: callers are still waiting there."""
    if isinstance(client, InLoop):
        client._wait(client.client.close())
    else:
        client.close()


def is_asked(server: Any) -> bool:
    return bool(server.calls["ModelInfer"])


def core_of(client: Any) -> Any:
    return getattr(client, "client", client)._core


def test_many_calls_leave_nothing_behind(kind: Any, caplog: pytest.LogCaptureFixture) -> None:
    balancing = Balancing(reconnect_s=0.05)
    with fakes(2) as servers:
        # gRPC itself keeps some files open after the first call of a process.
        with kind(endpoints(servers), timeout_s=20, retry=patient()) as client:
            client.infer("m", x=ROW)
        for server in servers:
            server.stop()
        gc.collect()
        threads, base = threading.active_count(), files()
        for server in servers:
            server.start()
        with kind(endpoints(servers), timeout_s=20, balancing=balancing, retry=patient()) as client:
            pool = core_of(client).pool
            first = pool.peers
            for number in range(300):
                if number % 50 == 25:
                    servers[number // 50 % 2].stop()
                elif number % 50 == 0:
                    for server in servers:
                        server.start()
                        server.forget_calls()
                    until(lambda: client.infer("m", x=ROW) and all(map(is_asked, servers)))
                client.infer("m", x=ROW)
            assert not set(first) & set(pool.peers), "the connections were replaced"
            assert len(pool.peers) == 2
            assert len(pool.retired) <= 2
            assert sum(peer.outstanding for peer in pool.peers) <= 1, "at most a probe"
            until(lambda: files() < base + 40)
            until(lambda: threading.active_count() <= threads + 20)
        for server in servers:
            server.stop()
        gc.collect()
        until(lambda: threading.active_count() <= threads)
        until(lambda: files() <= base)
    assert [each.getMessage() for each in caplog.records if each.levelno > logging.DEBUG] == []


def test_hooks_see_each_call_once(kind: Any) -> None:
    told = Told()
    settings: dict[str, Any] = {"hooks": [told], "retry": patient(), "timeout_s": 20}
    with fakes(2) as servers, kind(endpoints(servers), **settings) as client:
        expected = []
        for number in range(40):
            name = str(number)
            expected.append(name)
            if number % 4 == 1:
                with pytest.raises(InvalidRequest):
                    client.infer("m", request_id=name)
            elif number % 4 == 2:
                for server in servers:
                    server.fail("ModelInfer", "INTERNAL", times=1)
                with pytest.raises(ClientError):
                    client.infer("m", x=ROW, request_id=name)
                for server in servers:
                    server.heal()
            elif number % 4 == 3:
                for server in servers:
                    server.fail("ModelInfer", "UNAVAILABLE", times=1)
                client.infer("m", x=ROW, request_id=name)
                for server in servers:
                    server.heal()
            else:
                client.infer("m", x=ROW, request_id=name)
        assert told.begun == expected
        assert [name for name, _ in told.ended] == expected
        outcomes = {name: end.outcome for name, end in told.ended}
        wanted = ("ok", "InvalidRequest", "ServerFault", "ok")
        assert outcomes == {name: wanted[int(name) % 4] for name in expected}
        for _, end in told.ended:
            starts = [record.start_ns for record in end.attempts]
            assert starts == sorted(starts)


def test_hooks_see_cancelled_calls_once(kind: Any) -> None:
    told = Told()
    with fakes(1) as servers, kind(servers[0].endpoint, hooks=[told], timeout_s=20) as client:
        client.infer("m", x=ROW)
        servers[0].forget_calls()
        errors: list[ClientError] = []

        def call(name: str) -> None:
            try:
                client.infer("m", x=ROW, request_id=name)
            except ClientError as exc:
                errors.append(exc)

        block = servers[0].block("ModelInfer")
        callers = [threading.Thread(target=call, args=[name]) for name in "abc"]
        for caller in callers:
            caller.start()
        servers[0].wait_for("ModelInfer", 3)
        close(client)
        block.set()
        for caller in callers:
            caller.join()
    assert len(errors) == 3
    assert sorted(told.begun) == ["", "a", "b", "c"]
    assert sorted(name for name, _ in told.ended) == ["", "a", "b", "c"]
    assert {end.outcome for name, end in told.ended if name} == {"Cancelled"}
