"""Many inputs, large batches, none at all, and what a call may ask for beside its inputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from clickclean_client import InvalidRequest, ServerFault
from clickclean_client.testing import FakeServer
from tests.client.fleets import BOTH, ROW, fakes, retry

pytestmark = pytest.mark.parametrize("kind", BOTH)


def rows(count: int) -> Any:
    return np.arange(3 * count, dtype=np.float32).reshape(count, 3)


@pytest.fixture
def served(kind: Any) -> Iterator[tuple[FakeServer, Any]]:
    """A server whose model takes four rows at once, and a client of it."""
    with fakes(1) as servers, kind(servers[0].endpoint, timeout_s=20, retry=retry()) as client:
        yield servers[0], client


def test_many_answers_come_in_the_order_of_the_inputs(served: tuple[FakeServer, Any]) -> None:
    _, client = served
    feeds = ({"x": np.full((1, 3), number, np.float32)} for number in range(40))
    answers = list(client.infer_many("m", feeds, concurrency=5))
    assert [int(answer["y0"][0, 0]) for answer in answers] == list(range(40))


def test_no_more_calls_are_under_way_than_asked_for(served: tuple[FakeServer, Any]) -> None:
    server, client = served
    server.delay_s = 0.01
    taken = 0

    def feeds() -> Iterator[Any]:
        nonlocal taken
        for _ in range(30):
            taken += 1
            yield {"x": ROW}

    for number, _ in enumerate(client.infer_many("m", feeds(), concurrency=3)):
        assert taken <= number + 1 + 3
    assert 1 < server.most_at_once <= 3


def test_the_first_error_ends_many(served: tuple[FakeServer, Any]) -> None:
    server, client = served
    server.fail(("ModelInfer", "m"), "INTERNAL", "broken")
    with pytest.raises(ServerFault, match="broken"):
        list(client.infer_many("m", ({"x": ROW} for _ in range(1000)), concurrency=4))
    assert server.calls["ModelInfer"] <= 10


def test_many_may_be_left(served: tuple[FakeServer, Any]) -> None:
    server, client = served
    many = client.infer_many("m", ({"x": ROW} for _ in range(1000)), concurrency=4)
    next(many)
    many.close()
    assert server.calls["ModelInfer"] <= 10
    assert client.infer("m", x=ROW).version == "1"


@pytest.mark.parametrize("concurrency", [0, -1, 1025, 2.0, True, "4"])
def test_how_many_at_once(served: tuple[FakeServer, Any], concurrency: Any) -> None:
    with pytest.raises(InvalidRequest, match="concurrency"):
        list(served[1].infer_many("m", [], concurrency=concurrency))


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8, 9, 40])
def test_a_large_batch_goes_in_parts(served: tuple[FakeServer, Any], count: int) -> None:
    server, client = served
    answer = client.infer("m", x=rows(count), split=True)
    assert answer["y0"].tolist() == rows(count).tolist()
    assert server.calls["ModelInfer"] == -(-count // 4)


def test_without_being_asked_nothing_is_split(served: tuple[FakeServer, Any]) -> None:
    server, client = served
    with pytest.raises(InvalidRequest, match="the batch of 5 is over the model's limit of 4"):
        client.infer("m", x=rows(5))
    assert server.calls["ModelInfer"] == 0


def test_parts_of_a_batch_are_answered_by_one_version(served: tuple[FakeServer, Any]) -> None:
    server, client = served
    seen: list[str] = []

    def answer(request: Any) -> Any:
        response = server.respond(request)
        seen.append("1" if len(seen) < 2 else "2")
        response.model_version = seen[-1]
        return response

    client.infer("m", x=ROW)
    server.answer(("ModelInfer", "m"), answer)
    whole = client.infer("m", x=rows(12), split=True)
    assert whole.version == "2"
    assert whole["y0"].tolist() == rows(12).tolist()
    assert seen == ["1", "1", "2", "2", "2", "2"]


def test_versions_that_change_all_the_time_are_an_error(served: tuple[FakeServer, Any]) -> None:
    server, client = served
    count = 0

    def answer(request: Any) -> Any:
        nonlocal count
        response = server.respond(request)
        count += 1
        response.model_version = str(count)
        return response

    client.infer("m", x=ROW)
    server.answer(("ModelInfer", "m"), answer)
    with pytest.raises(Exception, match="parts of a batch come from versions"):
        client.infer("m", x=rows(12), split=True)
    assert count == 6


def test_an_empty_batch_has_an_empty_answer(served: tuple[FakeServer, Any]) -> None:
    server, client = served
    for split in (False, True):
        answer = client.infer("m", x=rows(0), request_id="mine", split=split)
        assert answer["y0"].shape == (0, 3)
        assert answer["y0"].dtype == np.float32
        assert (answer.version, answer.request_id) == ("", "mine")
    assert server.calls["ModelInfer"] == 0


def test_only_some_outputs(served: tuple[FakeServer, Any]) -> None:
    server, client = served
    server.serve(
        "two",
        inputs={"x": ("FP32", [-1, 3])},
        outputs={"a": ("FP32", [-1, 3]), "b": ("FP32", [-1, 1])},
        answer=lambda x: {"a": x, "b": x[:, :1]},
    )
    assert sorted(client.infer("two", x=rows(2))) == ["a", "b"]
    assert list(client.infer("two", x=rows(2), outputs=["b"])) == ["b"]
    with pytest.raises(InvalidRequest, match="it has no output 'c'"):
        client.infer("two", x=rows(2), outputs=["c"])


def test_what_travels_with_a_request(served: tuple[FakeServer, Any]) -> None:
    server, client = served
    parameters = {"beam": 4, "mode": "fast", "sure": True, "heat": 0.5}
    client.infer(
        "m",
        x=ROW,
        request_id="r-1",
        priority=2,
        parameters=parameters,
        headers={"X-Tenant": "shop"},
        timeout_s=7,
    )
    request = server.last_request["ModelInfer"]
    assert request.id == "r-1"
    assert request.parameters["priority"].uint64_param == 2
    assert request.parameters["beam"].int64_param == 4
    assert request.parameters["mode"].string_param == "fast"
    assert request.parameters["sure"].bool_param is True
    assert request.parameters["heat"].double_param == 0.5
    assert 0 < request.parameters["timeout"].int64_param <= 7e6
    assert server.headers["x-tenant"] == "shop"


@pytest.mark.parametrize("compression", ["none", "gzip", "deflate"])
def test_compression(kind: Any, compression: str) -> None:
    large = np.zeros((4, 3), np.float32)
    with (
        fakes(1) as servers,
        kind(servers[0].endpoint, timeout_s=20, compression=compression) as client,
    ):
        assert client.infer("m", x=large)["y0"].tolist() == large.tolist()


def test_an_unknown_compression(kind: Any) -> None:
    with pytest.raises(InvalidRequest, match="compression is 'zip'") as caught:
        kind("127.0.0.1:1", compression="zip")
    assert "gzip" in caught.value.hint
