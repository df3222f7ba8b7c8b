"""What is written by hand is what protobuf reads, for every dtype, layout, option and size."""

from __future__ import annotations

import random
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from clickclean_client import InvalidRequest
from clickclean_client._exceptions import Call
from clickclean_client._options import PLAIN, InferOptions
from clickclean_client._request import InferMessage, infer_message
from clickclean_client._types import ModelMetadata, TensorSpec
from clickclean_client._wire import (
    HEADERS_KEPT,
    read_response,
    request_header,
    timeout_field,
    varint,
)
from clickclean_client.protocol import MAX_MESSAGE_BYTES, NUMPY_DTYPES, service_pb2

CALL = Call("127.0.0.1:8001", "m")
LAYOUTS = ("C", "F", "strided", "reversed", "big-endian", "empty", "read-only")


def _metadata(*inputs: TensorSpec) -> ModelMetadata:
    outputs = tuple(
        TensorSpec(name, NUMPY_DTYPES["FP32"], "FP32", (-1, 10)) for name in ("logits", "other")
    )
    return ModelMetadata("m", ("1",), inputs, outputs, 4)


def _one(array: NDArray[Any], dtype: str = "FP32", **more: Any) -> InferMessage:
    spec = TensorSpec("x", NUMPY_DTYPES[dtype], dtype, (-1,) * array.ndim)
    settings = {"name": "m", "number": ""} | more
    return infer_message({"x": array}, _metadata(spec), CALL, **settings)


def _read(data: bytes) -> Any:
    return service_pb2.ModelInferRequest.FromString(data)


def _random(dtype: str, shape: tuple[int, ...], rng: random.Random) -> NDArray[Any]:
    count = int(np.prod(shape))
    if dtype == "BYTES":
        items = [
            rng.choice([b"", b"\0a\xff", "나", "text", rng.randbytes(rng.choice([1, 127, 128]))])
            for _ in range(count)
        ]
        return np.array([*items, None], dtype=object)[:-1].reshape(shape)
    kind = NUMPY_DTYPES[dtype]
    if kind.kind == "b":
        return np.array([rng.random() < 0.5 for _ in range(count)], kind).reshape(shape)
    return np.frombuffer(rng.randbytes(count * kind.itemsize), kind).reshape(shape).copy()


def _laid_out(array: NDArray[Any], layout: str) -> NDArray[Any]:
    if layout == "F":
        return np.asfortranarray(array)
    if layout == "strided":
        return np.repeat(array, 2, axis=-1)[..., ::2]
    if layout == "reversed":
        return array[::-1]
    if layout == "big-endian":
        return array.astype(array.dtype.newbyteorder(">"))
    if layout == "empty":
        return array[:, :0]
    if layout == "read-only":
        array.flags.writeable = False
    return array


def _naive_bytes(array: NDArray[Any], dtype: str) -> bytes:
    if dtype != "BYTES":
        return array.astype(NUMPY_DTYPES[dtype]).tobytes("C")
    items = [item.encode() if isinstance(item, str) else item for item in array.ravel().tolist()]
    return b"".join(len(item).to_bytes(4, "little") + item for item in items)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", sorted(NUMPY_DTYPES))
def test_every_dtype_and_layout(dtype: str, layout: str) -> None:
    rng = random.Random(f"{dtype} {layout}")
    for _ in range(10):
        shape = (rng.randint(1, 4), *(rng.randint(1, 5) for _ in range(rng.randint(1, 3))))
        array = _laid_out(_random(dtype, shape, rng), layout)
        timeout_us = rng.choice([1, 127, 128, 2**31, rng.randrange(1, 86_400_000_000)])
        request_id = rng.choice(["", "a", "요청", "x" * 127, "x" * 128, "x" * 70_000])

        wanted = service_pb2.ModelInferRequest(model_name="m", model_version="3", id=request_id)
        wanted.parameters["timeout"].int64_param = timeout_us
        wanted.inputs.add(name="x", datatype=dtype, shape=array.shape)
        wanted.raw_input_contents.append(_naive_bytes(array, dtype))
        message = _one(array, dtype, number="3", request_id=request_id)
        assert _read(message.encode(timeout_us)) == wanted


@pytest.mark.parametrize("seed", range(40))
def test_any_number_of_inputs_with_any_options(seed: int) -> None:
    rng = random.Random(seed)
    dtypes = rng.choices(sorted(NUMPY_DTYPES), k=rng.randint(0, 5))
    specs = [
        TensorSpec(f"x{k}", NUMPY_DTYPES[dtype], dtype, (-1, -1), optional=True)
        for k, dtype in enumerate(dtypes)
    ]
    given = {
        spec.name: _random(spec.triton_dtype, (2, rng.randint(0, 60)), rng)
        for spec in specs
        if rng.random() < 0.8
    }
    parameters: dict[str, Any] = {
        key: value
        for key, value in {"n": -5, "t": "텍스트", "b": False, "f": 2.5, "one": 1}.items()
        if rng.random() < 0.5
    }
    priority = rng.choice([None, 0, 1, 2**64 - 1])
    outputs = rng.choice([None, ["logits"], ["other", "logits"]])
    classify = rng.choice([None, {"logits": 3}])
    options = InferOptions.checked(
        CALL, outputs=outputs, classify=classify, priority=priority, parameters=parameters
    )

    wanted = service_pb2.ModelInferRequest(model_name="m", model_version="12", id="id")
    wanted.parameters["timeout"].int64_param = 5_000
    for key, value in parameters.items():
        kinds = {int: "int64", str: "string", bool: "bool", float: "double"}
        setattr(wanted.parameters[key], f"{kinds[type(value)]}_param", value)
    if priority:
        wanted.parameters["priority"].uint64_param = priority
    for spec in specs:
        if spec.name in given:
            shape = given[spec.name].shape
            wanted.inputs.add(name=spec.name, datatype=spec.triton_dtype, shape=shape)
            raw = _naive_bytes(given[spec.name], spec.triton_dtype)
            wanted.raw_input_contents.append(raw)
    for name in outputs or (["logits", "other"] if classify else []):
        output = wanted.outputs.add(name=name)
        if classify and name in classify:
            output.parameters["classification"].int64_param = classify[name]

    message = infer_message(
        given, _metadata(*specs), CALL, name="m", number="12", request_id="id", options=options
    )
    assert _read(message.encode(5_000)) == wanted


def test_bfloat16_and_strings_of_numpy() -> None:
    numbers = np.array([[1.5, -2.0, 3.25]], np.float32).astype(ml_dtypes.bfloat16)
    for array in (numbers, numbers.T, numbers[:, ::-1]):
        assert _read(_one(array, "BF16").encode(1)).raw_input_contents == [array.tobytes()]
    for text in (np.array([["ab", "나"]]), np.array([[b"ab", "나".encode()]])):
        raw = _read(_one(text, "BYTES").encode(1)).raw_input_contents
        assert raw == [b"\2\0\0\0ab\3\0\0\0\xeb\x82\x98"]


def test_a_repetition_differs_in_its_timeout_alone() -> None:
    array = np.arange(12, dtype=np.float32).reshape(1, 12)
    message = _one(array, number="3", request_id="id")
    first = _read(message.encode(900_000))
    array[:] = -1  # from now on it is the caller's again
    second = _read(message.encode(70))
    other = _read(message.to("m.challenger", "").encode(8))

    assert first.raw_input_contents == [np.arange(12, dtype=np.float32).tobytes()]
    timeouts = [request.parameters["timeout"].int64_param for request in (first, second, other)]
    assert timeouts == [900_000, 70, 8]
    assert (other.model_name, other.model_version) == ("m.challenger", "")
    for request in (second, other):
        request.parameters["timeout"].int64_param = 900_000
        request.model_name, request.model_version = "m", "3"
        assert request == first


def test_a_timeout_that_is_over_does_not_become_none() -> None:
    for timeout_us in (0, -5):
        request = _read(timeout_field(timeout_us))
        assert request.parameters["timeout"].int64_param == 1


@pytest.mark.parametrize("value", [0, 1, 127, 128, 16_383, 16_384, 2**32 - 1, 2**63, 2**64 - 1])
def test_numbers(value: int) -> None:
    parameter = service_pb2.InferParameter.FromString(b"\x28" + varint(value))
    assert parameter.uint64_param == value


def test_negative_numbers_are_refused_and_do_not_loop() -> None:
    with pytest.raises(ValueError, match="below 0"):
        varint(-1)


def test_headers_are_remembered_up_to_a_bound() -> None:
    request_header.cache_clear()
    for rows in range(1, HEADERS_KEPT + 50):
        array = np.zeros((rows, 1), np.float32)
        assert _read(_one(array).encode(1)).inputs[0].shape == [rows, 1]
        _one(array).encode(1)
    info = request_header.cache_info()
    assert info.currsize == info.maxsize == HEADERS_KEPT
    assert info.hits >= HEADERS_KEPT


def test_values_that_python_takes_for_equal_stay_apart() -> None:
    array = np.zeros((1, 1), np.float32)
    kinds = []
    for value in (1, True, 1.0, 0.0, -0.0, 0, False):
        options = InferOptions.checked(CALL, parameters={"a": value})
        parameter = _read(_one(array, options=options).encode(1)).parameters["a"]
        kinds.append((parameter.WhichOneof("parameter_choice"), repr(value)))
        assert repr(getattr(parameter, kinds[-1][0])) == repr(value)
    assert len(set(kinds)) == 7


def test_a_message_over_the_limit_of_protobuf() -> None:
    array = np.zeros(MAX_MESSAGE_BYTES // 4 + 1, np.float32)  # its pages are never touched
    with pytest.raises(InvalidRequest, match="larger than one message"):
        _one(array)


def test_an_element_that_is_no_text() -> None:
    with pytest.raises(InvalidRequest, match="'x' holds an element that cannot be sent"):
        _one(np.array([[b"a", 3]], dtype=object), "BYTES")


def test_no_options_are_the_plain_ones() -> None:
    assert InferOptions.checked(CALL) is PLAIN
    assert InferOptions.checked(CALL, priority=0, parameters={}, classify={}) == PLAIN


@pytest.mark.parametrize("seed", range(30))
def test_an_answer_is_read_as_protobuf_reads_it(seed: int) -> None:
    rng = random.Random(seed)
    answer = service_pb2.ModelInferResponse(
        model_name=rng.choice(["", "m", "모델"]),
        model_version=rng.choice(["", "1", "12"]),
        id=rng.choice(["", "id", "요" * 60, "x" * 20_000]),
    )
    for name in rng.sample(["s", "n", "b", "f", "u"], rng.randint(0, 5)):
        value: Any = {"s": "나", "n": -(2**63), "b": True, "f": 0.5, "u": 2**64 - 1}[name]
        kind = {"s": "string", "n": "int64", "b": "bool", "f": "double", "u": "uint64"}[name]
        setattr(answer.parameters[name], f"{kind}_param", value)
    for index in range(rng.randint(0, 4)):
        shape = [rng.randint(-1, 2**40) for _ in range(rng.randint(0, 3))]
        answer.outputs.add(name=f"y{index}", datatype="FP32", shape=shape)
    for _ in range(rng.randint(0, 4)):
        answer.raw_output_contents.append(rng.randbytes(rng.choice([0, 5, 127, 128, 20_000])))

    # Pieces in another order are the same message, and so are fields that nobody knows.
    unknown = b"\xa0\x06\x96\x01" + b"\xa2\x06\x02ab" + b"\xa5\x06abcd" + b"\xa1\x06abcdefgh"
    data = answer.SerializeToString()
    head = service_pb2.ModelInferResponse(id="not the last one").SerializeToString()
    for form in (data, unknown + data, head + unknown + data if answer.id else data + unknown):
        found = read_response(form, CALL)
        assert found.model_name == answer.model_name
        assert found.model_version == answer.model_version
        assert found.request_id == answer.id
        assert found.parameters == {
            key: getattr(value, value.WhichOneof("parameter_choice"))
            for key, value in answer.parameters.items()
        }
        assert [(t.name, t.datatype, list(t.shape)) for t in found.outputs] == [
            (t.name, t.datatype, list(t.shape)) for t in answer.outputs
        ]
        assert [bytes(raw) for raw in found.raw] == list(answer.raw_output_contents)
