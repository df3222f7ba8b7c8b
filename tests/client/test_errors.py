import pickle

import numpy as np
import pytest

import clickclean_client as cc
from clickclean_client import (
    AccessRefused,
    Cancelled,
    Client,
    ClientError,
    DeadlineExceeded,
    InvalidRequest,
    _exceptions,
)
from clickclean_client._errors import (
    BY_CODE,
    BY_TEXT,
    REPEAT,
    Repeat,
    error_from_status,
    rule_of,
)
from clickclean_client._exceptions import Call
from clickclean_client.protocol import grpc
from clickclean_client.testing import FakeServer

CALL = Call("host:8001", "digits", "3", elapsed_s=0.25, timeout_s=1.5)
BRANCHES = [
    cc.InvalidRequest,
    cc.ModelNotFound,
    cc.DeadlineExceeded,
    cc.Cancelled,
    cc.Unavailable,
    cc.Overloaded,
    cc.AccessRefused,
    cc.ServerFault,
    cc.ProtocolError,
]


def test_the_map_is_total() -> None:
    assert set(BY_CODE) == set(grpc.StatusCode)


def test_every_branch_is_reached_by_a_status() -> None:
    assert {*BY_CODE.values(), *(row[2] for row in BY_TEXT)} == set(BRANCHES)
    assert set(ClientError.__subclasses__()) == set(BRANCHES)


def test_a_text_row_says_more_than_its_code() -> None:
    for words in BY_TEXT:
        rule = rule_of(words.code, f"... {words.part} ...")
        plain = rule_of(words.code, "")
        assert rule != plain


def test_every_error_says_whether_the_call_is_repeated() -> None:
    assert set(REPEAT) == set(BRANCHES)
    rules = [rule_of(code, "") for code in grpc.StatusCode]
    rules += [rule_of(words.code, words.part) for words in BY_TEXT]
    assert {rule.repeat for rule in rules} == set(Repeat)


@pytest.mark.parametrize("kind", [InvalidRequest, AccessRefused, Cancelled, DeadlineExceeded])
def test_no_callers_mistake_and_no_refused_credential_is_repeated(kind: type[ClientError]) -> None:
    rules = [rule_of(code, "") for code in grpc.StatusCode]
    rules += [rule_of(words.code, words.part) for words in BY_TEXT]
    assert {rule.repeat for rule in rules if rule.kind is kind} == {Repeat.NEVER}


@pytest.mark.parametrize("code", [c for c in grpc.StatusCode if c is not grpc.StatusCode.OK])
def test_each_status_over_the_wire(code: object, fake: FakeServer, client: Client) -> None:
    fake.fail("ModelInfer", code, "some reason")
    with pytest.raises(ClientError) as caught:
        client.infer("m", x=np.zeros((1, 3), np.float32))
    error = caught.value
    assert type(error) is BY_CODE[code]
    assert error.code == code.name  # type: ignore[attr-defined]
    assert error.server_message == "some reason"
    assert "some reason" in str(error)
    assert (error.model, error.version, error.endpoint) == ("m", "", fake.endpoint)
    assert error.elapsed_s > 0
    assert error.__cause__ is not None


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        (
            "UNAVAILABLE",
            "This protocol is restricted, expecting header 'triton-grpc-protocol-admin-key'",
            cc.AccessRefused,
        ),
        ("UNAVAILABLE", "Request timeout expired", cc.Overloaded),
        ("UNAVAILABLE", "[request id: <id_unknown>] Exceeds maximum queue size", cc.Overloaded),
        (
            "UNAVAILABLE",
            "Request for unknown model: 'm' version 2 is not at ready state",
            cc.ModelNotFound,
        ),
        ("UNAVAILABLE", "Server is stopping, scheduler for model has stopped", cc.Unavailable),
        (
            "UNAVAILABLE",
            "explicit model load / unload is not allowed if polling is enabled",
            cc.InvalidRequest,
        ),
        ("CANCELLED", "CANCELLED", cc.Unavailable),
        ("CANCELLED", "Channel closed!", cc.Cancelled),
        (
            "NOT_FOUND",
            "Request for unknown model: 'm' has no available versions",
            cc.ModelNotFound,
        ),
        ("INVALID_ARGUMENT", "requested model 'm' is not available", cc.ModelNotFound),
        (
            "UNIMPLEMENTED",
            "ModelInfer RPC doesn't support models with decoupled transaction policy",
            cc.InvalidRequest,
        ),
        (
            "RESOURCE_EXHAUSTED",
            "Received message larger than max (9 vs. 4)",
            cc.InvalidRequest,
        ),
        (
            "RESOURCE_EXHAUSTED",
            "Stream removed (received metadata size exceeds hard limit (40139 vs. 16384)",
            cc.ServerFault,
        ),
    ],
)
def test_texts_that_tritonserver_and_grpc_send(
    code: str, text: str, kind: type[ClientError]
) -> None:
    call = Call("host:8001", "m", code=code, message=text)
    assert type(error_from_status(grpc.StatusCode[code], call)) is kind


@pytest.mark.parametrize("kind", BRANCHES)
def test_a_sentence_a_hint_and_the_facts(kind: type[ClientError]) -> None:
    error = kind(CALL, "a reason.")
    assert str(error).startswith("Model 'digits' version 3 at host:8001 ")
    assert str(error).endswith(": a reason.")
    assert error.hint
    assert "\n" not in str(error) + error.hint
    assert "{" not in str(error) + error.hint
    assert error.elapsed_s == 0.25
    assert error.exit_code == (2 if kind is cc.InvalidRequest else 1)


@pytest.mark.parametrize("kind", BRANCHES)
def test_errors_survive_pickle(kind: type[ClientError]) -> None:
    error = kind(CALL, "a reason", hint="a hint")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(copy) is kind
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_a_long_server_text_is_shortened_but_kept() -> None:
    text = "boom\n" * 1000
    error = cc.ServerFault(Call("host:1", "m", message=text))
    assert len(str(error)) < 500
    assert "\n" not in str(error)
    assert error.server_message == text


def test_a_deadline_names_its_length_once() -> None:
    error = cc.DeadlineExceeded(
        Call("host:1", "m", timeout_s=0.2, code="DEADLINE_EXCEEDED", message="Deadline Exceeded")
    )
    assert str(error) == "Model 'm' at host:1 gave no answer within 0.2 s."


def test_the_root_without_facts() -> None:
    error = cc.ClickCleanError("It failed.")
    assert (str(error), error.hint, error.exit_code) == ("It failed.", "", 1)


def test_the_tree_is_drawn_in_the_docstring() -> None:
    drawn = _exceptions.__doc__ or ""
    for kind in (*BRANCHES, cc.GoldenError, cc.ModelConfigError):
        assert f"── {kind.__name__} " in drawn
