"""The switches of the fake: how it fails on demand, and what a mistake of the test is told."""

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from clickclean_client import (
    AccessRefused,
    Admin,
    Client,
    ClientError,
    DeadlineExceeded,
    ModelNotFound,
    Overloaded,
    ServerFault,
    Unavailable,
)
from clickclean_client.protocol import grpc, service_pb2, service_pb2_grpc
from clickclean_client.testing import FakeModel, FakeServer, FakeServerError, FakeTls, Refusal
from tests.client.challengers import INPUTS, ROW


def test_failures_of_all_models_or_one_some_times_or_always(
    fake: FakeServer, client: Client
) -> None:
    fake.serve("other", inputs=INPUTS)
    fake.fail(("ModelInfer", "m"), "INTERNAL", "it broke", times=2)
    for _ in range(2):
        assert client.infer("other", x=ROW)
        with pytest.raises(ServerFault, match="it broke"):
            client.infer("m", x=ROW)
    assert client.infer("m", x=ROW)
    fake.fail("ModelInfer", grpc.StatusCode.UNAVAILABLE)
    for model in ("m", "other", "m"):
        with pytest.raises(Unavailable):
            client.infer(model, x=ROW)
    fake.heal("ModelInfer")
    assert client.infer("other", x=ROW)
    # Three that failed or did not, and two whose repetitions failed as well.
    assert fake.asked["ModelInfer", "m", ""] == 3 + 2 * 3


def test_calls_wait_for_a_block(fake: FakeServer, client: Client) -> None:
    with fake.block(("ModelInfer", "m")) as block:
        assert fake.block(("ModelInfer", "m")) is block
        with pytest.raises(DeadlineExceeded):
            client.infer("m", x=ROW, timeout_s=0.1)
        caller = threading.Thread(target=lambda: client.infer("m", x=ROW))
        caller.start()
        fake.wait_for(("ModelInfer", "m"), 2)
        assert caller.is_alive()
    caller.join()
    assert client.infer("m", x=ROW)


def test_a_delay(fake: FakeServer, client: Client) -> None:
    client.metadata("m")
    fake.delay_s = 30
    with pytest.raises(DeadlineExceeded):
        client.infer("m", x=ROW, timeout_s=0.1)
    assert client.is_ready("m")
    fake.delay_s = 0.1
    start_s = time.monotonic()
    client.infer("m", x=ROW)
    assert time.monotonic() - start_s >= 0.1


@pytest.mark.parametrize("full", [False, True])
def test_overload(full: bool, fake: FakeServer, client: Client) -> None:
    fake.overload(full=full)
    with pytest.raises(Overloaded, match="queue size" if full else "timeout expired"):
        client.infer("m", x=ROW)
    assert client.is_ready("m")
    fake.heal()
    assert client.infer("m", x=ROW)
    fake.overload("other", times=1)
    assert client.infer("m", x=ROW)


def test_a_dead_model_process_says_it_is_ready(fake: FakeServer, client: Client) -> None:
    fake.kill_model("m", after_s=0.05)
    for _ in range(2):
        start_s = time.monotonic()
        with pytest.raises(ServerFault, match="Stub process 'm_0_0' is not healthy"):
            client.infer("m", x=ROW)
        assert time.monotonic() - start_s >= 0.05
        assert client.is_ready("m")
    with Admin(fake.endpoint) as admin:
        admin.load("m")
    assert client.infer("m", x=ROW)


@pytest.mark.parametrize(
    ("code", "kind"), [("UNAVAILABLE", Unavailable), ("NOT_FOUND", ModelNotFound)]
)
def test_a_server_that_drains(code: str, kind: type[ClientError], fake: FakeServer) -> None:
    answers: list[Any] = []
    with Client(fake.endpoint, timeout_s=20) as client, fake.block("ModelInfer") as block:
        client.metadata("m")
        caller = threading.Thread(target=lambda: answers.append(client.infer("m", x=ROW)))
        caller.start()
        fake.wait_for("ModelInfer")
        fake.drain(code)
        with pytest.raises(kind):
            client.infer("m", x=ROW)
        assert not client.is_ready()
        assert not client.is_ready("m")
        block.set()
        caller.join()
    assert len(answers) == 1
    fake.heal()
    with Client(fake.endpoint, timeout_s=20) as client:
        assert client.is_ready()


def test_calls_under_way_get_their_grace(fake: FakeServer, client: Client) -> None:
    answers: list[Any] = []
    client.metadata("m")
    block = fake.block("ModelInfer")
    caller = threading.Thread(target=lambda: answers.append(client.infer("m", x=ROW)))
    caller.start()
    fake.wait_for("ModelInfer")
    stopper = threading.Thread(target=fake.stop, args=(30,))
    stopper.start()
    block.set()
    stopper.join()
    caller.join()
    assert len(answers) == 1


def test_the_port_is_kept_over_a_restart() -> None:
    with FakeServer() as server:
        endpoint = server.endpoint
        server.serve("m", inputs=INPUTS)
        for _ in range(5):
            server.stop()
            with Client(endpoint, timeout_s=20) as client, pytest.raises(Unavailable):
                client.infer("m", x=ROW)
            assert server.start() is server.start()
            assert server.endpoint == endpoint
            with Client(endpoint, timeout_s=20) as client:
                assert client.infer("m", x=ROW)


def test_a_bearer_token(client: Client, fake: FakeServer) -> None:
    fake.token = "s3cret"
    with pytest.raises(AccessRefused, match="bearer token"):
        client.infer("m", x=ROW)
    headers = {"Authorization": "Bearer s3cret"}
    with Client(fake.endpoint, timeout_s=20, headers=headers) as allowed:
        assert allowed.infer("m", x=ROW)
        assert fake.headers["authorization"] == "Bearer s3cret"


def test_restricted_protocols(fake: FakeServer, client: Client) -> None:
    fake.restrict(["model-repository", "statistics"], "key")
    with Admin(fake.endpoint) as keyless, Admin(fake.endpoint, key="wrong") as wrong:
        for admin in (keyless, wrong):
            with pytest.raises(AccessRefused, match="'triton-grpc-protocol-admin-key'"):
                admin.index()
            with pytest.raises(AccessRefused):
                admin.statistics("m")
            assert admin.config("m")
    with Admin(fake.endpoint, key="key") as admin:
        assert admin.index()
    assert client.infer("m", x=ROW)


def test_an_answer_refuses_or_raises(fake: FakeServer, client: Client) -> None:
    def answer(x: Any) -> Any:
        if x[0, 0] == 1:
            raise Refusal("RESOURCE_EXHAUSTED", "too much")
        if x[0, 0] == 2:
            raise ValueError("two is wrong")
        return {"y0": x}

    fake.serve("m", inputs=INPUTS, answer=answer)
    assert client.infer("m", x=ROW)
    with pytest.raises(Overloaded, match="too much"):
        client.infer("m", x=ROW + np.float32(1))
    with pytest.raises(ServerFault, match="'m_0_0', message: ValueError: two is wrong"):
        client.infer("m", x=ROW + np.float32(2))
    with Admin(fake.endpoint) as admin:
        (counted,) = admin.statistics("m")
    assert (counted.success.count, counted.fail.count) == (1, 2)
    assert fake.mistakes == []


def test_answers_by_message(fake: FakeServer, client: Client) -> None:
    def altered(request: Any) -> Any:
        response = fake.respond(request)
        response.model_version = "7"
        return response

    fake.answer(("ModelInfer", "m"), altered)
    assert client.infer("m", x=ROW).version == "7"
    fake.answer("ModelInfer", lambda _: b"\xff\xff")
    assert client.infer("m", x=ROW).version == "7"
    fake.heal(("ModelInfer", "m"))
    with pytest.raises(ClientError, match="it ends within a field"):
        client.infer("m", x=ROW)
    fake.answer("TraceSetting", lambda _: service_pb2.TraceSettingResponse())
    with grpc.insecure_channel(fake.endpoint) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        assert stub.TraceSetting(service_pb2.TraceSettingRequest(), timeout=20) is not None
        with pytest.raises(grpc.RpcError, match="does not know LogSettings"):
            stub.LogSettings(service_pb2.LogSettingsRequest(), timeout=20)


@pytest.mark.parametrize(
    ("outputs", "answer", "sentence"),
    [
        (None, lambda x: x, "is a ndarray"),
        (None, lambda x: iter([{"y0": x}]), "is a list_iterator"),
        (None, lambda x: {"y": x}, "the output 'y', which is not declared"),
        (None, lambda **_: {}, "lacks the output 'y0'"),
        (None, lambda x: {"y0": x.astype(np.float64)}, "as float64, declared is FP32"),
        (None, lambda x: {"y0": x[:, :2]}, "with shape [1, 2]"),
        (None, lambda x: {"y0": np.concatenate([x, x])}, "with shape [2, 3]"),
    ],
)
def test_mistakes_of_an_answer_reach_the_test(
    outputs: Any, answer: Callable[..., Any], sentence: str
) -> None:
    def use() -> None:
        with FakeServer() as server, Client(server.endpoint, timeout_s=20) as client:
            server.serve("m", inputs=INPUTS, outputs=outputs, answer=answer)
            with pytest.raises(ServerFault) as told:
                client.infer("m", x=ROW)
            assert sentence in str(told.value)
            assert server.mistakes[0].hint in told.value.server_message

    with pytest.raises(FakeServerError) as caught:
        use()
    assert sentence in str(caught.value)


def test_a_mistake_does_not_hide_the_tests_own_error() -> None:
    def use() -> None:
        with FakeServer() as server, Client(server.endpoint, timeout_s=20) as client:
            server.serve("m", inputs=INPUTS)
            server.answer("ModelInfer", lambda request: request.nosuch)
            with pytest.raises(ServerFault, match="raised AttributeError"):
                client.infer("m", x=ROW)
            raise LookupError("the test's own")

    with pytest.raises(LookupError, match="own"):
        use()


def test_lists_and_texts_in_answers(fake: FakeServer, client: Client) -> None:
    outputs = {"score": ("FP16", [-1]), "label": ("BYTES", [-1])}
    fake.serve(
        "m", inputs=INPUTS, outputs=outputs, answer=lambda **_: {"score": [0.5], "label": ["ü"]}
    )
    answer = client.infer("m", x=ROW)
    assert answer["score"].tolist() == [0.5]
    assert answer["label"].tolist() == ["ü".encode()]


MISUSES: list[tuple[Callable[[FakeServer], Any], str, str]] = [
    (
        lambda s: s.fail("ModelInfr", "INTERNAL"),
        "'ModelInfr' is no remote procedure",
        "'ModelInfer'",
    ),
    (lambda s: s.fail("ModelInfer", "UNAVAILABL"), "no gRPC status", "'UNAVAILABLE'"),
    (lambda s: s.fail("ModelInfer", grpc.StatusCode.OK), "no gRPC status", "There are ABORTED"),
    (lambda s: s.fail("ModelInfer", "INTERNAL", times=0), "cannot fail 0 times", "times"),
    (lambda s: s.block("Infer"), "'Infer' is no remote", "'ModelInfer'"),
    (lambda s: s.answer("x", lambda r: r), "'x' is no remote", "There are"),
    (lambda s: s.heal("x"), "'x' is no remote", "There are"),
    (lambda s: s.wait_for("ModelInfer", timeout_s=0.01), "0 times within 0.01 s, not 1", "none"),
    (lambda s: s.wait_for(("ModelInfer", "m"), timeout_s=0), "of 'm' was called 0 times", "none"),
    (lambda s: s.drain("INTERNAL"), "does not say 'INTERNAL'", "NOT_FOUND"),
    (lambda s: s.restrict("model-repo", "k"), "'model-repo' is no protocol", "'model-repository'"),
    (lambda s: s.last_inputs, "No inference was asked for", "{}"),
    (lambda s: FakeServer(s.port).start(), "cannot listen", "Another process"),
    (lambda _: FakeServer(-1), "-1 is no port", "free"),
    (lambda _: FakeServer().endpoint, "no port before it starts", "`with`"),
    (lambda _: FakeTls(b"a", b"b"), "PEM bytes as certificate", "read_bytes"),
    (lambda s: s.serve("", inputs=INPUTS), "'' is no name", ""),
    (lambda s: s.serve("m", inputs=INPUTS, version="x"), "'x' is no version", '"1"'),
    (lambda s: s.serve("m", inputs=[("x", "FP32", [-1])]), "no mapping", "FP32"),  # type: ignore[arg-type]
    (lambda s: s.serve("m", inputs={"x": "FP32"}), "no pair of dtype and shape", "[-1, 3]"),  # type: ignore[dict-item]
    (lambda s: s.serve("m", inputs={"x": ("FP23", [-1])}), "the dtype 'FP23'", "'FP32'"),
    (lambda s: s.serve("m", inputs={"x": ("FP32", [3])}), "the shape [3]", "max_batch=0"),
    (lambda s: s.serve("m", inputs={"x": ("FP32", [])}), "the shape []", "batch"),
    (lambda s: s.serve("m", inputs=INPUTS, optional=["y"]), "no input 'y'", "x"),
    (lambda s: s.serve("m", inputs=INPUTS, answer=lambda i: i), "argument: 'i'", "keywords x"),
]


@pytest.mark.parametrize(("use", "sentence", "hint"), MISUSES, ids=[row[1] for row in MISUSES])
def test_misuse(
    use: Callable[[FakeServer], Any], sentence: str, hint: str, fake: FakeServer
) -> None:
    with pytest.raises(FakeServerError) as caught:
        use(fake)
    assert sentence in str(caught.value)
    assert hint in caught.value.hint
    assert caught.value.exit_code == 2


def test_a_model_shows_itself() -> None:
    model = FakeModel("m", INPUTS, version=2)
    assert (model.version, model.outputs) == ("2", {"y0": ("FP32", (-1, 3))})
    assert repr(FakeServer()) == "FakeServer(not started)"


def test_a_setting_that_does_not_exist(fake: FakeServer) -> None:
    with pytest.raises(FakeServerError, match="no setting 'delay'") as caught:
        fake.delay = 3  # type: ignore[attr-defined]
    assert "'delay_s'" in caught.value.hint
    with pytest.raises(FakeServerError, match="no setting 'answer'") as caught:
        fake.answer = print  # type: ignore[assignment, method-assign]
    assert "server.answer(...)" in caught.value.hint


def test_failures_of_a_stream(fake: FakeServer) -> None:
    def count(x: Any) -> Any:
        yield {"y0": x}
        raise Refusal("UNAVAILABLE", "no more")

    fake.serve("counts", inputs=INPUTS, answer=count, decoupled=True)
    request = service_pb2.ModelInferRequest(model_name="counts", id="a")
    request.inputs.add(name="x", datatype="FP32", shape=ROW.shape)
    request.raw_input_contents.append(ROW.tobytes())
    with grpc.insecure_channel(fake.endpoint) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)

        def said(*requests: Any) -> list[str]:
            return [one.error_message for one in stub.ModelStreamInfer(iter(requests), timeout=20)]

        assert said(request, request) == ["", "no more", "", "no more"]
        fake.fail(("ModelStreamInfer", "counts"), "INTERNAL", "broken", times=1)
        assert said(request, request) == ["broken", "", "no more"]
        fake.kill_model("counts", after_s=0)
        assert "Stub process 'counts_0_0' is not healthy" in said(request)[0]
        fake.drain("NOT_FOUND")
        assert "'counts' has no available versions" in said(request)[0]
        fake.heal()
        other = service_pb2.ModelStreamInferResponse(error_message="mine")
        fake.answer("ModelStreamInfer", lambda _: [other, other])
        assert said(request) == ["mine", "mine"]
        fake.fail("ModelStreamInfer", "RESOURCE_EXHAUSTED", "no streams")
        with pytest.raises(grpc.RpcError, match="no streams"):
            said(request)
