"""Calls with a key against a fake server: arms, fallback, and what a client knows of a split."""

import logging
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from clickclean_client import (
    AccessRefused,
    Cancelled,
    Client,
    ClientError,
    DeadlineExceeded,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    ServerFault,
    Unavailable,
)
from clickclean_client.experiments import watch as watch_module
from clickclean_client.experiments.tables import Exposure
from clickclean_client.protocol import grpc
from clickclean_client.testing import FakeServer
from tests.client.challengers import (
    IN_CHALLENGER,
    IN_CHAMPION,
    NAME,
    ROW,
    keys_of,
    split_text,
    start,
    until,
)

CODE = grpc.StatusCode
CONFIG = ("ModelConfig", "m.challenger", "")


class Notes:
    """Stands for a log: keeps the rows."""

    def __init__(self) -> None:
        self.rows: list[Exposure] = []

    def add(self, row: Any) -> None:
        self.rows.append(row)


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def eager(fake: FakeServer, notes: Notes) -> Iterator[Client]:
    """A client that reads the split again at nearly every call."""
    log: Any = notes
    with Client(
        fake.endpoint, timeout_s=20, experiment_log=log, experiment_refresh_s=1e-6
    ) as opened:
        yield opened


def test_without_a_key_nothing_is_asked_about_experiments(fake: FakeServer, client: Client) -> None:
    start(fake)
    result = client.infer("m", x=ROW, request_id="r")
    assert (result.arm, result.experiment, result.prediction_id) == ("", "", "r")
    assert fake.asked[CONFIG] == 0
    assert fake.calls == {"ModelMetadata": 1, "ModelConfig": 1, "ModelInfer": 1}


def test_a_key_without_an_experiment(fake: FakeServer, client: Client) -> None:
    one = client.infer("m", x=ROW, key="user-1")
    two = client.infer("m", x=ROW, key="user-1")
    assert (one.arm, one.experiment, one.version) == ("", "", "1")
    assert {uuid.UUID(answer.prediction_id).version for answer in (one, two)} == {4}
    assert one.prediction_id != two.prediction_id
    assert one.request_id == ""
    assert fake.asked[CONFIG] == 1


def test_keys_are_sticky_and_both_arms_answer(fake: FakeServer, client: Client) -> None:
    start(fake)
    for arm, version in (("champion", "1"), ("challenger", "2")):
        for key in keys_of(arm, 10) * 2:
            result = client.infer("m", x=ROW, key=key, request_id="mine")
            assert (result.arm, result.version) == (arm, version)
            assert (result.model, result.experiment) == ("m", NAME)
            assert result.prediction_id == "mine"
            assert result["y0"][0, 0] == (0.5 if arm == "challenger" else 0)
    assert fake.asked[CONFIG] == 2  # for the split, and for the challenger's batch limit
    assert fake.asked["ModelInfer", "m.challenger", ""] == 20


def test_an_int_is_the_key_of_its_decimal_digits(fake: FakeServer, client: Client) -> None:
    start(fake)
    for number in range(20):
        arms = {client.infer("m", x=ROW, key=key).arm for key in (number, str(number))}
        assert len(arms) == 1


@pytest.mark.parametrize("key", ["", "\ud800", b"k", 1.0, True, np.int64(3)])
def test_what_is_no_key(key: Any, fake: FakeServer, client: Client) -> None:
    with pytest.raises(InvalidRequest, match="is no key"):
        client.infer("m", x=ROW, key=key)
    assert not fake.calls


def test_a_key_and_a_version_exclude_each_other(fake: FakeServer, client: Client) -> None:
    with pytest.raises(InvalidRequest, match="together with version 2"):
        client.infer("m", x=ROW, key="k", version=2)
    with pytest.raises(InvalidRequest, match="exact client"):
        client.exactly().infer("m", x=ROW, key="k")
    assert not fake.calls


@pytest.mark.parametrize("refresh_s", [0, -1, float("nan"), True, "2", 1e9])
def test_what_is_no_refresh_interval(refresh_s: Any) -> None:
    with pytest.raises(InvalidRequest, match="experiment_refresh_s"):
        Client("127.0.0.1:8001", experiment_refresh_s=refresh_s)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (CODE.INTERNAL, "ServerFault"),
        (CODE.UNAVAILABLE, "Unavailable"),
        (CODE.RESOURCE_EXHAUSTED, "Overloaded"),
        (CODE.INVALID_ARGUMENT, "InvalidRequest"),
        (CODE.UNIMPLEMENTED, "ProtocolError"),
    ],
)
def test_the_champion_answers_for_a_challenger_that_fails(
    code: Any, kind: str, fake: FakeServer, notes: Notes, eager: Client
) -> None:
    start(fake)
    fake.fail(("ModelInfer", "m.challenger"), code, "no")
    result = eager.infer("m", x=ROW, key=IN_CHALLENGER)
    assert (result.arm, result.version, result["y0"][0, 0]) == ("challenger", "1", 0)
    (row,) = notes.rows
    assert (row.arm, row.version, row.error, row.fallback) == ("challenger", 1, kind, True)


def test_a_challenger_that_never_answers_leaves_time_for_the_champion(
    fake: FakeServer, notes: Notes, eager: Client
) -> None:
    start(fake)
    fake.block(("ModelInfer", "m.challenger"))
    result = eager.infer("m", x=ROW, key=IN_CHALLENGER, timeout_s=1)
    assert (result.arm, result.version) == ("challenger", "1")
    assert (notes.rows[0].error, notes.rows[0].fallback) == ("DeadlineExceeded", True)


def test_a_wrong_answer_of_the_challenger_is_a_failure(fake: FakeServer, eager: Client) -> None:
    start(fake)

    def damaged(request: Any) -> Any:
        response = fake.respond(request)
        if request.model_name == "m.challenger":
            response.outputs[0].datatype = "INT8"
        return response

    fake.answer("ModelInfer", damaged)
    assert eager.infer("m", x=ROW, key=IN_CHALLENGER).version == "1"


def test_inputs_that_only_the_champion_takes_are_no_mistake(
    fake: FakeServer, notes: Notes, eager: Client
) -> None:
    start(fake)
    fake.serve(
        "m.challenger",
        version=2,
        inputs={"x": ("FP32", (-1, 5))},
        parameters={"CLICKCLEAN_SPLIT": split_text()},
    )
    assert eager.infer("m", x=ROW, key=IN_CHALLENGER).version == "1"
    assert notes.rows[0].error == "InvalidRequest"


def test_the_callers_own_mistake_is_raised_and_not_logged(
    fake: FakeServer, notes: Notes, eager: Client
) -> None:
    start(fake)
    for key in (IN_CHALLENGER, IN_CHAMPION):
        with pytest.raises(InvalidRequest, match="no input 'y'"):
            eager.infer("m", y=ROW, key=key)
    assert notes.rows == []
    assert fake.calls["ModelInfer"] == 0


def test_both_arms_fail(fake: FakeServer, notes: Notes, eager: Client) -> None:
    start(fake)
    fake.fail(("ModelInfer", "m.challenger"), CODE.INTERNAL, "one")
    fake.fail(("ModelInfer", "m"), CODE.UNAVAILABLE, "Request timeout expired")
    with pytest.raises(Overloaded) as caught:
        eager.infer("m", x=ROW, key=IN_CHALLENGER)
    assert caught.value.model == "m"
    with pytest.raises(Overloaded):
        eager.infer("m", x=ROW, key=IN_CHAMPION)
    assert [(r.arm, r.version, r.error, r.fallback) for r in notes.rows] == [
        ("challenger", 0, "ServerFault", False),
        ("champion", 0, "Overloaded", False),
    ]


def test_a_challenger_that_is_gone_is_not_asked_again(fake: FakeServer, client: Client) -> None:
    start(fake)
    client.infer("m", x=ROW, key=IN_CHALLENGER)
    fake.unload("m.challenger")
    asked = fake.asked["ModelInfer", "m.challenger", ""]
    first, second = (client.infer("m", x=ROW, key=IN_CHALLENGER) for _ in range(2))
    assert (first.arm, first.version) == ("challenger", "1")
    assert (second.arm, second.version) == ("", "1")
    assert fake.asked["ModelInfer", "m.challenger", ""] == asked + 1


def test_a_split_is_followed_while_it_changes(fake: FakeServer, eager: Client) -> None:
    def arm(key: str) -> str:
        return eager.infer("m", x=ROW, key=key).arm

    assert arm(IN_CHALLENGER) == ""
    start(fake)
    until(lambda: arm(IN_CHALLENGER) == "challenger")
    assert arm(IN_CHAMPION) == "champion"
    start(fake, percent=100)
    until(lambda: arm(IN_CHAMPION) == "challenger")
    start(fake, percent=0)
    until(lambda: arm(IN_CHAMPION) == "champion")
    fake.unload("m.challenger")
    until(lambda: arm(IN_CHAMPION) == "")


def test_the_split_is_read_once_at_a_time(fake: FakeServer, eager: Client) -> None:
    start(fake)
    eager.infer("m", x=ROW, key=IN_CHAMPION)
    blocked = fake.block(("ModelConfig", "m.challenger"))
    # Answers come although the server says nothing about the experiment.
    assert {eager.infer("m", x=ROW, key=IN_CHAMPION).arm for _ in range(20)} == {"champion"}
    until(lambda: fake.asked[CONFIG] == 2)
    assert fake.asked[CONFIG] == 2
    blocked.set()


def test_no_answer_about_the_experiment_is_no_experiment(
    fake: FakeServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(fake)
    blocked = fake.block(("ModelConfig", "m.challenger"))
    assert client.infer("m", x=ROW, key=IN_CHALLENGER, timeout_s=2).arm == ""
    # The first call alone waits for it.
    monkeypatch.setattr(watch_module, "FIRST_SHARE", 1.0)
    assert client.infer("m", x=ROW, key=IN_CHALLENGER, timeout_s=2).arm == ""
    blocked.set()


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (CODE.NOT_FOUND, "Request for unknown model: 'm.challenger' is not found"),
        (CODE.UNAVAILABLE, "Request for unknown model: 'm.challenger' has no available versions"),
        (CODE.PERMISSION_DENIED, "no"),
    ],
)
def test_an_experiment_ends_when_the_server_says_so(
    code: Any, text: str, fake: FakeServer, eager: Client
) -> None:
    start(fake)
    assert eager.infer("m", x=ROW, key=IN_CHALLENGER).arm == "challenger"
    fake.fail(("ModelConfig", "m.challenger"), code, text)
    until(lambda: eager.infer("m", x=ROW, key=IN_CHALLENGER).arm == "")


@pytest.mark.parametrize("code", [CODE.UNAVAILABLE, CODE.INTERNAL, CODE.DEADLINE_EXCEEDED])
def test_a_server_that_cannot_say_ends_no_experiment(
    code: Any, fake: FakeServer, eager: Client
) -> None:
    start(fake)
    assert eager.infer("m", x=ROW, key=IN_CHALLENGER).arm == "challenger"
    fake.fail(("ModelConfig", "m.challenger"), code, "hm")
    before = fake.asked[CONFIG]
    arms = set()

    def asked() -> bool:
        arms.add(eager.infer("m", x=ROW, key=IN_CHALLENGER).arm)
        return fake.asked[CONFIG] >= before + 3

    until(asked)
    assert arms == {"challenger"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        "[" * 100_000,
        split_text(percent=101),
        split_text(percent="10"),
        split_text(percent=[]),
        split_text(percent=float("nan")),
        split_text(percent=0.00001),
        split_text(salt=""),
        split_text(experiment=3),
        split_text(challenger="2"),
        split_text(shadow_percent=None),
    ],
    ids=range(14),
)
def test_a_malformed_split_is_no_experiment_and_told_once(
    text: str, fake: FakeServer, eager: Client, caplog: pytest.LogCaptureFixture
) -> None:
    start(fake, text)
    with caplog.at_level(logging.WARNING, "clickclean_client"):
        before = fake.asked[CONFIG]

        def asked() -> bool:
            assert eager.infer("m", x=ROW, key=IN_CHALLENGER).arm == ""
            return fake.asked[CONFIG] >= before + 3

        until(asked)
    assert len(caplog.records) == 1
    assert "'m'" in caplog.text


def test_what_is_written_down(fake: FakeServer, notes: Notes, eager: Client) -> None:
    eager.infer("m", x=ROW, key=IN_CHALLENGER)
    assert notes.rows == []
    start(fake)
    until(lambda: eager.infer("m", x=ROW, key=IN_CHALLENGER).arm)
    result = eager.infer("m", x=ROW, key=IN_CHAMPION)
    challenger, champion = notes.rows[-2:]
    assert champion.prediction_id == result.prediction_id
    assert (champion.experiment, champion.model) == (NAME, "m")
    assert (champion.arm, champion.version, champion.error) == ("champion", 1, "")
    assert (challenger.arm, challenger.version, challenger.error) == ("challenger", 2, "")
    assert not champion.fallback
    assert champion.latency_ms > 0
    assert champion.unit != challenger.unit
    assert len(champion.unit) == 16
    assert IN_CHAMPION not in str(champion)


def test_closing_ends_a_keyed_call_as_any_other(fake: FakeServer, client: Client) -> None:
    start(fake)
    client.infer("m", x=ROW, key=IN_CHALLENGER)
    fake.block(("ModelInfer", "m.challenger"))
    failures: list[ClientError] = []

    def call() -> None:
        try:
            client.infer("m", x=ROW, key=IN_CHALLENGER)
        except ClientError as exc:
            failures.append(exc)

    caller = threading.Thread(target=call)
    asked = fake.asked["ModelInfer", "m.challenger", ""]
    caller.start()
    until(lambda: fake.asked["ModelInfer", "m.challenger", ""] > asked)
    client.close()
    caller.join()
    assert [type(failure) for failure in failures] == [Cancelled]
    with pytest.raises(InvalidRequest, match="closed"):
        client.infer("m", x=ROW, key=IN_CHALLENGER)


def test_a_dead_server_is_said_as_without_a_key(fake: FakeServer, client: Client) -> None:
    fake.stop()
    with pytest.raises(Unavailable):
        client.infer("m", x=ROW, key="k")


def test_a_model_that_is_not_there(fake: FakeServer, client: Client) -> None:
    with pytest.raises(ModelNotFound, match="'nosuch'"):
        client.infer("nosuch", x=ROW, key="k")


def test_failures_of_the_champion_are_unchanged(fake: FakeServer, client: Client) -> None:
    start(fake)
    client.infer("m", x=ROW, key=IN_CHAMPION)
    for code, kind in ((CODE.INTERNAL, ServerFault), (CODE.PERMISSION_DENIED, AccessRefused)):
        fake.fail(("ModelInfer", "m"), code, "x")
        with pytest.raises(kind):
            client.infer("m", x=ROW, key=IN_CHAMPION)
    with pytest.raises(DeadlineExceeded):
        client.infer("m", x=ROW, key=IN_CHAMPION, timeout_s=1e-9)
