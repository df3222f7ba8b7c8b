"""How many requests a failure costs, and what the error says that is left of them."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from clickclean_client import (
    DeadlineExceeded,
    Hedge,
    InvalidRequest,
    Retry,
    RetryBudget,
    Timeout,
    Unavailable,
)
from clickclean_client._errors import BY_TEXT
from clickclean_client.protocol import grpc
from clickclean_client.testing import FakeServer, Refusal
from tests.client.fleets import BOTH, INPUTS, ROW, asked, error_of, fakes, retry

both = pytest.mark.parametrize("kind", BOTH)

QUICK = 0.001
"""A pause that costs the tests no time."""

# Requests that reach servers of which each fails: with one endpoint, and with two.
NEVER, ELSEWHERE, ANYWHERE = (1, 1), (1, 2), (3, 3)

BY_CODE = {
    "CANCELLED": NEVER,
    "UNKNOWN": NEVER,
    "INVALID_ARGUMENT": NEVER,
    "DEADLINE_EXCEEDED": ELSEWHERE,  # of a proxy: there is time left
    "NOT_FOUND": ELSEWHERE,
    "ALREADY_EXISTS": NEVER,
    "PERMISSION_DENIED": NEVER,
    "RESOURCE_EXHAUSTED": ELSEWHERE,
    "FAILED_PRECONDITION": NEVER,
    "ABORTED": NEVER,
    "OUT_OF_RANGE": NEVER,
    "UNIMPLEMENTED": NEVER,
    "INTERNAL": NEVER,
    "UNAVAILABLE": ANYWHERE,
    "DATA_LOSS": NEVER,
    "UNAUTHENTICATED": NEVER,
}

TEXTS = {
    "This protocol is restricted": NEVER,
    "Request timeout expired": ELSEWHERE,
    "Exceeds maximum queue size": ELSEWHERE,
    "is not at ready state": ELSEWHERE,
    "unknown model": ELSEWHERE,
    "explicit model load / unload is not allowed": NEVER,
    "CANCELLED": ANYWHERE,
    "RST_STREAM": ANYWHERE,
    "status: 429": ELSEWHERE,
    "load failed for model": NEVER,
    "requested model": ELSEWHERE,
    "decoupled transaction policy": NEVER,
    "message larger than max": NEVER,
    "Stream removed (received metadata size": NEVER,
    "received metadata size": NEVER,
    "is not healthy": ELSEWHERE,
    "mlserver.errors.ModelNotFound": ELSEWHERE,
    "WRONG_VERSION_NUMBER": ANYWHERE,
    "CERTIFICATE_VERIFY_FAILED": ANYWHERE,
    "Hostname Verification Check failed": ANYWHERE,
    "Socket closed": ANYWHERE,
    "Unable to find shared memory region": NEVER,
    "bytes to hold the results": NEVER,
}

ROWS = [(code, "", counts) for code, counts in BY_CODE.items()]
ROWS += [(words.code.name, words.part, TEXTS[words.part]) for words in BY_TEXT]


@pytest.fixture(scope="module")
def pair() -> Iterator[list[FakeServer]]:
    with fakes(2) as servers:
        yield servers


@pytest.fixture
def two(pair: list[FakeServer]) -> Iterator[list[FakeServer]]:
    """Two servers, as new."""
    for server in pair:
        server.heal()
        server.forget_calls()
    yield pair
    for server in pair:
        server.heal()


@pytest.fixture
def one(two: list[FakeServer]) -> FakeServer:
    return two[0]


def all_fail(servers: list[FakeServer], code: str = "UNAVAILABLE", text: str = "") -> None:
    for server in servers:
        server.fail("ModelInfer", code, text)


def refusals(server: FakeServer, *codes: str) -> list[Any]:
    """The server refuses one call after another with these codes; the requests it got."""
    requests: list[Any] = []

    def answer(request: Any) -> Any:
        requests.append(request)
        if len(requests) <= len(codes):
            raise Refusal(codes[len(requests) - 1], "as the test wants it")
        return server.respond(request)

    server.answer("ModelInfer", answer)
    return requests


def test_each_code_and_text_has_its_number() -> None:
    assert set(BY_CODE) == set(grpc.StatusCode.__members__) - {"OK"}
    assert set(TEXTS) == {words.part for words in BY_TEXT}


@both
@pytest.mark.parametrize(("code", "text", "counts"), ROWS)
def test_what_reaches_the_servers(
    kind: Any, two: list[FakeServer], code: str, text: str, counts: tuple[int, int]
) -> None:
    all_fail(two, code, f"so it is: {text} ...")
    for count, requests in enumerate(counts, 1):
        endpoints = [server.endpoint for server in two[:count]]
        before = sum(asked(two))
        with kind(endpoints, timeout_s=20, retry=retry(backoff_s=QUICK)) as client:
            error = error_of(client)
        assert sum(asked(two)) - before == requests
        assert error.attempts == requests + 2  # metadata and config
        assert error.code == code


@both
def test_without_retries_each_call_is_one_request(kind: Any, two: list[FakeServer]) -> None:
    all_fail(two)
    with kind([server.endpoint for server in two], timeout_s=20, retry=None) as client:
        for _ in range(5):
            assert type(error_of(client)) is Unavailable
    assert sum(asked(two)) == 5


@both
@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_as_many_attempts_as_are_allowed(kind: Any, one: FakeServer, attempts: int) -> None:
    all_fail([one])
    settings = retry(attempts=attempts, backoff_s=QUICK)
    with kind(one.endpoint, timeout_s=20, retry=settings) as client:
        assert type(error_of(client)) is Unavailable
    assert asked([one]) == [attempts]


@both
def test_a_failure_that_passes_is_not_seen_by_the_caller(kind: Any, one: FakeServer) -> None:
    requests = refusals(one, "UNAVAILABLE", "UNAVAILABLE")
    one.fail("ModelMetadata", "UNAVAILABLE", times=1)
    one.fail("ModelConfig", "UNAVAILABLE", times=2)
    with kind(one.endpoint, timeout_s=20, retry=retry(backoff_s=QUICK)) as client:
        np.testing.assert_array_equal(client.infer("m", x=ROW)["y0"], ROW)
        assert client.is_ready("m")
    assert len(requests) == 3
    assert asked([one], "ModelMetadata") == [2]
    assert asked([one], "ModelConfig") == [3]


@both
def test_what_comes_after_a_retry_decides_anew(kind: Any, one: FakeServer) -> None:
    requests = refusals(one, "UNAVAILABLE", "INVALID_ARGUMENT")
    with kind(one.endpoint, timeout_s=20, retry=retry(backoff_s=QUICK)) as client:
        assert type(error_of(client)) is InvalidRequest
    assert len(requests) == 2


@both
def test_an_empty_budget(kind: Any, two: list[FakeServer]) -> None:
    budget = RetryBudget(ratio=0, reserve=0)
    all_fail(two)
    endpoints = [server.endpoint for server in two]
    with kind(endpoints, timeout_s=20, retry=Retry(budget=budget)) as client:
        error = error_of(client)
        assert type(error) is Unavailable
    assert sum(asked(two)) == 1
    assert (budget.taken, budget.refused) == (0, 1)
    assert error.attempts == 3


@both
def test_two_clients_share_a_budget(kind: Any, one: FakeServer) -> None:
    settings = Retry(backoff_s=QUICK, budget=RetryBudget(ratio=0, reserve=5))
    all_fail([one])
    with (
        kind(one.endpoint, timeout_s=20, retry=settings) as first,
        kind(one.endpoint, timeout_s=20, retry=settings) as second,
    ):
        for client, requests in ((first, 2), (second, 3)):
            assert type(error_of(client)) is Unavailable
            assert asked([one]) == [requests]


@both
def test_calls_that_succeed_earn_repetitions(kind: Any, one: FakeServer) -> None:
    budget = RetryBudget(ratio=0.5, reserve=1)
    settings = Retry(backoff_s=QUICK, budget=budget)
    with kind(one.endpoint, timeout_s=20, retry=settings) as client:
        client.metadata("m")
        client.infer("m", x=ROW)
        assert budget.tokens == 1
        requests = refusals(one, "UNAVAILABLE")
        client.infer("m", x=ROW)
    assert len(requests) == 2
    assert budget.taken == 1


@both
def test_requests_of_a_sequence_are_not_repeated(kind: Any, two: list[FakeServer]) -> None:
    all_fail(two)
    endpoints = [server.endpoint for server in two]
    with kind(endpoints, timeout_s=20, retry=retry(backoff_s=QUICK), hedge=Hedge(0.9)) as client:
        ids: list[int | str] = [1, "a"]
        for number, sequence in enumerate(ids, 1):
            error = error_of(client, parameters={"sequence_id": sequence, "sequence_start": True})
            assert type(error) is Unavailable
            assert sum(asked(two)) == number
        assert type(error_of(client, parameters={"of_my_own": 1})) is Unavailable
        assert sum(asked(two)) == 2 + 3


@both
def test_a_pause_that_would_outlast_the_deadline_is_not_made(kind: Any, one: FakeServer) -> None:
    budget = RetryBudget()
    all_fail([one], text="Server is stopping")
    settings = Retry(backoff_s=500, budget=budget)
    with kind(one.endpoint, timeout_s=20, retry=settings) as client:
        error = error_of(client)
        assert type(error) is Unavailable
    assert error.elapsed_s < 20
    assert budget.taken == 0


@both
def test_a_deadline_tells_of_the_failure_before_it(kind: Any, one: FakeServer) -> None:
    over = threading.Event()
    requests: list[Any] = []

    def answer(request: Any) -> Any:
        requests.append(request)
        if len(requests) == 1:
            raise Refusal("UNAVAILABLE", "Server is stopping")
        over.wait(20)
        return one.respond(request)

    one.answer("ModelInfer", answer)
    with kind(one.endpoint, timeout_s=20, retry=retry(backoff_s=QUICK)) as client:
        client.metadata("m")
        error = error_of(client, timeout_s=0.3)
        assert type(error) is DeadlineExceeded
        over.set()
    assert len(requests) == 2
    assert "no answer within 0.3 s: an earlier attempt failed" in str(error)
    assert "Server is stopping" in str(error)
    assert error.code == "DEADLINE_EXCEEDED"
    assert isinstance(error.__cause__, Unavailable)
    assert error.attempts == 2


@both
def test_an_attempt_that_is_given_up_names_its_own_time(kind: Any, one: FakeServer) -> None:
    with (
        one.block("ModelInfer"),
        kind(one.endpoint, timeout_s=Timeout(20, attempt_s=0.2), retry=retry()) as client,
    ):
        error = error_of(client)
        assert type(error) is DeadlineExceeded
    assert re.search(r"no answer within 0\.2\d* s\.$", str(error))
    assert error.elapsed_s < 20
    assert error.__cause__ is not error


@both
def test_an_error_has_the_facts(kind: Any, two: list[FakeServer]) -> None:
    all_fail(two, text="Server is stopping")
    for server in two:
        server.serve("m", inputs=INPUTS, version=3)
    endpoints = [server.endpoint for server in two]
    settings = retry(backoff_s=QUICK)
    with kind(endpoints, timeout_s=20, retry=settings) as client:
        error = error_of(client, version=3)
        assert type(error) is Unavailable
    assert (error.model, error.version, error.code) == ("m", "3", "UNAVAILABLE")
    assert error.endpoint in endpoints
    assert f"at {error.endpoint} cannot be reached: Server is stopping." in str(error)
    assert error.attempts == 2 + 3
    assert 0 < error.elapsed_s < 20


@both
def test_each_attempt_tells_the_server_how_much_time_is_left(kind: Any, one: FakeServer) -> None:
    requests = refusals(one, "UNAVAILABLE", "UNAVAILABLE")
    with kind(one.endpoint, timeout_s=20, retry=retry(backoff_s=0.02)) as client:
        client.infer("m", x=ROW)
    times_us = [request.parameters["timeout"].int64_param for request in requests]
    assert times_us[0] < 20e6
    assert times_us[0] > times_us[1] + 5_000 > times_us[2] + 10_000
    assert [request.raw_input_contents[0] for request in requests] == [ROW.tobytes()] * 3


@both
def test_an_outage_is_not_made_worse(kind: Any, two: list[FakeServer]) -> None:
    calls = 2_000
    endpoints = [server.endpoint for server in two]
    with kind(endpoints, timeout_s=60, retry=retry(backoff_s=QUICK)) as client:
        client.infer("m", x=ROW)
        for server in two:
            server.forget_calls()
        all_fail(two)

        def call(_: int) -> str:
            return type(error_of(client)).__name__

        with ThreadPoolExecutor(8) as threads:
            outcomes = set(threads.map(call, range(calls)))
    assert outcomes == {"Unavailable"}
    assert calls < sum(asked(two)) <= calls + 11
    # Everything that was sent, probes as well.
    assert sum(sum(server.calls.values()) for server in two) / calls <= 1.1
