"""What is of an event loop: tasks that are cancelled, many at once, other loops, the end."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from clickclean_client import AsyncClient, Cancelled, ClientError, InvalidRequest
from clickclean_client._async_driver import OtherLoopError
from clickclean_client.testing import FakeServer
from tests.client.challengers import INPUTS
from tests.client.fleets import ROW, fakes, retry


def under_way(client: AsyncClient) -> int:
    return sum(peer.outstanding for peer in client._core.pool.peers)


async def reaches(server: FakeServer, count: int = 1) -> None:
    await asyncio.to_thread(server.wait_for, "ModelInfer", count)


def on_a_loop(test: Callable[[FakeServer, AsyncClient], Awaitable[Any]]) -> None:
    """Run it with a server of the model `m` and a client; nothing may be left on the loop."""

    async def run(server: FakeServer) -> None:
        async with AsyncClient(server.endpoint, timeout_s=20, retry=retry()) as client:
            await test(server, client)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not [task for task in others if "clickclean" in repr(task)]

    with fakes(1) as servers:
        asyncio.run(run(servers[0]))
    gc.collect()


def test_two_hundred_at_once() -> None:
    async def test(server: FakeServer, client: AsyncClient) -> None:
        answers = await asyncio.gather(*(client.infer("m", x=ROW) for _ in range(200)))
        assert {answer.version for answer in answers} == {"1"}
        assert under_way(client) == 0

    on_a_loop(test)


def test_a_task_that_is_cancelled_gives_its_call_up() -> None:
    async def test(server: FakeServer, client: AsyncClient) -> None:
        await client.infer("m", x=ROW)
        block = server.block("ModelInfer")
        task = asyncio.ensure_future(client.infer("m", x=ROW))
        await reaches(server, 2)
        assert under_way(client) == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert under_way(client) == 0
        block.set()
        await client.infer("m", x=ROW)

    on_a_loop(test)


def test_a_timeout_of_the_callers_own() -> None:
    async def test(server: FakeServer, client: AsyncClient) -> None:
        await client.infer("m", x=ROW)
        block = server.block("ModelInfer")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.infer("m", x=ROW)
        block.set()
        assert under_way(client) == 0

    on_a_loop(test)


def test_closing_ends_what_is_under_way() -> None:
    async def test(server: FakeServer, client: AsyncClient) -> None:
        await client.infer("m", x=ROW)
        block = server.block("ModelInfer")
        tasks = [asyncio.ensure_future(client.infer("m", x=ROW)) for _ in range(5)]
        await reaches(server, 6)
        await client.close()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(end) for end in ends} <= {Cancelled, InvalidRequest}
        assert Cancelled in {type(end) for end in ends}
        block.set()
        with pytest.raises(InvalidRequest, match="the client is closed"):
            await client.infer("m", x=ROW)
        await client.close()

    on_a_loop(test)


def test_another_loop_is_refused() -> None:
    with fakes(1) as servers:
        client = AsyncClient(servers[0].endpoint, timeout_s=20)

        async def call() -> Any:
            return await client.infer("m", x=ROW)

        async def call_and_close() -> None:
            await call()
            await client.close()

        loop = asyncio.new_event_loop()
        loop.run_until_complete(call())
        with pytest.raises(OtherLoopError, match="belongs to the event loop of its first call"):
            asyncio.run(call())
        loop.run_until_complete(call_and_close())
        loop.close()


def test_each_loop_has_its_own_client() -> None:
    async def run(endpoint: str) -> str:
        async with AsyncClient(endpoint, timeout_s=20) as client:
            return (await client.infer("m", x=ROW)).version

    with fakes(1) as servers:
        assert [asyncio.run(run(servers[0].endpoint)) for _ in range(2)] == ["1", "1"]


def test_keys_work_beside_each_other() -> None:
    async def test(server: FakeServer, client: AsyncClient) -> None:
        server.serve("other", inputs=INPUTS)
        calls = [client.infer("m", x=ROW, key=str(number)) for number in range(20)]
        answers = await asyncio.gather(*calls, client.infer("other", x=ROW, key="k"))
        assert {answer.arm for answer in answers} == {""}

    on_a_loop(test)


def test_errors_are_those_of_the_other_client() -> None:
    async def test(server: FakeServer, client: AsyncClient) -> None:
        server.fail("ModelInfer", "INTERNAL", "broken")
        with pytest.raises(ClientError, match="broken") as caught:
            await client.infer("m", x=ROW)
        assert caught.value.code == "INTERNAL"
        assert caught.value.__cause__ is not None

    on_a_loop(test)
