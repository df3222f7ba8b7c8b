"""A call that was given up does not write into the answer of another one."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from clickclean_client import (
    AsyncClient,
    DeadlineExceeded,
    Hedge,
    SharedMemory,
    Unavailable,
)
from clickclean_client.testing import FakeServer
from tests.client.challengers import until
from tests.client.fleets import asked, fakes, retry
from tests.client.shared_memory.memories import (
    BOTH,
    IMAGES,
    IN_USE,
    REGISTER,
    SIZE,
    UNREGISTER,
    With,
    put,
)


def test_a_call_that_was_given_up_does_not_write_into_the_next(
    fake: FakeServer, client: Any, memory: SharedMemory
) -> None:
    total, other = (memory.empty((4, 3), np.float32) for _ in range(2))
    client.metadata("m")
    fake.block("ModelInfer")
    with pytest.raises(DeadlineExceeded):
        client.infer("m", image=IMAGES, outputs={"total": total}, timeout_s=0.5)
    fake.wait_for("ModelInfer")
    fake.heal()
    fake.forget_calls()
    client.infer("m", image=IMAGES, outputs={"total": other})
    client.infer("m", image=put(memory, IMAGES))
    assert fake.calls[UNREGISTER] == 0

    fake.fail(UNREGISTER, "INTERNAL", IN_USE, times=3)
    answer = client.infer("m", image=IMAGES, outputs={"total": total})
    np.testing.assert_array_equal(answer["total"], IMAGES.sum(axis=2))
    assert (fake.calls[UNREGISTER], fake.calls[REGISTER]) == (4, 4)

    client.infer("m", image=IMAGES, outputs={"total": total})
    assert fake.calls[UNREGISTER] == 4


def test_a_call_that_goes_on_for_ever(fake: FakeServer, client: Any, memory: SharedMemory) -> None:
    total = memory.empty((4, 3), np.float32)
    client.metadata("m")
    fake.block("ModelInfer")
    with pytest.raises(DeadlineExceeded):
        client.infer("m", image=IMAGES, outputs={"total": total}, timeout_s=0.5)
    fake.wait_for("ModelInfer")
    fake.heal()
    fake.forget_calls()
    fake.fail(UNREGISTER, "INTERNAL", IN_USE)
    for _ in range(2):
        with pytest.raises(DeadlineExceeded, match="may still write to the array for 'total'"):
            client.infer("m", image=IMAGES, outputs={"total": total}, timeout_s=0.2)
    assert fake.calls["ModelInfer"] == 0
    fake.heal()
    client.infer("m", image=IMAGES, outputs={"total": total})


def test_a_task_that_was_cancelled(fake: FakeServer) -> None:
    async def calls() -> None:
        async with (
            AsyncClient(fake.endpoint, timeout_s=20) as client,
            client.shared_memory(size_bytes=SIZE) as memory,
        ):
            total = memory.empty((4, 3), np.float32)
            outputs = {"total": total}
            await client.metadata("m")
            fake.block("ModelInfer")
            task = asyncio.create_task(client.infer("m", image=IMAGES, outputs=outputs))
            await asyncio.to_thread(fake.wait_for, "ModelInfer")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            fake.heal()
            await client.infer("m", image=IMAGES, outputs=outputs)
            assert fake.calls[UNREGISTER] == 1

    asyncio.run(calls())


def test_a_server_that_died_writes_nothing(
    fake: FakeServer, client: Any, memory: SharedMemory
) -> None:
    total = memory.empty((4, 3), np.float32)
    fake.fail("ModelInfer", "UNAVAILABLE", "Server is stopping", times=1)
    with pytest.raises(Unavailable):
        client.infer("m", image=IMAGES, outputs={"total": total})
    fake.stop()
    with pytest.raises(Unavailable):
        client.infer("m", image=IMAGES, outputs={"total": total}, timeout_s=2)
    fake.regions.close()
    fake.start()
    until(lambda: client.is_ready("m"))
    client.infer("m", image=IMAGES, outputs={"total": total})


@pytest.mark.parametrize("kind", BOTH)
def test_calls_with_such_outputs_are_sent_once(kind: With) -> None:
    settings: dict[str, Any] = {"timeout_s": 20, "retry": retry(), "hedge": Hedge(after_s=0.001)}
    with (
        fakes(2) as servers,
        kind([each.endpoint for each in servers], **settings) as client,
        client.shared_memory(size_bytes=SIZE) as memory,
    ):
        x, y = put(memory, np.ones((1, 3), np.float32)), memory.empty((1, 3), np.float32)
        client.metadata("m")
        for server in servers:
            server.delay_s = 0.05
        client.infer("m", x=x, outputs={"y0": y})
        assert sum(asked(servers)) == 1
        for server in servers:
            server.fail("ModelInfer", "UNAVAILABLE", "Server is stopping", times=1)
        with pytest.raises(Unavailable):
            client.infer("m", x=x, outputs={"y0": y})
        assert sum(asked(servers)) == 2
