"""Servers that forget shared memory, or refuse it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clickclean_client import (
    AccessRefused,
    DeadlineExceeded,
    InvalidRequest,
    SharedMemory,
    Unavailable,
)
from clickclean_client.testing import FakeServer
from clickclean_client.testing._shared_memory import Regions
from tests.client.challengers import until
from tests.client.fleets import fakes, retry
from tests.client.shared_memory.memories import (
    BOTH,
    IMAGES,
    REGISTER,
    SIZE,
    UNREGISTER,
    With,
    open_memory,
    put,
)


def test_a_server_that_was_restarted(fake: FakeServer, client: Any, memory: SharedMemory) -> None:
    image, total = put(memory, IMAGES), memory.empty((4, 3), np.float32)
    client.infer("m", image=image)
    fake.forget_calls()
    for given, outputs in ((image, None), (IMAGES, {"total": total})):
        fake.regions.close()
        answer = client.infer("m", image=given, outputs=outputs)
        np.testing.assert_array_equal(answer["total"], IMAGES.sum(axis=2))
    assert fake.calls[REGISTER] == 2
    assert fake.calls["ModelInfer"] == 4


def test_a_server_that_forgets_at_once(fake: FakeServer, client: Any, memory: SharedMemory) -> None:
    text = f"Unable to find shared memory region: '{memory.name}'"
    fake.fail("ModelInfer", "NOT_FOUND", text)
    with pytest.raises(InvalidRequest, match="Unable to find shared memory region") as caught:
        client.infer("m", image=put(memory, IMAGES))
    assert "one of several servers behind one address" in caught.value.hint
    assert fake.calls["ModelInfer"] == 2


def test_memory_that_cannot_be_registered_again(
    fake: FakeServer, client: Any, memory: SharedMemory
) -> None:
    image = put(memory, IMAGES)
    fake.regions.close()
    fake.restrict(["shared-memory"], "new key")
    with pytest.raises(AccessRefused, match=r"Model 'm' at .* restricted"):
        client.infer("m", image=image)
    fake.heal()


@pytest.mark.parametrize("kind", BOTH)
def test_two_servers(kind: With) -> None:
    with fakes(2) as servers, kind([server.endpoint for server in servers], timeout_s=20) as client:
        with client.shared_memory(size_bytes=SIZE) as memory:
            x = put(memory, np.ones((1, 3), np.float32))
            for forgets in (0, 1):
                servers[forgets].regions.close()
                for _ in range(40):
                    assert (client.infer("m", x=x)["y0"] == 1).all()
            assert [server.calls[REGISTER] for server in servers] == [2, 2]
        assert [server.calls[UNREGISTER] for server in servers] == [1, 1]


@pytest.mark.parametrize("kind", BOTH)
def test_a_server_that_is_down_at_first(kind: With) -> None:
    with fakes(2) as servers:
        endpoints = [server.endpoint for server in servers]
        servers[0].stop()
        with (
            kind(endpoints, timeout_s=20, retry=retry()) as client,
            client.shared_memory(size_bytes=SIZE) as memory,
        ):
            assert memory.registered_at == {endpoints[1]}
            x = put(memory, np.ones((1, 3), np.float32))
            assert (client.infer("m", x=x)["y0"] == 1).all()
            servers[0].start()
            until(lambda: client.infer("m", x=x) and servers[0].calls["ModelInfer"])
            assert memory.registered_at == set(endpoints)
            servers[1].stop()


@pytest.mark.parametrize("kind", BOTH)
def test_no_server_is_there(kind: With, fake: FakeServer) -> None:
    fake.stop()
    with kind(fake.endpoint, timeout_s=5) as client, pytest.raises(Unavailable):
        open_memory(client)


def test_a_server_that_wants_a_key(fake: FakeServer, client: Any) -> None:
    fake.restrict(["shared-memory"], "secret")
    with pytest.raises(AccessRefused) as caught:
        open_memory(client)
    assert "headers={'triton-grpc-protocol-admin-key': key}" in caught.value.hint
    assert "restricted" in str(caught.value)

    header = {"triton-grpc-protocol-admin-key": "secret"}
    with client.shared_memory(size_bytes=SIZE, headers=header) as memory:
        image = put(memory, IMAGES)
        fake.regions.close()
        client.infer("m", image=image)
        # The key of an operator is not for everybody who reads what models are asked.
        assert not header.keys() & fake.headers.keys()
        assert "secret" not in repr(memory)
    assert fake.calls[UNREGISTER] == 1


def test_a_server_on_another_host(fake: FakeServer, client: Any, tmp_path: Path) -> None:
    fake.regions = Regions(tmp_path)
    with pytest.raises(InvalidRequest, match="cannot open the caller's shared memory") as caught:
        open_memory(client)
    assert "on one host" in caught.value.hint
    assert fake.calls[UNREGISTER] == 0


def test_a_server_without_the_extension(fake: FakeServer, client: Any) -> None:
    fake.fail(REGISTER, "UNIMPLEMENTED")
    with pytest.raises(InvalidRequest, match="has no shared memory extension") as caught:
        open_memory(client)
    assert "inline" in caught.value.hint


@pytest.mark.parametrize("kind", BOTH)
def test_one_of_two_refuses(kind: With, tmp_path: Path) -> None:
    with fakes(2) as servers, kind([server.endpoint for server in servers], timeout_s=9) as client:
        servers[1].regions = Regions(tmp_path)
        with pytest.raises(InvalidRequest):
            open_memory(client)
        assert [server.calls[UNREGISTER] for server in servers] == [1, 0]


def test_a_server_that_never_answers(fake: FakeServer, client: Any) -> None:
    block = fake.block(REGISTER)
    with pytest.raises(DeadlineExceeded):
        open_memory(client, timeout_s=0.2)
    # Perhaps it has registered it all the same.
    fake.wait_for(UNREGISTER)
    block.set()
