"""One client of two servers, asked all the time, while one of them fails: callers get no error."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import numpy as np
import pytest

from clickclean_client import Client
from tests.conftest import PublishedModels
from tests.e2e.open_loop import Attempts, OpenLoop
from tests.e2e.two_servers import MODEL, STALLING, Server, two_servers
from tests.server.watching import eventually

RATE = 100.0
THREADS = 8
ENOUGH = 5
# A client gives up on a slow attempt once it has seen 100 answers.
LEARNT = 60


@pytest.fixture(scope="module")
def servers(
    published: PublishedModels, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Server]]:
    root = tmp_path_factory.mktemp("two")
    with two_servers(published.repository, root) as found:
        yield found


def die_and_start(server: Server) -> None:
    server.kill_supervisor()
    server.restart()


class Asked:
    """One client of both servers, asked at a fixed rate in the block."""

    def __init__(self, servers: tuple[Server, Server], model: str) -> None:
        self.servers = servers
        image = np.zeros((1, 1, 8, 8), np.float32)
        self._attempts = Attempts()
        self._stack = ExitStack()
        addresses = [server.address for server in servers]
        client = self._stack.enter_context(Client(addresses, timeout_s=1.0, hooks=[self._attempts]))
        self._loop = OpenLoop(lambda: client.infer(model, image=image), rate=RATE, threads=THREADS)

    def answers_of(self, server: Server) -> int:
        return sum(one.ok and one.endpoint == server.address for one in self._attempts.tried)

    def wait_for_more(self, *servers: Server, count: int = ENOUGH) -> None:
        """Until each of them has answered so many calls from now on."""
        before = [self.answers_of(server) for server in servers]

        def more() -> bool:
            now = [self.answers_of(server) for server in servers]
            return all(b - a >= count for a, b in zip(before, now, strict=True))

        eventually(more, "answers")

    @property
    def errors(self) -> set[str]:
        return {one.text for one in self._loop.calls if one.error}

    def __enter__(self) -> "Asked":
        self._stack.enter_context(self._loop)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(Server.kill_server, id="a-server-is-killed"),
        pytest.param(Server.terminate_server, id="a-server-is-told-to-stop"),
        pytest.param(Server.kill_model, id="a-model-process-is-killed"),
        pytest.param(Server.restart, id="a-server-is-restarted"),
        pytest.param(die_and_start, id="a-supervisor-is-killed"),
    ],
)
def test_no_caller_notices(servers: tuple[Server, Server], act: Callable[[Server], None]) -> None:
    victim, other = servers
    with Asked(servers, MODEL) as asked:
        asked.wait_for_more(victim, other, count=LEARNT)
        act(victim)
        asked.wait_for_more(other)
        eventually(victim.answers, "an answer of the server by itself")
        # Calls go there again, without anybody telling the client.
        asked.wait_for_more(victim, other)
    assert asked.errors == set()


def test_a_stalled_model_is_left_alone(servers: tuple[Server, Server]) -> None:
    victim, other = servers
    with Asked(servers, STALLING) as asked:
        asked.wait_for_more(victim, other, count=LEARNT)
        with victim.stalled():
            asked.wait_for_more(other)
            asked.wait_for_more(other)
        asked.wait_for_more(victim, other)
