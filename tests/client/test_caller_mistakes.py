"""Each mistake is refused before anything is sent, in one sentence with a hint."""

from typing import Any

import numpy as np
import pytest

from clickclean_client import Client, InvalidRequest
from clickclean_client.testing import FakeServer

ROW = np.zeros((1, 3), np.float32)


@pytest.mark.parametrize(
    ("inputs", "sentence", "hint"),
    [
        ({}, "the input 'x' is missing", "FP32[any, 3]"),
        ({"x": ROW, "z": ROW}, "no input 'z'", "Its inputs are x, mask"),
        ({"x": ROW, "maks": ROW}, "no input 'maks'", "Did you mean 'mask'?"),
        ({"x": [[1.0, 2.0, 3.0]]}, "is a list, not a numpy array", "dtype=numpy.float32"),
        ({"x": np.float32(1)}, "is a float32, not a numpy array", "numpy.asarray"),
        ({"x": None}, "is a NoneType", "numpy.asarray"),
        ({"x": ROW.astype(np.float64)}, "is float64, but FP32", "astype(numpy.float32)"),
        ({"x": ROW.astype(np.int32)}, "is int32, but FP32", "astype(numpy.float32)"),
        ({"x": ROW.astype(object)}, "is object, but FP32", "astype(numpy.float32)"),
        ({"x": ROW[0]}, "shape [3], but FP32[any, 3]", "batch axis"),
        ({"x": ROW[:, :2]}, "shape [1, 2], but FP32[any, 3]", "first axis"),
        ({"x": ROW[None]}, "shape [1, 1, 3]", "first axis"),
        ({"x": ROW[:0]}, "the batch is empty", "at least one row"),
        ({"x": np.zeros((5, 3), np.float32)}, "5 is over the model's limit of 4", "at most 4"),
        (
            {"x": ROW, "mask": np.zeros((2, 1), bool)},
            "differ in batch size (x: 1, mask: 2)",
            "One row",
        ),
        ({"x": ROW, "mask": np.zeros((1, 1), np.int8)}, "is int8, but BOOL", "numpy.bool_"),
        ({"x": ROW, "text": np.array([[1]], object)}, "1 is neither bytes nor str", "UTF-8"),
        ({"x": ROW, "text": np.array([["\udc00"]], object)}, "cannot be sent", "UTF-8"),
        ({"x": ROW, "text": np.zeros((1, 1))}, "is float64, but BYTES", "astype(object)"),
        ({"x": ROW, "half": np.zeros((1, 1), np.float16)}, "but BF16", "uint16"),
        ({"x": np.broadcast_to(ROW, (2**29, 3))}, "larger than one message", "smaller batches"),
        ({1: ROW, "x": ROW}, "no input 1", "Its inputs are"),
    ],
)
def test_inputs(
    inputs: dict[str, Any], sentence: str, hint: str, fake: FakeServer, client: Client
) -> None:
    fake.serve(
        "m",
        inputs={
            "x": ("FP32", (-1, 3)),
            "mask": ("BOOL", (-1, 1)),
            "text": ("BYTES", (-1, 1)),
            "half": ("BF16", (-1, 1)),
        },
        optional=["mask", "text", "half"],
    )
    with pytest.raises(InvalidRequest) as caught:
        client.infer("m", inputs)
    assert sentence in str(caught.value)
    assert hint in caught.value.hint
    assert caught.value.model == "m"
    assert caught.value.exit_code == 2
    assert fake.calls["ModelInfer"] == 0


def test_a_model_without_inputs(fake: FakeServer, client: Client) -> None:
    fake.serve("m", inputs={}, outputs={"y": ("FP32", (1,))}, max_batch=0)
    with pytest.raises(InvalidRequest) as caught:
        client.infer("m", x=ROW)
    assert caught.value.hint == "It has no inputs."


def test_an_input_given_twice(client: Client) -> None:
    with pytest.raises(InvalidRequest, match="'x' is given twice"):
        client.infer("m", {"x": ROW}, x=ROW)


@pytest.mark.parametrize("model", ["", b"m", None, 3])
def test_model_names(model: Any, client: Client) -> None:
    with pytest.raises(InvalidRequest, match="no model name"):
        client.infer(model, x=ROW)


@pytest.mark.parametrize("version", [0, -1, "1abc", "01", "²", 1.0, True, "latest", " 1"])
def test_versions(version: Any, fake: FakeServer, client: Client) -> None:
    with pytest.raises(InvalidRequest, match="no model version"):
        client.infer("m", x=ROW, version=version)
    assert not fake.calls


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf"), "1", True, 1e9])
def test_timeouts(timeout_s: Any, fake: FakeServer, client: Client) -> None:
    with pytest.raises(InvalidRequest, match="timeout_s must be"):
        client.infer("m", x=ROW, timeout_s=timeout_s)
    with pytest.raises(InvalidRequest, match="timeout_s must be"):
        Client(fake.endpoint, timeout_s=timeout_s)
    assert not fake.calls


def test_request_id(client: Client) -> None:
    with pytest.raises(InvalidRequest, match="request_id must be a str"):
        client.infer("m", x=ROW, request_id=7)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "localhost",
        "http://localhost:8001",
        "localhost:",
        ":8001",
        "localhost:0",
        "localhost:65536",
        "localhost:80x",
        "host:8001/v2",
        "a b:1",
        "::1:8001",
        "localhost:8001\n",
        None,
        8001,
    ],
)
def test_endpoints_that_are_refused(endpoint: Any) -> None:
    with pytest.raises(InvalidRequest, match="is no endpoint") as caught:
        Client(endpoint)
    assert '"host:port"' in caught.value.hint


@pytest.mark.parametrize("endpoint", ["localhost:8001", "10.0.0.1:1", "[::1]:8001", "a-b.c_d:9"])
def test_endpoints_that_are_taken(endpoint: str) -> None:
    with Client(endpoint) as client:
        assert client.endpoint == endpoint


@pytest.mark.parametrize(
    "headers",
    [
        {"a b": "x"},
        {"": "x"},
        {"x-bin": "x"},
        {"grpc-timeout": "1"},
        {"x": "s3cret\n"},
        {"x": "s3crét"},
        {"x": 1},
        {1: "x"},
    ],
)
def test_headers(headers: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"header .* cannot be sent") as caught:
        Client("localhost:8001", headers=headers)
    assert "s3cr" not in str(caught.value)


def test_a_closed_client(fake: FakeServer) -> None:
    client = Client(fake.endpoint, timeout_s=20)
    client.infer("m", x=ROW)
    client.close()
    client.close()
    for call in (lambda: client.infer("m", x=ROW), client.is_ready, lambda: client.metadata("n")):
        with pytest.raises(InvalidRequest, match="the client is closed"):
            call()
