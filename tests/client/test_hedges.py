"""A second request for a call that has no answer yet: when it is sent, and which one counts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from clickclean_client import (
    CallEnd,
    CallStart,
    Cancelled,
    Client,
    DeadlineExceeded,
    Hedge,
    InvalidRequest,
    ModelNotFound,
    Retry,
    RetryBudget,
    ServerFault,
    Unavailable,
)
from clickclean_client._latencies import ENOUGH
from clickclean_client.testing import FakeServer, Refusal
from tests.client.challengers import until
from tests.client.fleets import BOTH, ROW, asked, error_of, fakes, is_idle, retry, under_way

both = pytest.mark.parametrize("kind", BOTH)

SOON = Hedge(after_s=0.02)
LATE_S = 0.2


class Turns:
    """What is said to one request after another, whichever server gets it.

    "stall": nothing; "answer"; "slowly": the answer; else the name of a status, at once or after
    "late". The last one is said to all that follow.
    """

    def __init__(self, servers: list[FakeServer], *says: str) -> None:
        self.came = 0
        self.over = threading.Event()
        self._says = says
        self._lock = threading.Lock()
        for server in servers:
            server.answer("ModelInfer", partial(self._turn, server))

    def _turn(self, server: FakeServer, request: Any) -> Any:
        with self._lock:
            says = self._says[min(self.came, len(self._says) - 1)]
            self.came += 1
        if says == "stall":
            self.over.wait(20)
        if says == "slowly":
            self.over.wait(2 * LATE_S)
        if says.startswith("late "):
            self.over.wait(LATE_S)
        if says in {"stall", "slowly", "answer"}:
            return server.respond(request)
        raise Refusal(says.removeprefix("late "), "as the test wants it")


@contextmanager
def turns(servers: list[FakeServer], *says: str) -> Iterator[Turns]:
    found = Turns(servers, *says)
    try:
        yield found
    finally:
        found.over.set()
        for server in servers:
            server.heal()


@pytest.fixture(scope="module")
def pair() -> Iterator[list[FakeServer]]:
    with fakes(2) as servers:
        yield servers


@pytest.fixture(params=[1, 2], ids=["one", "two"])
def servers(pair: list[FakeServer], request: pytest.FixtureRequest) -> list[FakeServer]:
    """One server, or two."""
    count: int = request.param
    return pair[:count]


@contextmanager
def hedging(
    kind: Any, servers: list[FakeServer], hedge: Hedge = SOON, **settings: Any
) -> Iterator[Any]:
    """A client that knows the model, and has no request left under way at its end."""
    with kind(
        [server.endpoint for server in servers],
        hedge=hedge,
        **{"timeout_s": 10, "retry": retry(attempts=1), **settings},
    ) as client:
        client.metadata("m")
        yield client
        assert not any(under_way(client))


@both
def test_the_first_answer_counts(kind: Any, servers: list[FakeServer]) -> None:
    ends: list[CallEnd] = []

    def hook(start: CallStart) -> Any:
        return ends.append

    with (
        turns(servers, "stall", "answer") as said,
        hedging(kind, servers, hooks=[hook]) as client,
    ):
        assert client.infer("m", x=ROW).version == "1"
        assert said.came == 2
    (end,) = ends
    assert end.outcome == "ok"
    assert [(a.outcome, a.hedge) for a in end.attempts[-2:]] == [("Cancelled", False), ("ok", True)]
    assert len({a.endpoint for a in end.attempts[-2:]}) == len(servers)


@both
def test_the_other_one_is_cancelled_at_its_server(kind: Any, pair: list[FakeServer]) -> None:
    with pair[0].block("ModelInfer"), hedging(kind, pair) as client:
        pair[0].forget_calls()
        for _ in range(60):
            client.infer("m", x=ROW)
            if pair[0].calls["ModelInfer"] >= 2:
                break
        assert pair[0].calls["ModelInfer"] >= 2
        until(lambda: is_idle(pair[0]))


@both
def test_the_time_is_that_of_most_answers_once_there_are_some(
    kind: Any, servers: list[FakeServer]
) -> None:
    quick = ["answer"] * (ENOUGH - 1)
    with (
        turns(servers, *quick, "stall", "stall", "answer") as said,
        hedging(kind, servers, Hedge(0.9)) as client,
    ):
        for _ in quick:
            client.infer("m", x=ROW)
        assert said.came == ENOUGH - 1
        assert type(error_of(client, timeout_s=0.3)) is DeadlineExceeded
        assert said.came == ENOUGH, "too few answers to know what is usual"
        client.infer("m", x=ROW)
        assert said.came == ENOUGH + 2


@both
def test_calls_that_a_hedge_answers_do_not_make_it_earlier(
    kind: Any, servers: list[FakeServer]
) -> None:
    with (
        turns(servers, *["stall", "answer"] * ENOUGH) as said,
        hedging(kind, servers, retry=Retry(budget=RetryBudget(1, 1000))) as client,
    ):
        for _ in range(ENOUGH):
            client.infer("m", x=ROW)
        assert said.came == 2 * ENOUGH
        core = getattr(client, "client", client)._core
        assert core.attempts._times("m").quantile_s(0.95) >= 0.02


@both
def test_answers_in_time_are_not_hedged(kind: Any, servers: list[FakeServer]) -> None:
    with turns(servers, "answer") as said, hedging(kind, servers, Hedge(after_s=5)) as client:
        for _ in range(10):
            client.infer("m", x=ROW)
        assert said.came == 10


@both
def test_a_failure_in_time_is_not_hedged(kind: Any, servers: list[FakeServer]) -> None:
    with turns(servers, "INTERNAL") as said, hedging(kind, servers, Hedge(after_s=5)) as client:
        assert type(error_of(client)) is ServerFault
        assert said.came == 1


@both
def test_a_hedge_that_would_come_after_the_deadline(kind: Any, servers: list[FakeServer]) -> None:
    with (
        turns(servers, "stall", "answer") as said,
        hedging(kind, servers, Hedge(after_s=5)) as client,
    ):
        assert type(error_of(client, timeout_s=0.2)) is DeadlineExceeded
        assert said.came == 1


@both
def test_requests_of_a_sequence_are_not_hedged(kind: Any, servers: list[FakeServer]) -> None:
    with turns(servers, "stall", "answer") as said, hedging(kind, servers) as client:
        error = error_of(client, timeout_s=0.3, parameters={"sequence_id": 1})
        assert type(error) is DeadlineExceeded
        assert said.came == 1


@both
def test_a_hedge_takes_a_token(kind: Any, servers: list[FakeServer]) -> None:
    budget = RetryBudget(ratio=0, reserve=5)  # of which there is one at first
    with (
        turns(servers, "stall", "answer", "stall", "answer") as said,
        hedging(kind, servers, retry=Retry(attempts=1, budget=budget)) as client,
    ):
        client.infer("m", x=ROW)
        assert type(error_of(client, timeout_s=0.3)) is DeadlineExceeded
        assert said.came == 3
    assert (budget.taken, budget.refused) == (1, 1)


@both
@pytest.mark.parametrize("says", [("late UNAVAILABLE", "slowly"), ("slowly", "INTERNAL")])
def test_one_that_fails_leaves_it_to_the_other_one(
    kind: Any, servers: list[FakeServer], says: tuple[str, str]
) -> None:
    with turns(servers, *says) as said, hedging(kind, servers) as client:
        assert client.infer("m", x=ROW).version == "1"
        assert said.came == 2


@both
def test_both_fail(kind: Any, servers: list[FakeServer]) -> None:
    with turns(servers, "late UNAVAILABLE") as said, hedging(kind, servers) as client:
        error = error_of(client)
        assert type(error) is Unavailable
        assert error.attempts == 2
        assert said.came == 2


@both
def test_both_count_as_attempts(kind: Any, servers: list[FakeServer]) -> None:
    settings = retry(attempts=3, backoff_s=0.001)
    with (
        turns(servers, "late UNAVAILABLE", "late UNAVAILABLE", "UNAVAILABLE") as said,
        hedging(kind, servers, retry=settings) as client,
    ):
        assert type(error_of(client)) is Unavailable
        assert said.came == 3


@both
def test_a_server_that_failed_for_the_model_is_not_asked_again(
    kind: Any, pair: list[FakeServer]
) -> None:
    with (
        turns(pair, "late NOT_FOUND") as said,
        hedging(kind, pair, retry=retry(attempts=10)) as client,
    ):
        assert type(error_of(client)) is ModelNotFound
        assert said.came == 2


@both
@pytest.mark.parametrize(
    "says",
    [("late INVALID_ARGUMENT", "late UNAVAILABLE"), ("late UNAVAILABLE", "late INVALID_ARGUMENT")],
)
def test_a_mistake_of_the_caller_is_not_repeated_whichever_request_tells(
    kind: Any, servers: list[FakeServer], says: tuple[str, str]
) -> None:
    with turns(servers, *says) as said, hedging(kind, servers, retry=retry(attempts=5)) as client:
        assert type(error_of(client)) is InvalidRequest
        assert said.came == 2


@both
def test_a_client_that_is_closed_during_a_race(kind: Any, servers: list[FakeServer]) -> None:
    with (
        turns(servers, "stall") as said,
        hedging(kind, servers) as client,
        ThreadPoolExecutor(1) as thread,
    ):
        call = thread.submit(error_of, client)
        until(lambda: said.came == 2)
        client.close()
        assert type(call.result()) is Cancelled


def test_a_client_that_is_closed_when_the_second_one_begins(servers: list[FakeServer]) -> None:
    class Closing(RetryBudget):
        def take(self) -> bool:
            client.close()
            return True

    with (
        turns(servers, "stall") as said,
        hedging(Client, servers, retry=Retry(budget=Closing())) as client,
    ):
        assert type(error_of(client)) in {Cancelled, InvalidRequest}
        assert said.came == 1
    assert all(asked(servers))
