"""Models that answer one request several times, or never."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from clickclean_client import (
    CallEnd,
    CallStart,
    ClientError,
    DeadlineExceeded,
    InvalidRequest,
    ModelNotFound,
    Unavailable,
)
from clickclean_client.testing import FakeServer
from tests.client.challengers import until
from tests.client.fleets import BOTH, ROW, fakes, retry, under_way

pytestmark = pytest.mark.parametrize("kind", BOTH)

INPUTS = {"x": ("FP32", [-1, 3]), "times": ("INT32", [-1, 1])}


def several(x: Any, times: Any) -> Iterator[dict[str, Any]]:
    for number in range(int(times[0, 0])):
        yield {"y": x + number}


def times(count: int) -> Any:
    return np.array([[count]], np.int32)


def serve(server: FakeServer) -> None:
    server.serve(
        "several",
        inputs=INPUTS,
        outputs={"y": ("FP32", [-1, 3])},
        answer=several,
        decoupled=True,
    )


@pytest.fixture
def served(kind: Any) -> Iterator[tuple[FakeServer, Any]]:
    with fakes(1) as servers:
        serve(servers[0])
        with kind(servers[0].endpoint, timeout_s=20, retry=retry()) as client:
            yield servers[0], client


@pytest.mark.parametrize("count", [0, 1, 5])
def test_answers_come_one_after_another(served: tuple[FakeServer, Any], count: int) -> None:
    _, client = served
    answers = list(client.stream("several", x=ROW, times=times(count)))
    assert [float(answer["y"][0, 0]) for answer in answers] == list(range(count))
    assert {answer.version for answer in answers} <= {"1"}
    assert under_way(client) == [0]


def test_a_model_that_answers_once(served: tuple[FakeServer, Any]) -> None:
    (answer,) = served[1].stream("m", x=ROW)
    assert answer["y0"].shape == (1, 3)


def test_infer_says_which_call_such_a_model_wants(served: tuple[FakeServer, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        served[1].infer("several", x=ROW, times=times(2))
    assert "stream(...)" in caught.value.hint


def test_leaving_the_loop_cancels_the_rest(served: tuple[FakeServer, Any]) -> None:
    _, client = served
    stream = client.stream("several", x=ROW, times=times(1_000_000))
    assert next(stream)["y"][0, 0] == 0
    assert next(stream)["y"][0, 0] == 1
    stream.close()
    until(lambda: under_way(client) == [0])
    assert len(list(client.stream("several", x=ROW, times=times(2)))) == 2


def test_the_deadline_covers_all_answers(served: tuple[FakeServer, Any]) -> None:
    server, client = served
    list(client.stream("several", x=ROW, times=times(1)))
    block = server.block("ModelStreamInfer")
    with pytest.raises(DeadlineExceeded):
        list(client.stream("several", x=ROW, times=times(2), timeout_s=0.2))
    block.set()
    assert under_way(client) == [0]


def test_an_error_in_the_stream(served: tuple[FakeServer, Any]) -> None:
    server, client = served
    server.fail(("ModelStreamInfer", "several"), "INTERNAL", "it broke")
    with pytest.raises(ClientError, match="it broke"):
        list(client.stream("several", x=ROW, times=times(2)))
    assert under_way(client) == [0]


def test_wrong_inputs_and_unknown_models(served: tuple[FakeServer, Any]) -> None:
    server, client = served
    with pytest.raises(InvalidRequest, match="missing"):
        list(client.stream("several", x=ROW))
    with pytest.raises(ModelNotFound):
        list(client.stream("nothing", x=ROW))
    assert server.calls["ModelStreamInfer"] == 0


def test_what_failed_before_the_first_answer_is_repeated_elsewhere(kind: Any) -> None:
    with fakes(2) as servers:
        for server in servers:
            serve(server)
        endpoints = [server.endpoint for server in servers]
        with kind(endpoints, timeout_s=20, retry=retry()) as client:
            servers[0].stop()
            for _ in range(6):
                assert len(list(client.stream("several", x=ROW, times=times(3)))) == 3


def test_what_failed_after_it_is_not(kind: Any) -> None:
    with fakes(2) as servers:
        for server in servers:
            serve(server)
        endpoints = [server.endpoint for server in servers]
        with kind(endpoints, timeout_s=20, retry=retry()) as client:
            stream = client.stream("several", x=ROW, times=times(1_000_000))
            next(stream)
            for server in servers:
                server.stop()
            with pytest.raises(Unavailable):
                for _ in stream:
                    pass
            assert under_way(client) == [0, 0]


def test_hooks_see_one_call(kind: Any) -> None:
    starts: list[CallStart] = []
    ends: list[CallEnd] = []

    def hook(start: CallStart) -> Any:
        starts.append(start)
        return ends.append

    with fakes(1) as servers:
        serve(servers[0])
        with kind(servers[0].endpoint, timeout_s=20, hooks=[hook]) as client:
            list(client.stream("several", x=ROW, times=times(3)))
    (start,), (end,) = starts, ends
    assert start.stream
    assert (end.stream, end.outcome, end.answered_version) == (True, "ok", "1")
