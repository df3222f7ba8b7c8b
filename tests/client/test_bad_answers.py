"""What comes back is checked: Triton passes on what a Python model returns as it is."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from clickclean_client import Client, ProtocolError
from clickclean_client.protocol import service_pb2
from clickclean_client.testing import FakeServer
from tests.client.challengers import INPUTS

ROW = np.zeros((1, 3), np.float32)


def _set_shape(*shape: int) -> Callable[[Any], None]:
    def change(response: Any) -> None:
        del response.outputs[0].shape[:]
        response.outputs[0].shape.extend(shape)

    return change


def _resized(rows: int) -> Callable[[Any], None]:
    def change(response: Any) -> None:
        _set_shape(rows, 3)(response)
        response.raw_output_contents[0] = bytes(12 * rows)

    return change


def _raw(data: bytes) -> Callable[[Any], None]:
    def change(response: Any) -> None:
        response.raw_output_contents[0] = data

    return change


def _no_outputs(response: Any) -> None:
    del response.outputs[:]
    del response.raw_output_contents[:]


def _no_raw(response: Any) -> None:
    del response.raw_output_contents[:]


def _renamed(response: Any) -> None:
    response.outputs[0].name = "other"


def _retyped(response: Any) -> None:
    response.outputs[0].datatype = "INT32"


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (_no_outputs, "the output 'y0' is missing"),
        (_no_raw, "announces 1 outputs and carries the data of 0"),
        (_renamed, "undeclared output 'other'"),
        (_retyped, "is INT32, declared is FP32"),
        (_set_shape(1, 4), "shape [1, 4], declared is FP32[batch, 3]"),
        (_set_shape(3), "shape [3], declared"),
        (_set_shape(-1, 3), "shape [-1, 3], declared"),
        (_resized(2), "has 2 rows for 1 sent"),
        (_resized(0), "has 0 rows for 1 sent"),
        (_raw(b""), "has 0 bytes, its shape [1, 3] takes 12"),
        (_raw(bytes(13)), "has 13 bytes, its shape [1, 3] takes 12"),
    ],
)
def test_numbers(
    damage: Callable[[Any], None], sentence: str, fake: FakeServer, client: Client
) -> None:
    def answer(request: Any) -> Any:
        response = fake.respond(request)
        damage(response)
        return response

    fake.answer("ModelInfer", answer)
    with pytest.raises(ProtocolError) as caught:
        client.infer("m", x=ROW)
    assert sentence in str(caught.value)
    assert fake.calls["ModelInfer"] == 1


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"", "announces 2 elements in 0 bytes"),
        (b"\1\0\0\0a\1\0\0\0", "ends within element 1 of 2"),
        (b"\xff\xff\xff\xffabcd", "ends within element 0 of 2"),
        (b"\4\0\0\0abcd\1", "ends within element 1 of 2"),
        (b"\0\0\0\0\0\0\0\0x", "1 bytes follow the last of 2"),
    ],
)
def test_bytes(raw: bytes, sentence: str, fake: FakeServer, client: Client) -> None:
    fake.serve("m", inputs={"x": ("BYTES", (-1, 2))})

    def answer(request: Any) -> Any:
        response = fake.respond(request)
        response.raw_output_contents[0] = raw
        return response

    fake.answer("ModelInfer", answer)
    with pytest.raises(ProtocolError) as caught:
        client.infer("m", x=np.array([[b"a", b"b"]], dtype=object))
    assert sentence in str(caught.value)


def test_a_shape_that_would_take_all_memory(fake: FakeServer, client: Client) -> None:
    fake.serve("m", inputs={"x": ("BYTES", (-1, -1))})

    def answer(request: Any) -> Any:
        response = fake.respond(request)
        _set_shape(1, 2**62)(response)
        return response

    fake.answer("ModelInfer", answer)
    with pytest.raises(ProtocolError, match="announces"):
        client.infer("m", x=np.array([[b"a", b"b"]], dtype=object))


def test_metadata_with_an_unknown_dtype(fake: FakeServer, client: Client) -> None:
    described = service_pb2.ModelMetadataResponse(name="m", versions=["1"])
    described.inputs.add(name="x", datatype="FP4", shape=[-1, 3])
    described.outputs.add(name="y0", datatype="FP32", shape=[-1, 3])
    fake.answer("ModelMetadata", lambda _: described)
    with pytest.raises(ProtocolError, match="unknown dtype 'FP4'"):
        client.infer("m", x=ROW)


def test_metadata_without_outputs(fake: FakeServer, client: Client) -> None:
    fake.serve("m", inputs=INPUTS, outputs={})
    with pytest.raises(ProtocolError, match="names no outputs"):
        client.metadata("m")


def test_an_answer_that_is_no_message(fake: FakeServer, client: Client) -> None:
    for rpc in ("ModelMetadata", "ModelInfer"):
        fake.answer(rpc, lambda _: b"\xff\xff\xff")
        with pytest.raises(ProtocolError) as caught:
            client.infer("m", x=ROW)
        assert caught.value.attempts >= 1
        fake.heal(rpc)
