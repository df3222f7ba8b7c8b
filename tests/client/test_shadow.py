"""Shadow: the champion's answer, whatever the challenger does with its copy of the request."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from clickclean_client import Client, Split
from clickclean_client.experiments.agreement import agreement
from clickclean_client.experiments.assignment import is_challenger
from clickclean_client.experiments.mirror import IN_FLIGHT
from clickclean_client.experiments.tables import Exposure, Shadow
from clickclean_client.protocol import grpc
from clickclean_client.testing import FakeServer
from tests.client.challengers import (
    IN_CHALLENGER,
    IN_CHAMPION,
    NAME,
    ROW,
    start,
    until,
)

CODE = grpc.StatusCode
SLOT = ("ModelInfer", "m.challenger", "")


class Notes:
    def __init__(self) -> None:
        self.shadows: list[Shadow] = []
        self.exposures: list[Exposure] = []

    def add(self, row: Any) -> None:
        (self.shadows if isinstance(row, Shadow) else self.exposures).append(row)


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def mirroring(fake: FakeServer, notes: Notes) -> Iterator[Client]:
    log: Any = notes
    start(fake, shadow_percent=100)
    with Client(fake.endpoint, timeout_s=20, experiment_log=log) as opened:
        yield opened


def wait_for_answers(client: Client, count: int) -> None:
    until(lambda: client.shadows.answered >= count)


def wait_for_failures(client: Client, count: int) -> None:
    until(lambda: client.shadows.failed >= count)


def test_a_copy_is_compared(fake: FakeServer, notes: Notes, mirroring: Client) -> None:
    x = np.array([[0, 5, 1], [7, 8, 9]], np.float32)
    result = mirroring.infer("m", x=x, key=IN_CHAMPION)
    assert (result.version, result.arm, result["y0"].tolist()) == ("1", "champion", x.tolist())
    until(lambda: mirroring.shadows.answered)
    (row,) = notes.shadows
    assert (row.experiment, row.model, row.prediction_id) == (NAME, "m", result.prediction_id)
    assert (row.champion_version, row.challenger_version) == (1, 2)
    assert (row.error, row.agree, row.max_difference) == ("", True, 0.5)
    assert row.champion_ms > 0
    assert row.challenger_ms > 0
    assert [exposure.arm for exposure in notes.exposures] == ["champion"]
    assert 19e6 < fake.last_request["ModelInfer"].parameters["timeout"].int64_param <= 20e6


def test_who_is_not_mirrored(fake: FakeServer, notes: Notes, mirroring: Client) -> None:
    mirroring.infer("m", x=ROW)
    mirroring.infer("m", x=ROW, key=IN_CHALLENGER)
    fake.fail(("ModelInfer", "m.challenger"), CODE.INTERNAL)
    mirroring.infer("m", x=ROW, key=IN_CHALLENGER)
    assert notes.exposures[-1].fallback
    fake.fail(("ModelInfer", "m"), CODE.INTERNAL)
    with pytest.raises(Exception, match="failed"):
        mirroring.infer("m", x=ROW, key=IN_CHAMPION)
    assert fake.asked[SLOT] == 2
    mirroring.close()
    assert notes.shadows == []


def test_the_share_is_of_prediction_ids(fake: FakeServer, notes: Notes) -> None:
    start(fake, percent=0, shadow_percent=30)
    log: Any = notes
    with Client(fake.endpoint, timeout_s=20, experiment_log=log) as client:
        for number in range(200):
            before = client.shadows.answered
            client.infer("m", x=ROW, key="one", request_id=f"request-{number}")
            if is_challenger("s/shadow", f"request-{number}", 30):
                wait_for_answers(client, before + 1)
    assert 40 < len(notes.shadows) < 80
    assert client.shadows.dropped == 0


@pytest.mark.parametrize("code", [CODE.INTERNAL, CODE.NOT_FOUND, CODE.INVALID_ARGUMENT])
def test_a_failure_is_written_and_nothing_else(
    code: Any, fake: FakeServer, notes: Notes, mirroring: Client
) -> None:
    fake.fail(("ModelInfer", "m.challenger"), code)
    assert mirroring.infer("m", x=ROW, key=IN_CHAMPION).version == "1"
    until(lambda: mirroring.shadows.failed)
    (row,) = notes.shadows
    assert row.error
    assert (row.challenger_version, row.agree) == (0, False)
    assert np.isnan(row.max_difference)
    assert mirroring.infer("m", x=ROW, key=IN_CHAMPION).arm == "champion"


def test_an_answer_of_another_schema(fake: FakeServer, notes: Notes, mirroring: Client) -> None:
    def other(request: Any) -> Any:
        response = fake.respond(request)
        if request.model_name == "m.challenger":
            response.outputs[0].name = "z"
        return response

    fake.answer("ModelInfer", other)
    assert list(mirroring.infer("m", x=ROW, key=IN_CHAMPION)) == ["y0"]
    until(lambda: mirroring.shadows.failed)
    assert notes.shadows[0].error == "ProtocolError"


def test_what_is_beyond_the_limit_is_dropped(
    fake: FakeServer, notes: Notes, mirroring: Client
) -> None:
    blocked = fake.block(("ModelInfer", "m.challenger"))
    for _ in range(IN_FLIGHT + 3):
        assert mirroring.infer("m", x=ROW, key=IN_CHAMPION).version == "1"
    until(lambda: fake.asked[SLOT] == IN_FLIGHT)
    assert mirroring.shadows.dropped == 3
    blocked.set()
    until(lambda: mirroring.shadows.answered == IN_FLIGHT)
    mirroring.infer("m", x=ROW, key=IN_CHAMPION)
    until(lambda: mirroring.shadows.answered == IN_FLIGHT + 1)
    assert len(notes.shadows) == IN_FLIGHT + 1


def test_without_a_thread_nothing_is_mirrored(
    mirroring: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirroring.infer("m", x=ROW, key=IN_CHALLENGER)

    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        mirroring._core.following.follower._mirror.offer(None)  # type: ignore[arg-type]
    assert mirroring.shadows.dropped == 1
    mirroring.infer("m", x=ROW, key=IN_CHAMPION)
    wait_for_answers(mirroring, 1)


def test_a_copy_has_a_deadline(fake: FakeServer, notes: Notes, mirroring: Client) -> None:
    fake.block(("ModelInfer", "m.challenger"))
    mirroring.infer("m", x=ROW, key=IN_CHAMPION, timeout_s=0.5)
    until(lambda: notes.shadows)
    assert notes.shadows[0].error == "DeadlineExceeded"


def test_closing_cancels_what_is_under_way(
    fake: FakeServer, notes: Notes, mirroring: Client
) -> None:
    fake.block(("ModelInfer", "m.challenger"))
    for _ in range(3):
        mirroring.infer("m", x=ROW, key=IN_CHAMPION)
    until(lambda: fake.asked[SLOT] == 3)
    before = {thread.name for thread in threading.enumerate()}
    mirroring.close()
    mirroring.close()
    assert "clickclean-shadow" in before
    assert "clickclean-shadow" not in {thread.name for thread in threading.enumerate()}
    assert notes.shadows == []


def test_a_log_that_breaks_stops_nothing(
    fake: FakeServer, notes: Notes, mirroring: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(row: Any) -> None:
        if isinstance(row, Shadow):
            raise RuntimeError("broken")

    log: Any = notes
    log.add = broken
    with Client(fake.endpoint, timeout_s=20, experiment_log=log) as client:
        for number in range(1, 3):
            client.infer("m", x=ROW, key=IN_CHAMPION)
            wait_for_failures(client, number)


A = np.array([[1.0, 2.0], [4.0, 3.0]], np.float32)


@pytest.mark.parametrize(
    ("other", "agree", "worst"),
    [
        (A, True, 0.0),
        (A + 0.25, True, 0.25),
        (A[:, ::-1], False, 1.0),
        (np.where(A == 4, np.nan, A).astype(np.float32), True, np.inf),
        (A[:1], False, np.inf),
    ],
    ids=["same", "shifted", "swapped", "nan", "shape"],
)
def test_agreement_of_scores(other: NDArray[Any], agree: bool, worst: float) -> None:
    assert agreement({"y": A}, {"y": other}, "y") == (agree, worst)


@pytest.mark.parametrize(
    ("one", "other", "agree", "worst"),
    [
        (np.array([3, 4]), np.array([3, 4]), True, 0.0),
        (np.array([3, 4]), np.array([3, 5]), False, 1.0),
        (np.array([[0.5]]), np.array([[0.5004]]), True, pytest.approx(0.0004)),
        (np.array([[0.5]]), np.array([[0.6]]), False, pytest.approx(0.1)),
        (np.array([b"a"], object), np.array([b"a"], object), True, 0.0),
        (np.array([b"a"], object), np.array([b"b"], object), False, np.inf),
        (np.array([np.inf, np.nan]), np.array([np.inf, np.nan]), True, 0.0),
        (np.array([True]), np.array([False]), False, 1.0),
        (np.empty((0, 3)), np.empty((0, 3)), True, 0.0),
    ],
)
def test_agreement_of_other_outputs(
    one: NDArray[Any], other: NDArray[Any], agree: bool, worst: float
) -> None:
    assert agreement({"y": one}, {"y": other}, "y") == (agree, worst)


def test_the_largest_difference_is_that_of_any_output() -> None:
    one = {"y": A, "z": A}
    assert agreement(one, {"y": A, "z": A + 1}, "y") == (True, 1.0)
    assert agreement(one, {"y": A}, "y") == (True, np.inf)


def test_a_split_is_read_back() -> None:
    split = Split("e", "s", 12.345, 1, 2, shadow_percent=0.001)
    assert Split.from_json(split.to_json()) == split
    assert Split.from_json('{"later": 1, ' + split.to_json()[1:]) == split
