"""Whatever bytes come back: a ProtocolError, or exactly what protobuf and numpy make of them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from clickclean_client import Client, InferResult, ProtocolError
from clickclean_client._bytes_tensor import encode_bytes_tensor
from clickclean_client._exceptions import Call
from clickclean_client._response import result_from_response
from clickclean_client._types import ModelMetadata, TensorSpec
from clickclean_client._wire import read_response
from clickclean_client.protocol import NUMPY_DTYPES, service_pb2
from clickclean_client.testing import FakeServer
from tests.client.challengers import INPUTS

CALL = Call("127.0.0.1:8001", "m")
MUTATIONS = 25_000
FIELDS = {"FP32": "fp32", "INT8": "int", "BYTES": "bytes", "BOOL": "bool", "INT64": "int64"}

Mutation = Callable[[random.Random, bytes], bytes]


def _spec(name: str, dtype: str, *shape: int) -> TensorSpec:
    return TensorSpec(name, NUMPY_DTYPES[dtype], dtype, shape)


MODELS = [
    ModelMetadata("m", ("1",), (), outputs, max_batch)
    for max_batch, outputs in (
        (4, (_spec("logits", "FP32", -1, 10),)),
        (4, (_spec("logits", "FP32", -1, -1), _spec("text", "BYTES", -1, 2))),
        (0, (_spec("a", "INT8", -1), _spec("b", "BOOL", 3), _spec("c", "INT64"))),
        (4, (_spec("half", "FP16", -1, 3), _spec("brain", "BF16", -1, 2, -1))),
    )
]


def _answer(rng: random.Random, model: ModelMetadata) -> Any:
    answer = service_pb2.ModelInferResponse(
        model_name="m", model_version="3", id=rng.choice(["", "an id", "x" * 200])
    )
    if rng.random() < 0.3:
        answer.parameters["k"].int64_param = 5
    typed = all(spec.triton_dtype in FIELDS for spec in model.outputs) and rng.random() < 0.3
    for spec in model.outputs:
        shape = [rng.randint(1, 4) if axis < 0 else axis for axis in spec.shape]
        if model.max_batch:
            shape[0] = 2
        output = answer.outputs.add(name=spec.name, datatype=spec.triton_dtype, shape=shape)
        count = int(np.prod(shape))
        if spec.triton_dtype == "BYTES":
            values = np.array([rng.randbytes(rng.randint(0, 9)) for _ in range(count)], object)
            raw = encode_bytes_tensor(values)
        else:
            values = np.array([rng.randint(0, 1) for _ in range(count)], spec.dtype)
            raw = values.tobytes()
        if typed:
            field = f"{FIELDS[spec.triton_dtype]}_contents"
            getattr(output.contents, field).extend(values.tolist())
        else:
            answer.raw_output_contents.append(raw)
    return answer


def _truncated(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def _flipped(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _replaced(rng: random.Random, data: bytes) -> bytes:
    """A byte, perhaps a length, becomes one of those that mean much."""
    at = rng.randrange(len(data))
    lies = [
        b"\0",
        b"\x7f",
        b"\xff\xff\xff\xff\x07",
        b"\xff\xff\xff\xff\x0f",
        b"\x80\0",
        b"\xff" * 9,
    ]
    return data[:at] + rng.choice([*lies, rng.randbytes(1)]) + data[at + 1 :]


def _inserted(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.randbytes(rng.randint(1, 6)) + data[at:]


def _repeated(rng: random.Random, data: bytes) -> bytes:
    begin, end = sorted(rng.choices(range(len(data) + 1), k=2))
    return data[:end] + data[begin:]


def _fields(rng: random.Random, data: bytes) -> bytes:
    """Whole fields that are unknown, or of a wire type that the protocol does not have."""
    number, wire_type = rng.choice([1, 3, 5, 6, 7, 15, 100, 2**29 - 1, 0]), rng.randrange(8)
    tag, body = number << 3 | wire_type, b""
    while tag > 127:
        body += bytes([tag & 127 | 128])
        tag >>= 7
    body += bytes([tag]) + rng.choice([b"\1", b"\0", b"\4abcd", b"abcd", b"abcdefgh", b""])
    return body + data if rng.random() < 0.5 else data + body


def _redescribed(rng: random.Random, data: bytes) -> bytes:
    """A message that is well formed; what it says of its outputs is wrong, or right by chance."""
    answer = service_pb2.ModelInferResponse.FromString(data)
    output = rng.choice(answer.outputs)
    choice = rng.randrange(6)
    if choice == 0:
        output.shape.append(rng.choice([0, 1, -1, 2**62]))
    elif choice == 1 and output.shape:
        axis = rng.randrange(len(output.shape))
        output.shape[axis] = rng.choice([0, -1, 3, 2**31, 2**62, 2**63 - 1])
    elif choice == 2:
        output.datatype = rng.choice(["", "FP4", "fp32", *NUMPY_DTYPES])
    elif choice == 3:
        output.name = rng.choice(["", "other", "logits", "a", "half"])
    elif choice == 4:
        answer.outputs.remove(output)
    else:
        answer.MergeFrom(service_pb2.ModelInferResponse(id="later", model_version="9"))
    return bytes(answer.SerializeToString())


def _refilled(rng: random.Random, data: bytes) -> bytes:
    """A message that is well formed; what its outputs hold is wrong, or right by chance."""
    answer = service_pb2.ModelInferResponse.FromString(data)
    raw = answer.raw_output_contents
    at = rng.randrange(len(answer.outputs))
    output = answer.outputs[at]
    choice = rng.randrange(5)
    if choice == 0:
        answer.MergeFrom(service_pb2.ModelInferResponse.FromString(data))
    elif choice == 1:
        output.contents.fp32_contents.append(1.5)
    elif not raw:
        output.contents.CopyFrom(answer.outputs[-1].contents)
    elif choice == 2:
        raw[at] = rng.choice([b"", raw[at] + b"\0", raw[at][:-1], raw[at] * 2, bytes(12)])
    elif choice == 3:
        raw.append(raw.pop(at))
    elif output.shape:
        # The last axis and the bytes agree with each other.
        output.shape[-1] *= 2
        raw[at] *= 2
    return bytes(answer.SerializeToString())


def _reordered(rng: random.Random, data: bytes) -> bytes:
    """Raw tensors before the rest: another order of fields, the same message."""
    answer = service_pb2.ModelInferResponse.FromString(data)
    first = service_pb2.ModelInferResponse(raw_output_contents=answer.raw_output_contents)
    del answer.raw_output_contents[:]
    return bytes(first.SerializeToString() + answer.SerializeToString())


MUTATORS: list[Mutation] = [
    _truncated,
    _flipped,
    _replaced,
    _inserted,
    _repeated,
    _fields,
    _redescribed,
    _refilled,
    _reordered,
]


def _check(result: InferResult, data: bytes, model: ModelMetadata, batch: int) -> None:
    """The result is what protobuf, numpy and the model's description say, independently."""
    answer = service_pb2.ModelInferResponse.FromString(data)
    assert (result.version, result.request_id) == (answer.model_version, answer.id)
    assert result.parameters == {
        key: getattr(value, value.WhichOneof("parameter_choice"))
        for key, value in answer.parameters.items()
        if value.WhichOneof("parameter_choice")
    }
    assert list(result) == [tensor.name for tensor in answer.outputs]
    assert set(result) == {spec.name for spec in model.outputs}
    for index, tensor in enumerate(answer.outputs):
        spec = next(spec for spec in model.outputs if spec.name == tensor.name)
        value = result[tensor.name]
        assert tensor.datatype == spec.triton_dtype
        assert list(value.shape) == list(tensor.shape)
        assert len(spec.shape) == len(tensor.shape)
        assert all(want in (-1, got) for want, got in zip(spec.shape, tensor.shape, strict=True))
        assert not batch or tensor.shape[0] == batch
        assert value.dtype == spec.dtype
        assert value.flags.aligned
        assert not value.flags.writeable
        if not answer.raw_output_contents:
            [(field, values)] = tensor.contents.ListFields() or [(None, [])]
            assert field is None or field.name == f"{FIELDS[spec.triton_dtype]}_contents"
            wanted = np.array([*values, None], object)[:-1].astype(spec.dtype)
            np.testing.assert_array_equal(value.ravel(), wanted)
        elif spec.triton_dtype == "BYTES":
            assert encode_bytes_tensor(value) == answer.raw_output_contents[index]
        elif spec.triton_dtype == "BOOL":
            assert [int(b) for b in value.ravel()] == [
                int(byte != 0) for byte in answer.raw_output_contents[index]
            ]
            assert set(value.tobytes()) <= {0, 1}
        else:
            assert value.tobytes() == answer.raw_output_contents[index]


def _outcome(data: bytes, model: ModelMetadata) -> str:
    batch = 2 if model.max_batch else 0
    try:
        result = result_from_response(read_response(data, CALL), model, CALL, batch=batch)
    except ProtocolError:
        return "refused"
    _check(result, data, model, batch)
    return "read"


def test_many_damaged_answers() -> None:
    rng = random.Random(20_260_401)
    whole = [
        (model, bytes(_answer(rng, model).SerializeToString()))
        for model in MODELS
        for _ in range(50)
    ]
    outcomes: Counter[tuple[str, str]] = Counter()
    for _ in range(MUTATIONS):
        model, data = rng.choice(whole)
        mutate = rng.choice(MUTATORS)
        outcomes[mutate.__name__, _outcome(mutate(rng, data), model)] += 1
    # Neither side is empty: something is refused and something is read, whatever the damage.
    for name in {mutate.__name__ for mutate in MUTATORS} - {"_reordered", "_truncated"}:
        assert outcomes[name, "refused"] > 50, outcomes
        assert outcomes[name, "read"] > 20, outcomes
    assert outcomes["_reordered", "refused"] == 0
    assert outcomes["_truncated", "refused"] > MUTATIONS / 20


def test_every_cut_of_an_answer() -> None:
    rng = random.Random(5)
    for model in MODELS:
        whole = bytes(_answer(rng, model).SerializeToString())
        for end in range(len(whole)):
            with pytest.raises(ProtocolError):
                result_from_response(
                    read_response(whole[:end], CALL), model, CALL, batch=2 if model.max_batch else 0
                )


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"\x32", "ends within a field"),
        (b"\x32\xff\xff\xff\xff\x0f", "a field of 4294967295 bytes"),
        (b"\x32\xff\xff\xff\xff\x1f", "more than 32 bits"),
        (b"\x32" + b"\x80" * 30, "more than 32 bits"),
        (b"\x80" * 5_000, "more than 32 bits"),
        (b"\x30\x01", "its field 6 has the wire type 0"),
        (b"\x18\x01", "its field 3 has the wire type 0"),
        (b"\x33\x34", "its field 6 has the wire type 3"),
        (b"\xa3\x06\xa4\x06", "its field 100 has the wire type 3"),
        (b"\x07", "its field 0 has the wire type 7"),
        (b"\xa1\x06abc", "ends within a field"),
        (b"\xa0\x06" + b"\x80" * 9, "ends within a field"),
        (b"\xa0\x06" + b"\x80" * 5_000 + b"\0", "more than 64 bits"),
        (b"\x1a\x02\xff\xfe", "no ModelInferResponse"),
        (b"\x1a\x02\xff\xfe\x1a\x02ok", "no ModelInferResponse"),
        (b"\x1a\x03\xed\xa0\x80", "no ModelInferResponse"),
        (b"\x0a\x02\xff\xfe", "no ModelInferResponse"),
        (b"\x2a\x03\x0a\x05a", "no ModelInferResponse"),
        (b"", "the output 'logits' is missing"),
    ],
)
def test_bytes_that_are_no_message(data: bytes, sentence: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        result_from_response(read_response(data, CALL), MODELS[0], CALL, batch=2)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("axes", "sentence"), [(65, "'y' has 65 axes"), (2**20, "'y' has 1048576 axes")]
)
def test_more_axes_than_numpy_has(axes: int, sentence: str) -> None:
    answer = service_pb2.ModelInferResponse()
    answer.outputs.add(name="y", datatype="FP32", shape=(1,) * axes)
    with pytest.raises(ProtocolError, match=sentence):
        read_response(answer.SerializeToString(), CALL)


def test_an_empty_tensor_beyond_all_memory() -> None:
    answer = service_pb2.ModelInferResponse()
    answer.outputs.add(name="y", datatype="FP32", shape=(0, 2**62))
    answer.raw_output_contents.append(b"")
    model = ModelMetadata("m", (), (), (_spec("y", "FP32", -1, -1),), 0)
    read = read_response(answer.SerializeToString(), CALL)
    with pytest.raises(ProtocolError, match="'y' is damaged: array is too big"):
        result_from_response(read, model, CALL, batch=0)


@pytest.mark.parametrize("field", [b"\x32\0", b"\xa0\x06\0", b"\x2a\0"])
def test_more_fields_than_any_answer_has(field: bytes) -> None:
    with pytest.raises(ProtocolError, match="more than 65536 fields"):
        read_response(field * 100_000, CALL)


@pytest.mark.parametrize("dtype", ["FP64", "FP32", "FP16", "UINT8"])
@pytest.mark.parametrize("pad", range(9))
def test_arrays_are_aligned_wherever_the_bytes_lie(pad: int, dtype: str) -> None:
    answer = service_pb2.ModelInferResponse(model_name="m" * (pad + 1))
    answer.outputs.add(name="y", datatype=dtype, shape=[2, 3])
    values = np.arange(6).astype(NUMPY_DTYPES[dtype]).reshape(2, 3)
    answer.raw_output_contents.append(values.tobytes())
    model = ModelMetadata("m", (), (), (_spec("y", dtype, -1, 3),), 4)
    read = read_response(answer.SerializeToString(), CALL)
    y = result_from_response(read, model, CALL, batch=2)["y"]
    np.testing.assert_array_equal(y, values)
    assert (y.flags.aligned, y.flags.writeable, y.flags.c_contiguous) == (True, False, True)


def _always(data: bytes) -> Callable[[Any], bytes]:
    return lambda _: data


def test_damaged_answers_over_a_socket(fake: FakeServer, client: Client) -> None:
    rng = random.Random(77)
    outcomes: Counter[str] = Counter()
    model = ModelMetadata("m", ("1",), (), (_spec("logits", "FP32", -1, 3),), 4)
    fake.serve("m", inputs=INPUTS, outputs={"logits": ("FP32", (-1, 3))})
    rows = np.zeros((2, 3), np.float32)
    for mutate in [*MUTATORS, *MUTATORS, *MUTATORS]:
        whole = bytes(_answer(rng, model).SerializeToString())
        data = mutate(rng, whole)
        fake.answer("ModelInfer", _always(data))
        try:
            result = client.infer("m", x=rows)
        except ProtocolError:
            outcomes["refused"] += 1
        else:
            _check(result, data, model, 2)
            outcomes["read"] += 1
    assert outcomes["refused"] >= 5, outcomes
    assert outcomes["read"] >= 5, outcomes

    # The connection and the client are as good as before.
    fake.answer("ModelInfer", _always(whole))
    assert client.infer("m", x=rows)["logits"].shape == (2, 3)


def test_the_check_of_these_tests_sees_a_wrong_array() -> None:
    answer = _answer(random.Random(1), MODELS[0])
    data = bytes(answer.SerializeToString())
    good = result_from_response(read_response(data, CALL), MODELS[0], CALL, batch=2)
    wrong = InferResult(
        {"logits": good["logits"] + 1}, model="m", version="3", request_id=good.request_id
    )
    with pytest.raises((AssertionError, DecodeError)):
        _check(wrong, data, MODELS[0], 2)
