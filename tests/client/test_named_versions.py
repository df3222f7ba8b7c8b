"""A version that a caller names is found while a release moves it."""

import threading
from typing import Any

import pytest

from clickclean_client import Client, DeadlineExceeded, Golden, ModelNotFound, ServerFault
from clickclean_client import _homes as homes_module
from clickclean_client.protocol import grpc
from clickclean_client.testing import FakeServer
from tests.client.challengers import INPUTS, ROW, until

CODE = grpc.StatusCode
NAME = ("ModelInfer", "m", "3")
SLOT = ("ModelInfer", "m.v3", "3")


def test_under_the_name_or_alone(fake: FakeServer, client: Client) -> None:
    fake.serve("m", inputs=INPUTS, version="3")
    assert client.infer("m", x=ROW, version=3).version == "3"
    fake.unload("m", "3")
    fake.serve("m.v3", inputs=INPUTS, version="3")
    for _ in range(3):
        result = client.infer("m", x=ROW, version=3)
        assert (result.model, result.version, result.arm) == ("m", "3", "")
    # Where it was found is remembered: the name was asked in vain once.
    assert (fake.asked[NAME], fake.asked[SLOT]) == (2, 3)
    fake.unload("m.v3", "3")
    fake.serve("m", inputs=INPUTS, version="3")
    assert client.infer("m", x=ROW, version=3).version == "3"
    assert client.infer("m", x=ROW, version=3).version == "3"
    assert (fake.asked[NAME], fake.asked[SLOT]) == (4, 4)


def test_what_is_remembered_is_forgotten(
    fake: FakeServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(homes_module, "REMEMBERED_S", 0.0)
    fake.serve("m.v3", inputs=INPUTS, version="3")
    for _ in range(2):
        client.infer("m", x=ROW, version=3)
    assert fake.asked["ModelMetadata", "m", "3"] == 2


def test_a_version_that_is_nowhere(fake: FakeServer, client: Client) -> None:
    with pytest.raises(ModelNotFound) as caught:
        client.infer("m", x=ROW, version=3)
    assert (caught.value.model, caught.value.version) == ("m", "3")
    assert "'m' version 3 is not found" in str(caught.value)
    assert sum(fake.asked.values()) == 3


def test_at_most_three_sends(fake: FakeServer, client: Client) -> None:
    for name in ("m", "m.v3"):
        fake.serve(name, inputs=INPUTS, version="3")
        client.exactly().metadata("m", version=3)
        fake.fail(("ModelInfer", name), CODE.UNAVAILABLE, "version 3 is not at ready state")
    with pytest.raises(ModelNotFound, match="not at ready state"):
        client.infer("m", x=ROW, version=3)
    assert fake.calls["ModelInfer"] == 3


@pytest.mark.parametrize("known", [False, True], ids=["found anew", "remembered"])
def test_a_version_that_moves_between_two_tries(
    known: bool, fake: FakeServer, client: Client
) -> None:
    # It leaves the place that is asked first, and comes back while the other one is asked.
    first, second = ("m.v3", "m") if known else ("m", "m.v3")
    fake.serve(first, inputs=INPUTS, version="3")
    client.infer("m", x=ROW, version=3)
    fake.serve(second, inputs=INPUTS, version="3")
    fake.fail(("ModelInfer", first), CODE.NOT_FOUND, "gone")
    left = fake.block(("ModelInfer", second))
    fake.fail(("ModelInfer", second), CODE.NOT_FOUND, "gone again")

    def move() -> None:
        until(lambda: fake.asked["ModelInfer", second, "3"])
        fake.heal(("ModelInfer", first))
        left.set()

    mover = threading.Thread(target=move)
    mover.start()
    assert client.infer("m", x=ROW, version=3).version == "3"
    mover.join()


def test_nothing_that_may_have_run_is_repeated(fake: FakeServer, client: Client) -> None:
    fake.serve("m", inputs=INPUTS, version="3")
    fake.serve("m.v3", inputs=INPUTS, version="3")
    for code in (CODE.INTERNAL, CODE.DATA_LOSS, CODE.UNKNOWN):
        fake.fail(("ModelInfer", "m"), code, "hm")
        with pytest.raises(Exception, match="hm"):
            client.infer("m", x=ROW, version=3)
    assert (fake.asked[NAME], fake.asked[SLOT]) == (3, 0)


def test_all_tries_share_the_deadline(fake: FakeServer, client: Client) -> None:
    fake.block(("ModelMetadata", "m.v3"))
    with pytest.raises(DeadlineExceeded):
        client.infer("m", x=ROW, version=3, timeout_s=0.2)


def test_no_time_for_another_try(fake: FakeServer, client: Client) -> None:
    core = client._core
    ask = core.ask("m", 3, timeout_s=5)
    tries = []

    def step(place: Any) -> Any:
        tries.append(place.name)
        ask._end_s = 0.0
        yield from ()
        raise ModelNotFound(place.facts())

    with pytest.raises(ModelNotFound):
        client._driver.run(core.attempts.run(core._homes.visit(ask, step)))
    assert tries == ["m"]


def test_metadata_and_readiness_follow_too(fake: FakeServer, client: Client) -> None:
    assert not client.is_ready("m", version=3)
    fake.serve("m.v3", inputs=INPUTS, version="3", max_batch=7)
    assert client.is_ready("m", version=3)
    found = client.metadata("m", version=3)
    assert (found.name, found.versions, found.max_batch) == ("m", ("3",), 7)
    assert client.metadata("m").max_batch == 4


def test_an_exact_client_asks_the_name_alone(fake: FakeServer) -> None:
    fake.serve("m.v3", inputs=INPUTS, version="3")
    with Client(fake.endpoint, timeout_s=20, exact=True) as exact:
        with pytest.raises(ModelNotFound):
            exact.infer("m", x=ROW, version=3)
        with pytest.raises(ModelNotFound):
            exact.metadata("m", version=3)
        assert not exact.is_ready("m", version=3)
        assert exact.infer("m.v3", x=ROW, version=3).version == "3"


@pytest.mark.parametrize("slot", ["m.v3", "m.challenger"])
def test_a_slot_that_is_named_has_no_slots(slot: str, fake: FakeServer, client: Client) -> None:
    with pytest.raises(ModelNotFound):
        client.infer(slot, x=ROW, version=3)
    assert {name for _, name, _ in fake.asked} == {slot}


def test_a_proof_is_not_answered_elsewhere(fake: FakeServer, client: Client) -> None:
    fake.serve("m.v3", inputs=INPUTS, version="3")
    golden = Golden({"x": ROW}, {"y0": ROW}, {"y0": 0.0})
    assert golden.check(client, "m.v3", version=3).ok
    with pytest.raises(ModelNotFound):
        golden.check(client, "m", version=3)


def test_a_failure_of_the_slot_is_raised(fake: FakeServer, client: Client) -> None:
    fake.serve("m.v3", inputs=INPUTS, version="3")
    fake.fail(("ModelInfer", "m.v3"), CODE.INTERNAL, "it broke")
    with pytest.raises(ServerFault, match="it broke") as caught:
        client.infer("m", x=ROW, version=3)
    assert caught.value.model == "m"
