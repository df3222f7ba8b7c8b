"""Metadata are kept, and fetched anew where a promotion may have changed them."""

import json
from typing import Any

import numpy as np
import pytest

from clickclean_client import (
    AccessRefused,
    Axis,
    Client,
    InvalidRequest,
    ModelMetadata,
    ModelNotFound,
    ProtocolError,
    ServerFault,
    TensorSpec,
)
from clickclean_client.protocol import grpc
from clickclean_client.slots import AXES, FINGERPRINT
from clickclean_client.testing import FakeServer
from tests.client.challengers import INPUTS

ROW = np.zeros((1, 3), np.float32)
WIDE = np.zeros((1, 5), np.float32)
NEW = {"x": ("FP32", (-1, 5))}
RESTRICTED = "This protocol is restricted, expecting header 'triton-grpc-protocol-config-key'"


def test_what_it_says(fake: FakeServer, client: Client) -> None:
    fake.serve(
        "m",
        inputs={"ids": ("INT64", (-1, -1)), "text": ("BYTES", (-1, 1))},
        outputs={"y": ("BF16", (-1, 2))},
        max_batch=16,
        optional=["text"],
    )
    assert client.metadata("m") == ModelMetadata(
        name="m",
        versions=("1",),
        inputs=(
            TensorSpec("ids", np.dtype(np.int64), "INT64", (-1, -1)),
            TensorSpec("text", np.dtype(object), "BYTES", (-1, 1), optional=True),
        ),
        outputs=(TensorSpec("y", np.dtype(np.uint16), "BF16", (-1, 2)),),
        max_batch=16,
    )
    assert str(client.metadata("m").inputs[0]) == "INT64[batch, any]"


def test_where_the_server_says_nothing_axes_are_called_by_their_place(
    fake: FakeServer, client: Client
) -> None:
    fake.serve("m", inputs={"x": ("FP32", (-1, -1, 3))})
    (x,) = client.metadata("m").inputs
    assert x.axes == (Axis("batch"), Axis("axis 1"), Axis("axis 2", 3))
    assert [axis.named for axis in x.axes] == [True, False, False]
    fake.serve("single", inputs={"x": ("FP32", (-1, 3))}, max_batch=0)
    assert client.metadata("single").inputs[0].axes == (Axis("axis 0"), Axis("axis 1", 3))
    assert str(client.metadata("single").inputs[0]) == "FP32[any, 3]"


NAMES = {
    "tensors": {"x": ["batch", 3, "height"], "y0": ["batch", 3, "points"]},
    "ranges": {"height": [32, 512]},
}
X = ("x", "FP32", (-1, 3, -1))


def test_names_and_ranges_of_axes_come_with_the_configuration(
    fake: FakeServer, client: Client
) -> None:
    parameters = {AXES: json.dumps({**NAMES, "later": 1}), FINGERPRINT: "ab" * 32}
    fake.serve("m", inputs={X[0]: X[1:]}, parameters=parameters)
    found = client.metadata("m")
    height = Axis("height", -1, 32, 512)
    assert found.inputs[0].axes == (Axis("batch"), Axis("axis 1", 3), height)
    assert found.inputs[0].shape == (-1, 3, -1)
    assert str(found.inputs[0]) == "FP32[batch, 3, height 32..512]"
    assert str(found.outputs[0]) == "FP32[batch, 3, points]"
    assert found.fingerprint == "ab" * 32


def _names(**change: Any) -> str:
    return json.dumps({**NAMES, **change})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "it is no JSON"),
        ("[" * 100_000, "it is no JSON"),
        ("[]", "'tensors' is no JSON object"),
        (_names(tensors=[]), "'tensors' is no JSON object"),
        (_names(ranges=None), "'ranges' is no JSON object"),
        (_names(tensors={"x": "batch"}), "the axes of 'x' are no list"),
        (_names(tensors={"x": ["batch", 3, None]}), "the axes of 'x' are no list"),
        (_names(tensors={"x": ["batch", 3, ""]}), "the axes of 'x' are no list"),
        (_names(tensors={"x": ["batch", 3, "axis 2"]}), "the axes of 'x' are no list"),
        (_names(tensors={"x": ["batch", True, "height"]}), "the axes of 'x' are no list"),
        (_names(tensors={"z": []}), "the model has no tensor 'z'"),
        (_names(tensors={"x": ["batch", 3]}), "'x' has the axes ['batch', 3], and the shape"),
        (_names(tensors={"x": ["batch", "channels", "height"]}), "and the shape [-1, 3, -1]"),
        (_names(tensors={"x": ["batch", 4, "height"]}), "and the shape [-1, 3, -1]"),
        (_names(ranges={"height": [32]}), "the range of 'height' is no pair"),
        (_names(ranges={"height": [32, "512"]}), "the range of 'height' is no pair"),
        (_names(ranges={"height": [-1, 512]}), "the range of 'height' is no pair"),
        (_names(ranges={"height": [513, 512]}), "the range of 'height' is empty"),
        (_names(ranges={"batch": [1, 4]}), "the range of 'batch' is no pair"),
    ],
)
def test_names_that_cannot_be_used_are_ignored_with_one_warning(
    text: str,
    problem: str,
    fake: FakeServer,
    client: Client,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fake.serve("m", inputs={X[0]: X[1:]}, parameters={AXES: text})
    for _ in range(3):
        with pytest.raises(InvalidRequest, match="missing"):
            client.infer("m", {})
    assert fake.calls["ModelConfig"] > 1
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("clickclean_client", "WARNING")
    assert problem in record.getMessage()
    assert record.getMessage().endswith("The parameter CLICKCLEAN_AXES is ignored.")
    assert str(client.metadata("m").inputs[0]) == "FP32[batch, 3, any]"
    assert client.infer("m", x=np.zeros((1, 3, 7), np.float32))["y0"].shape == (1, 3, 7)


def test_it_is_fetched_once_per_model_and_version(fake: FakeServer, client: Client) -> None:
    fake.serve("m", inputs=INPUTS, version="2")
    for _ in range(3):
        client.metadata("m")
        client.infer("m", x=ROW)
        client.infer("m", x=ROW, version=2)
    assert fake.calls["ModelMetadata"] == 2
    assert fake.calls["ModelConfig"] == 2


def test_a_new_schema_is_noticed_by_a_check(fake: FakeServer, client: Client) -> None:
    client.infer("m", x=ROW)
    fake.serve("m", inputs=NEW)
    assert client.infer("m", x=WIDE)["y0"].shape == (1, 5)
    assert client.metadata("m").inputs[0].shape == (-1, 5)


def test_a_new_schema_is_noticed_by_the_servers_refusal(fake: FakeServer, client: Client) -> None:
    client.infer("m", x=ROW)
    fake.serve("m", inputs=NEW)
    fake.fail("ModelInfer", grpc.StatusCode.INVALID_ARGUMENT, "unexpected shape for input 'x'")
    with pytest.raises(InvalidRequest, match="axis 1 of input 'x' is 3, it must be 5"):
        client.infer("m", x=ROW)
    assert fake.calls["ModelInfer"] == 2


def test_a_refused_request_that_fits_the_new_schema_is_sent_again_once(
    fake: FakeServer, client: Client
) -> None:
    client.infer("m", x=ROW)
    fake.serve("m", inputs=INPUTS, max_batch=8)
    fake.fail("ModelInfer", grpc.StatusCode.INVALID_ARGUMENT, "no")
    with pytest.raises(InvalidRequest, match="no"):
        client.infer("m", x=ROW)
    assert fake.calls["ModelInfer"] == 3


def test_a_new_schema_is_noticed_by_the_answer(fake: FakeServer, client: Client) -> None:
    client.infer("m", x=ROW)
    fake.serve("m", inputs=INPUTS, outputs={"z": ("FP32", (-1, 3))})

    def answer(request: Any) -> Any:
        response = fake.respond(request)
        response.outputs[0].name = "z"
        return response

    fake.answer("ModelInfer", answer)
    assert list(client.infer("m", x=ROW)) == ["z"]
    assert fake.calls["ModelInfer"] == 2


def test_the_same_schema_leaves_the_refusal_as_it_is(fake: FakeServer, client: Client) -> None:
    fake.fail("ModelInfer", grpc.StatusCode.INVALID_ARGUMENT, "no reason")
    with pytest.raises(InvalidRequest, match="no reason"):
        client.infer("m", x=ROW)
    assert fake.calls["ModelInfer"] == 1
    assert fake.calls["ModelMetadata"] == 2


def test_a_failed_refresh_does_not_hide_the_first_error(fake: FakeServer, client: Client) -> None:
    fake.answer("ModelInfer", lambda request: type(fake.respond(request))())
    client.metadata("m")
    fake.fail("ModelMetadata", grpc.StatusCode.INTERNAL, "down")
    with pytest.raises(ProtocolError, match="'y0' is missing"):
        client.infer("m", x=ROW)
    with pytest.raises(ServerFault, match="down"):
        client.infer("m", x=ROW)


def test_a_model_that_is_gone_is_forgotten(fake: FakeServer, client: Client) -> None:
    client.infer("m", x=ROW)
    fake.fail("ModelInfer", grpc.StatusCode.NOT_FOUND, "has no available versions")
    with pytest.raises(ModelNotFound):
        client.infer("m", x=ROW)
    fake.heal()
    fake.serve("m", inputs=NEW)
    client.infer("m", x=WIDE)
    assert fake.calls["ModelMetadata"] == 2


def test_a_secret_configuration_leaves_batch_limits_to_the_server(
    fake: FakeServer, client: Client
) -> None:
    fake.fail("ModelConfig", grpc.StatusCode.UNAVAILABLE, RESTRICTED)
    assert client.metadata("m").max_batch == 0
    with pytest.raises(InvalidRequest, match="batch-size must be <= 4"):
        client.infer("m", x=np.zeros((9, 3), np.float32))
    assert client.infer("m", x=np.zeros((4, 3), np.float32))["y0"].shape == (4, 3)


def test_secret_metadata_are_an_error(fake: FakeServer, client: Client) -> None:
    fake.fail("ModelMetadata", grpc.StatusCode.UNAVAILABLE, RESTRICTED)
    with pytest.raises(AccessRefused):
        client.infer("m", x=ROW)


def test_an_unknown_model(client: Client) -> None:
    with pytest.raises(ModelNotFound, match=r"Model 'nosuch' version 3 at .* is not served") as e:
        client.infer("nosuch", x=ROW, version=3)
    assert (e.value.model, e.value.version) == ("nosuch", "3")


def test_is_ready(fake: FakeServer, client: Client) -> None:
    assert client.is_ready()
    assert client.is_ready("m")
    assert not client.is_ready("m", version=2)
    assert not client.is_ready("nosuch")
    with pytest.raises(InvalidRequest, match="a version is given without its model"):
        client.is_ready(version=1)
    fake.fail("ServerReady", grpc.StatusCode.UNAVAILABLE, RESTRICTED)
    with pytest.raises(AccessRefused):
        client.is_ready()
    fake.stop()
    assert not client.is_ready("m")
