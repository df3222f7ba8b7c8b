"""Shared memory with the real tritonserver: the same answers, restarts, late writes."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clickclean_client import (
    AccessRefused,
    Client,
    DeadlineExceeded,
    InvalidRequest,
    ModelNotFound,
    Unavailable,
)
from clickclean_client.admin import KEY_HEADER
from clickclean_client.protocol import grpc, service_pb2, service_pb2_grpc
from clickclean_server import Endpoint, serving
from clickclean_server.ownership import Owner, pid_namespace, processes_of, start_time
from tests.client.challengers import until
from tests.client.shared_memory.memories import BOTH, SIZE, With, open_memory, put
from tests.server.tiny_models import WEIGHTS, TinyRepository, linear, pair, slow, unbatched


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    repository = TinyRepository(tmp_path_factory.mktemp("repository"))
    for name, tiny in (
        ("linear", linear()),
        ("pair", pair()),
        ("slow", slow()),
        ("unbatched", unbatched()),
    ):
        repository.add(name, tiny)
    return repository.root


@pytest.fixture(scope="module")
def endpoint(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        with serving(root) as found:
            yield found


@pytest.fixture
def headers(endpoint: Endpoint) -> dict[str, str]:
    return {KEY_HEADER: endpoint.key}


def regions(endpoint: Endpoint) -> list[str]:
    """What the server has registered."""
    with grpc.insecure_channel(endpoint.grpc) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        request = service_pb2.SystemSharedMemoryStatusRequest()
        key = ((KEY_HEADER, endpoint.key),)
        status = stub.SystemSharedMemoryStatus(request, timeout=20, metadata=key)
        return list(status.regions)


@pytest.mark.parametrize("kind", BOTH)
def test_the_same_answers(kind: With, endpoint: Endpoint, headers: dict[str, str]) -> None:
    ids = np.array([[1, 2, 3], [4, 5, 6]], np.int64)
    bias = np.arange(8, dtype=np.float32).reshape(2, 4)
    with (
        kind(endpoint.grpc, timeout_s=20) as client,
        client.shared_memory(size_bytes=SIZE, headers=headers) as memory,
    ):
        assert regions(endpoint) == [memory.name]
        inline = client.infer("pair", ids=ids, bias=bias)
        tokens, score = memory.empty((2, 9, 4), np.float32), memory.empty((8, 4), np.float32)
        for feed in (
            {"ids": put(memory, ids), "bias": bias},
            {"ids": ids, "bias": put(memory, bias)},
            {"ids": put(memory, ids), "bias": put(memory, bias)},
        ):
            for outputs in (
                dict[str, Any](),
                {"tokens": tokens, "score": None},
                {"score": score, "tokens": None},
                {"score": score, "tokens": tokens},
            ):
                memory.empty(1, np.uint8)
                tokens[:] = score[:] = -1
                answer = client.infer("pair", feed, outputs=outputs or None)
                for name in inline:
                    np.testing.assert_array_equal(answer[name], inline[name])
                    there = outputs.get(name) is not None
                    place = {"tokens": tokens, "score": score}[name]
                    assert np.shares_memory(answer[name], place) == there

        x = np.arange(9, dtype=np.float32).reshape(3, 3) - 4
        y = memory.empty((3, 3), np.float32)
        answer = client.infer("unbatched", x=put(memory, x), outputs={"y": y})
        np.testing.assert_array_equal(y, np.maximum(x, 0))
        assert answer["y"].shape == (3, 3)
        with pytest.raises(InvalidRequest, match="should be at least 36 bytes"):
            client.infer("unbatched", x=x, outputs={"y": y[:2]})
    assert regions(endpoint) == []


def test_streams(endpoint: Endpoint, headers: dict[str, str]) -> None:
    with (
        Client(endpoint.grpc, timeout_s=20) as client,
        client.shared_memory(size_bytes=SIZE, headers=headers) as memory,
    ):
        x = put(memory, np.eye(4, dtype=np.float32))
        (answer,) = client.stream("linear", x=x)
        np.testing.assert_array_equal(answer["y"], WEIGHTS)


@pytest.mark.parametrize("kind", BOTH)
def test_without_the_key(kind: With, endpoint: Endpoint) -> None:
    with kind(endpoint.grpc, timeout_s=20) as client:
        with pytest.raises(AccessRefused) as caught:
            open_memory(client)
        assert KEY_HEADER in caught.value.hint
        with pytest.raises(AccessRefused):
            open_memory(client, headers={KEY_HEADER: "another"})
    assert regions(endpoint) == []


def test_a_call_that_was_given_up_writes_before_the_next(
    endpoint: Endpoint, headers: dict[str, str]
) -> None:
    with (
        Client(endpoint.grpc, timeout_s=20) as client,
        client.shared_memory(size_bytes=SIZE, headers=headers) as memory,
    ):
        x = put(memory, np.array([[3]], np.float32))
        y = memory.empty((1, 3), np.float32)
        client.metadata("slow")
        with pytest.raises(DeadlineExceeded):
            client.infer("slow", x=x, outputs={"y": y[:, :1]}, timeout_s=0.05)
        row = np.array([[1, 0, 0, 0]], np.float32)
        answer = client.infer("linear", x=row, outputs={"y": y})
        np.testing.assert_array_equal(answer["y"], WEIGHTS[:1])
        # The model has one instance, so what was given up has ended when this one is answered.
        assert client.infer("slow", x=x)["y"] == 3
        np.testing.assert_array_equal(answer["y"], WEIGHTS[:1])


def test_the_end_waits_for_calls_that_were_given_up(
    endpoint: Endpoint, headers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    with Client(endpoint.grpc, timeout_s=20) as client:
        client.metadata("slow")
        with client.shared_memory(size_bytes=SIZE, headers=headers) as memory:
            x = put(memory, np.array([[3]], np.float32))
            with pytest.raises(DeadlineExceeded):
                client.infer("slow", x=x, timeout_s=0.05)
        assert regions(endpoint) == []
        assert client.is_ready("slow")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("kind", BOTH)
def test_a_restart(kind: With, endpoint: Endpoint, headers: dict[str, str]) -> None:
    rows = np.eye(4, dtype=np.float32)

    def answered() -> Any:
        try:
            return client.infer("linear", x=x, outputs={"y": y})
        except (Unavailable, ModelNotFound):  # down, and up before its models
            return None

    with (
        kind(endpoint.grpc, timeout_s=20) as client,
        client.shared_memory(size_bytes=SIZE, headers=headers) as memory,
    ):
        x, y = put(memory, rows), memory.empty((4, 3), np.float32)
        client.infer("linear", x=x)
        (server,) = servers_of(endpoint)
        os.kill(server, signal.SIGKILL)
        until(lambda: servers_of(endpoint) not in ([], [server]))
        until(answered)
        np.testing.assert_array_equal(y, WEIGHTS)
        assert regions(endpoint) == [memory.name]
    assert regions(endpoint) == []


def servers_of(endpoint: Endpoint) -> list[int]:
    """The pid of the tritonserver, if it runs."""
    owner = Owner(pid_namespace(), endpoint.pid, start_time(endpoint.pid) or 0)
    return [
        pid
        for pid in processes_of(owner)
        if Path(f"/proc/{pid}/comm").read_text().strip() == "tritonserver"
    ]
