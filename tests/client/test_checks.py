"""Every wrong input is refused in one sentence with a hint, and no inference is sent."""

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from clickclean_client import Client, InvalidRequest, Overloaded
from clickclean_client.protocol import grpc
from clickclean_client.slots import AXES
from clickclean_client.testing import FakeServer

# What the server was asked before the call was refused.
SCHEMA = {"ModelMetadata", "ModelConfig"}
REQUEST = SCHEMA | {"ModelInfer"}

INPUTS = [
    ("image", "FP32", (-1, 3, -1, -1)),
    ("mask", "BOOL", (-1, -1, -1)),
    ("tokens", "INT64", (-1, -1)),
    ("points", "FP64", (-1, -1, 2)),
    ("tags", "BYTES", (-1, -1)),
    ("half", "BF16", (-1, 2)),
    ("rest", "UINT8", (-1, -1)),
    ("pair", "FP16", (-1, -1, -1)),
]
NAMES: dict[str, dict[str, list[Any]]] = {
    "tensors": {
        "image": ["batch", 3, "height", "width"],
        "mask": ["batch", "height", "width"],
        "tokens": ["batch", "length"],
        "points": ["batch", "points", 2],
        "tags": ["batch", "tags"],
        "pair": ["batch", "side", "side"],
    },
    "ranges": {
        "height": [32, 512],
        "width": [32, 512],
        "length": [1, 64],
        "points": [4, None],
        "tags": [None, 3],
    },
}
IMAGE = np.zeros((1, 3, 32, 48), np.float32)


def image(*shape: int) -> dict[str, NDArray[Any]]:
    return {"image": np.zeros(shape, np.float32)}


def with_image(**more: Any) -> dict[str, Any]:
    return {"image": IMAGE, **more}


@pytest.fixture
def rich(fake: FakeServer) -> FakeServer:
    """A model with one axis of each kind; everything but the image may be left out."""
    fake.serve(
        "m",
        inputs={name: (dtype, shape) for name, dtype, shape in INPUTS},
        optional=[name for name, _, _ in INPUTS[1:]],
        parameters={AXES: json.dumps(NAMES)},
    )
    return fake


WRONG_INPUTS: list[tuple[dict[Any, Any], str, str]] = [
    # names
    ({}, "the input 'image' is missing", "It is FP32[batch, 3, height 32..512, width 32..512]"),
    ({"mask": np.zeros((1, 32, 32), bool)}, "the input 'image' is missing", "FP32[batch, 3,"),
    (with_image(z=IMAGE), "it has no input 'z'", "Its inputs are image, mask, tokens"),
    (with_image(maks=IMAGE), "it has no input 'maks'", "Did you mean 'mask'?"),
    (with_image(Image=IMAGE), "it has no input 'Image'", "Did you mean 'image'?"),
    ({1: IMAGE, "image": IMAGE}, "it has no input 1", "Its inputs are"),
    ({b"image": IMAGE}, "it has no input b'image'", "image"),
    (with_image(y0=IMAGE), "it has no input 'y0'", "Its inputs are"),
    # what is no array
    ({"image": [[1.0]]}, "'image' is a list, not a numpy array", "dtype=numpy.float32"),
    ({"image": ((1.0,),)}, "'image' is a tuple, not a numpy array", "dtype=numpy.float32"),
    ({"image": 1.0}, "'image' is a float, not a numpy array", "numpy.asarray"),
    ({"image": np.float32(1)}, "'image' is a float32, not a numpy array", "numpy.asarray"),
    ({"image": None}, "'image' is a NoneType, not a numpy array", "numpy.asarray"),
    ({"image": "cat.png"}, "'image' is a str, not a numpy array", "numpy.asarray"),
    ({"image": IMAGE.tobytes()}, "'image' is a bytes, not a numpy array", "numpy.asarray"),
    ({"image": memoryview(IMAGE.tobytes())}, "'image' is a memoryview, not a", "numpy.asarray"),
    (with_image(mask=None), "'mask' is a NoneType", "dtype=numpy.bool_"),
    (with_image(tags=["a"]), "'tags' is a list, not a numpy array", "dtype=object"),
    ({"image": IMAGE.view(np.ma.MaskedArray)}, "'image' is a masked array", "value.filled(number)"),
    # dtypes
    ({"image": IMAGE.astype(np.float64)}, "is float64, but FP32 is wanted", "numpy.float32"),
    ({"image": IMAGE.astype(np.float16)}, "is float16, but FP32 is wanted", "numpy.float32"),
    ({"image": IMAGE.astype(np.uint8)}, "is uint8, but FP32 is wanted", "numpy.float32"),
    ({"image": IMAGE.astype(np.int32)}, "is int32, but FP32 is wanted", "numpy.float32"),
    ({"image": IMAGE.astype(bool)}, "is bool, but FP32 is wanted", "numpy.float32"),
    ({"image": IMAGE.astype(np.complex64)}, "is complex64, but FP32", "numpy.float32"),
    ({"image": IMAGE.astype(object)}, "is object, but FP32 is wanted", "numpy.float32"),
    ({"image": np.array([None])}, "is object, but FP32 is wanted", "numpy.float32"),
    ({"image": np.array(["1.5"])}, "is <U3, but FP32 is wanted", "numpy.float32"),
    ({"image": np.array([b"1"])}, "is |S1, but FP32 is wanted", "numpy.float32"),
    ({"image": np.array(["2026-01-01"], "M8[s]")}, "is datetime64[s], but", "numpy.float32"),
    ({"image": np.zeros(1, [("a", "f4")])}, "[('a', '<f4')], but FP32", "numpy.float32"),
    (with_image(mask=np.zeros((1, 32, 48), np.int8)), "is int8, but BOOL", "numpy.bool_"),
    (with_image(tokens=np.zeros((1, 4), np.int32)), "is int32, but INT64", "numpy.int64"),
    (with_image(tokens=np.zeros((1, 4), np.uint64)), "is uint64, but INT64", "numpy.int64"),
    (with_image(tokens=np.zeros((1, 4))), "is float64, but INT64", "numpy.int64"),
    (with_image(points=np.zeros((1, 4, 2), np.float32)), "is float32, but FP64", "float64"),
    (with_image(rest=np.zeros((1, 4), np.int8)), "is int8, but UINT8", "numpy.uint8"),
    (with_image(half=np.zeros((1, 2), np.float16)), "float16, but BF16", "numpy.uint16"),
    (with_image(half=np.zeros((1, 2), np.float32)), "float32, but BF16", "numpy.uint16"),
    (with_image(tags=np.zeros((1, 2))), "is float64, but BYTES is wanted", "astype(object)"),
    # elements of BYTES
    (with_image(tags=np.array([["a", None]], object)), "None is neither bytes nor str", "UTF-8"),
    (with_image(tags=np.array([[1]], object)), "1 is neither bytes nor str", "UTF-8"),
    (with_image(tags=np.array([["\udc00"]], object)), "'tags' holds an element that", "UTF-8"),
    (with_image(tags=np.array([[["a"], 1]], object)), "is neither bytes nor str", "UTF-8"),
    # ranks
    (image(), "has the shape [], but FP32[batch, 3, height 32..512,", "first axis is the batch"),
    (image(3, 32, 32), "has the shape [3, 32, 32], but", "value[numpy.newaxis]"),
    (image(1, 1, 3, 32, 32), "has the shape [1, 1, 3, 32, 32], but", "first axis is the batch"),
    (with_image(tokens=np.zeros(4, np.int64)), "'tokens' has the shape [4]", "numpy.newaxis"),
    # axes: fixed, in a range, at one end, by place, in another order
    (image(1, 4, 32, 32), "axis 1 of input 'image' is 4, it must be 3", "array is [1, 4, 32, 32]"),
    (image(1, 0, 32, 32), "axis 1 of input 'image' is 0, it must be 3", "the shape of the array"),
    (image(1, 3, 700, 32), "axis 'height' of input 'image' is 700, allowed are 32 to 512", "[1, 3"),
    (image(1, 3, 31, 32), "axis 'height' of input 'image' is 31, allowed are 32 to 512", "FP32["),
    (image(1, 3, 32, 0), "axis 'width' of input 'image' is 0, allowed are 32 to 512", "FP32["),
    (image(1, 3, 700, 1), "axis 'height' of input 'image' is 700", "width 32..512]"),
    (image(1, 32, 48, 3), "axis 1 of input 'image' is 32, it must", "numpy.moveaxis(value, -1, 1)"),
    (
        with_image(tokens=np.zeros((1, 65), np.int64)),
        "axis 'length' of input 'tokens' is 65, allowed are 1 to 64",
        "INT64[batch, length 1..64]",
    ),
    (
        with_image(tokens=np.zeros((1, 0), np.int64)),
        "axis 'length' of input 'tokens' is 0, allowed are 1 to 64",
        "the shape of the array is [1, 0]",
    ),
    (
        with_image(points=np.zeros((1, 3, 2))),
        "axis 'points' of input 'points' is 3, at least 4 is allowed",
        "FP64[batch, points 4.., 2]",
    ),
    (
        with_image(points=np.zeros((1, 4, 3))),
        "axis 2 of input 'points' is 3, it must be 2",
        "the shape of the array is [1, 4, 3]",
    ),
    (
        with_image(points=np.zeros((1, 2, 5))),
        "axis 'points' of input 'points' is 2, at least 4 is allowed",
        "numpy.moveaxis(value, -1, 1) would fit",
    ),
    (
        with_image(tags=np.full((1, 4), "a")),
        "axis 'tags' of input 'tags' is 4, at most 3 is allowed",
        "BYTES[batch, tags ..3]",
    ),
    (
        with_image(half=np.zeros((1, 3), np.uint16)),
        "axis 1 of input 'half' is 3, it must be 2",
        "BF16[batch, 2]",
    ),
    # one name, several sizes
    (
        with_image(mask=np.zeros((1, 32, 32), bool)),
        "axis 'width' of input 'mask' is 32, and of input 'image' it is 48",
        "one size in all inputs",
    ),
    (
        with_image(mask=np.zeros((1, 48, 32), bool)),
        "axis 'height' of input 'mask' is 48, and of input 'image' it is 32",
        "one size in all inputs",
    ),
    (
        with_image(pair=np.zeros((1, 2, 3), np.float16)),
        "axis 'side' of input 'pair' is 3, and of input 'pair' it is 2",
        "one size in all inputs",
    ),
    # the batch
    (image(5, 3, 32, 32), "the batch of 5 is over the model's limit of 4", "at most 4 rows"),
    (
        with_image(tokens=np.zeros((2, 1), np.int64)),
        "the inputs differ in batch size (image: 1, tokens: 2)",
        "One row per example",
    ),
    (
        with_image(tokens=np.zeros((0, 1), np.int64)),
        "the inputs differ in batch size (image: 1, tokens: 0)",
        "One row per example",
    ),
    (
        {"image": np.broadcast_to(IMAGE, (2**18, 3, 32, 48))},
        "the inputs are larger than one message may be",
        "smaller batches",
    ),
    # several at once: the first in the order of the checks
    (with_image(z=1, mask=[1]), "it has no input 'z'", "Its inputs are"),
    ({"mask": [1]}, "the input 'image' is missing", "It is FP32"),
    ({"image": np.zeros((9, 9))}, "is float64, but FP32 is wanted", "numpy.float32"),
    (image(9, 3, 700, 32), "axis 'height' of input 'image' is 700", "FP32["),
]


@pytest.mark.parametrize(("inputs", "sentence", "hint"), WRONG_INPUTS)
def test_wrong_inputs_cost_a_look_at_the_schema(
    inputs: dict[str, Any], sentence: str, hint: str, rich: FakeServer, client: Client
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        client.infer("m", inputs)
    assert sentence in str(caught.value)
    assert hint in caught.value.hint
    assert (caught.value.model, caught.value.exit_code, caught.value.code) == ("m", 2, "")
    assert set(rich.calls) == SCHEMA


def test_the_table_is_large_enough() -> None:
    assert len({sentence + hint for _, sentence, hint in WRONG_INPUTS}) >= 60


RIGHT_INPUTS: list[dict[str, Any]] = [
    {"image": IMAGE},
    image(4, 3, 512, 32),
    {"image": np.full_like(IMAGE, np.nan)},
    {"image": np.full_like(IMAGE, -np.inf)},
    {"image": IMAGE.astype(">f4")},
    {"image": np.asfortranarray(IMAGE)},
    {"image": np.zeros((2, 6, 64, 96), np.float32)[::2, ::2, ::2, ::2]},
    {"image": np.broadcast_to(np.float32(1), IMAGE.shape)},
    with_image(mask=np.zeros((1, 32, 48), bool)),
    with_image(tokens=np.zeros((1, 64), np.longlong)),
    with_image(points=np.zeros((1, 4000, 2))),
    with_image(tags=np.array([["a", b"\xff"]], object)),
    with_image(tags=np.array([["a", "ü"]])),
    with_image(tags=np.empty((1, 0), object)),
    with_image(half=np.zeros((1, 2), np.uint16)),
    with_image(rest=np.zeros((1, 0), np.uint8)),
    with_image(pair=np.zeros((1, 7, 7), np.float16)),
]


@pytest.mark.parametrize("inputs", RIGHT_INPUTS)
def test_what_is_right_is_sent(inputs: dict[str, Any], rich: FakeServer, client: Client) -> None:
    names = [name for name, _, _ in INPUTS if name in inputs]
    rich.fail("ModelInfer", grpc.StatusCode.RESOURCE_EXHAUSTED, "enough for this test")
    with pytest.raises(Overloaded, match="enough for this test"):
        client.infer("m", inputs)
    assert [tensor.name for tensor in rich.last_request["ModelInfer"].inputs] == names
    assert set(rich.calls) == REQUEST


def test_a_model_without_inputs(fake: FakeServer, client: Client) -> None:
    fake.serve("m", inputs={}, outputs={"y": ("FP32", (1,))}, max_batch=0)
    with pytest.raises(InvalidRequest) as caught:
        client.infer("m", image=IMAGE)
    assert caught.value.hint == "It has no inputs."
    assert set(fake.calls) == SCHEMA


def test_a_model_that_does_not_batch(fake: FakeServer, client: Client) -> None:
    fake.serve("m", inputs={"x": ("FP32", (-1, 2))}, max_batch=0)
    with pytest.raises(InvalidRequest, match="axis 1 of input 'x' is 3, it must be 2") as caught:
        client.infer("m", x=np.zeros((1, 3), np.float32))
    assert caught.value.hint == "It is FP32[any, 2]; the shape of the array is [1, 3]."
    assert set(fake.calls) == SCHEMA


def test_a_limit_that_the_server_does_not_tell_is_for_the_server(
    fake: FakeServer, client: Client
) -> None:
    text = "This protocol is restricted, expecting header 'triton-grpc-protocol-config-key'"
    fake.fail("ModelConfig", grpc.StatusCode.UNAVAILABLE, text)
    fake.fail("ModelInfer", grpc.StatusCode.INVALID_ARGUMENT, "batch-size must be <= 4 for 'm'")
    with pytest.raises(InvalidRequest, match="batch-size must be <= 4") as caught:
        client.infer("m", x=np.zeros((9, 3), np.float32))
    assert caught.value.code == "INVALID_ARGUMENT"
    assert set(fake.calls) == REQUEST
