"""Which outputs, in which form, how urgently: what a caller may ask for, and what comes back."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from clickclean_client import Classification, InferResult, InvalidRequest, ProtocolError
from clickclean_client._bytes_tensor import encode_bytes_tensor
from clickclean_client._exceptions import Call
from clickclean_client._options import PLAIN, InferOptions
from clickclean_client._response import result_from_response
from clickclean_client._types import ModelMetadata, TensorSpec
from clickclean_client._wire import read_response
from clickclean_client.protocol import NUMPY_DTYPES, service_pb2

CALL = Call("127.0.0.1:8001", "m")


def _spec(name: str, dtype: str, *shape: int) -> TensorSpec:
    return TensorSpec(name, NUMPY_DTYPES[dtype], dtype, shape)


METADATA = ModelMetadata(
    name="m",
    versions=("1",),
    inputs=(_spec("x", "FP32", -1, 3),),
    outputs=(_spec("logits", "FP32", -1, 10), _spec("half", "FP16", -1, 2)),
    max_batch=4,
)
UNBATCHED = ModelMetadata("m", ("1",), (), (_spec("logits", "INT32", 2, 5),), 0)


@pytest.mark.parametrize(
    ("settings", "sentence", "hint"),
    [
        ({"outputs": "logits"}, "must be a sequence of names", "outputs=['logits']"),
        ({"outputs": 3}, "must be a sequence of names", ""),
        ({"outputs": []}, "names nothing", "Leave it out"),
        ({"outputs": [""]}, "no name of an output", ""),
        ({"outputs": ["logits", "logits"]}, "names 'logits' twice", "once"),
        ({"classify": ["logits"]}, "must be a mapping", "classify="),
        ({"classify": {3: 3}}, "no name of an output", ""),
        ({"classify": {"logits": 0}}, "asks for 0 classes of 'logits'", "from 1"),
        ({"classify": {"logits": True}}, "asks for True classes", "from 1"),
        ({"classify": {"logits": 2**31}}, "asks for 2147483648 classes", "from 1"),
        ({"outputs": ["half"], "classify": {"logits": 1}}, "which outputs leaves out", "Add"),
        ({"priority": -1}, "-1 is no priority", "1 is the most urgent"),
        ({"priority": 2**64}, "is no priority", ""),
        ({"priority": True}, "True is no priority", ""),
        ({"parameters": "a=1"}, "must be a mapping", "parameters="),
        ({"parameters": {"": 1}}, "no name of a parameter", ""),
        ({"parameters": {"a\0b": 1}}, "no name of a parameter", "NUL"),
        ({"parameters": {"priority": 1}}, "'priority' is reserved", "priority="),
        ({"parameters": {"timeout": 1}}, "'timeout' is reserved", "timeout_s="),
        ({"parameters": {"headers": "a"}}, "'headers' is reserved", "headers="),
        ({"parameters": {"binary_data_output": True}}, "is reserved", "another name"),
        ({"parameters": {"triton_final_response": True}}, "is reserved", "another name"),
        ({"parameters": {"a": None}}, "'a' is None", "str or int or bool or float"),
        ({"parameters": {"a": [1]}}, "'a' is [1]", "str or int or bool or float"),
        ({"parameters": {"a": 2**63}}, "does not fit into 64 bits", "as str"),
        ({"parameters": {"a": "b\0c"}}, "would not arrive whole", "NUL"),
        ({"parameters": {"a": "\ud800"}}, "would not arrive whole", "Unicode"),
        ({"parameters": {"sequence_id": True}}, "'sequence_id' is True", "int or str"),
        ({"parameters": {"sequence_id": 1.5}}, "'sequence_id' is 1.5", "int or str"),
        ({"parameters": {"sequence_start": 1}}, "'sequence_start' is 1", "must be bool"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, Any], sentence: str, hint: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        InferOptions.checked(CALL, **settings)
    assert sentence in str(caught.value)
    assert hint in caught.value.hint
    assert caught.value.endpoint == CALL.endpoint


@pytest.mark.parametrize(
    ("settings", "sentence", "hint"),
    [
        ({"outputs": ["logit"]}, "it has no output 'logit'", "Did you mean 'logits'?"),
        ({"outputs": ["zzz"]}, "it has no output 'zzz'", "Its outputs are logits, half."),
        ({"classify": {"logitz": 2}}, "it has no output 'logitz'", "Did you mean 'logits'?"),
        ({"classify": {"half": 2}}, "'half' is FP16, which cannot be classified", "FP32"),
    ],
)
def test_names_that_the_model_does_not_have(
    settings: dict[str, Any], sentence: str, hint: str
) -> None:
    options = InferOptions.checked(CALL, **settings)
    with pytest.raises(InvalidRequest) as caught:
        options.asked(METADATA, CALL)
    assert sentence in str(caught.value)
    assert hint in caught.value.hint


def test_numbers_of_numpy_are_numbers() -> None:
    settings: dict[str, Any] = {
        "classify": {"logits": np.int64(3)},
        "priority": np.uint8(2),
        "parameters": {"a": np.int32(4), "b": np.float32(0.5), "c": np.True_},
    }
    options = InferOptions.checked(CALL, **settings)
    assert (options.classify, options.priority) == ((("logits", 3),), 2)
    sent = service_pb2.ModelInferRequest.FromString(options.wire).parameters
    assert (sent["a"].int64_param, sent["b"].double_param, sent["c"].bool_param) == (4, 0.5, True)


def test_members_of_a_sequence_are_stateful() -> None:
    assert InferOptions.checked(CALL, parameters={"sequence_id": "a"}).stateful
    assert InferOptions.checked(CALL, parameters={"sequence_id": 3, "sequence_end": True}).stateful
    assert not InferOptions.checked(CALL, parameters={"a": 3}).stateful
    assert not PLAIN.stateful


def _response(**tensors: tuple[str, list[int], Any]) -> Any:
    response = service_pb2.ModelInferResponse(model_name="m", model_version="1")
    for name, (dtype, shape, values) in tensors.items():
        response.outputs.add(name=name, datatype=dtype, shape=shape)
        if dtype == "BYTES":
            raw = encode_bytes_tensor(np.array(values, dtype=object))
        else:
            raw = np.array(values, NUMPY_DTYPES[dtype]).tobytes()
        response.raw_output_contents.append(raw)
    return response


def _result(
    response: Any, options: InferOptions, metadata: ModelMetadata = METADATA, batch: int = 2
) -> InferResult:
    read = read_response(response.SerializeToString(), CALL)
    return result_from_response(read, metadata, CALL, batch=batch, options=options)


LOGITS = ("FP32", [2, 10], [0.5] * 20)
HALF = ("FP16", [2, 2], [1, 2, 3, 4])


def test_only_what_was_asked_for_is_handed_out() -> None:
    asked = InferOptions.checked(CALL, outputs=["half"])
    for response in (_response(half=HALF), _response(logits=LOGITS, half=HALF)):
        assert list(_result(response, asked)) == ["half"]
    with pytest.raises(ProtocolError, match="the output 'half' is missing"):
        _result(_response(logits=LOGITS), asked)
    with pytest.raises(ProtocolError, match="the output 'logits' is missing"):
        _result(_response(half=HALF), PLAIN)


def test_an_output_that_comes_twice() -> None:
    response = _response(logits=LOGITS, half=HALF)
    response.MergeFrom(_response(logits=LOGITS))
    with pytest.raises(ProtocolError, match="carries the output 'logits' twice"):
        _result(response, PLAIN)


def test_parameters_of_an_answer() -> None:
    response = _response(logits=LOGITS, half=HALF)
    response.parameters["took_us"].int64_param = 5
    response.parameters["nothing"]
    result = _result(response, PLAIN)
    assert result.parameters == {"took_us": 5}
    assert pickle.loads(pickle.dumps(result)).parameters == {"took_us": 5}  # noqa: S301


def test_classifications() -> None:
    options = InferOptions.checked(CALL, classify={"logits": 3})
    items = [
        b"9.5:7",
        b"1.0:0:a:b\nc",
        b"-inf:9:",
        b"nan:1:\xff",
        b"-0.000001:2:\xeb\x82\x98",
        b"1e-05:3",
    ]
    result = _result(_response(logits=("BYTES", [2, 3], items), half=HALF), options)

    assert result["logits"].tolist() == [items[:3], items[3:]]
    first, second = result.classes("logits")
    assert first == (
        Classification(9.5, 7, ""),
        Classification(1.0, 0, "a:b\nc"),
        Classification(-np.inf, 9, ""),
    )
    assert np.isnan(second[0].score)
    assert [(c.index, c.label) for c in second] == [(1, "\\xff"), (2, "나"), (3, "")]
    assert second[2].score == 1e-5
    assert result.classified == ("logits",)

    with pytest.raises(InvalidRequest, match="'half' was not classified") as caught:
        result.classes("half")
    assert "classify={'half': 3}" in caught.value.hint
    with pytest.raises(InvalidRequest, match="no output 'other'"):
        result.classes("other")


def test_more_classes_than_there_are() -> None:
    options = InferOptions.checked(CALL, classify={"logits": 50})
    items = [f"{index}:{index}".encode() for index in range(10)]
    result = _result(_response(logits=("BYTES", [10], items)), options, UNBATCHED, batch=0)
    assert [c.index for row in result.classes("logits") for c in row] == list(range(10))
    assert result["logits"].shape == (10,)


@pytest.mark.parametrize(
    ("tensor", "sentence"),
    [
        (LOGITS, "is FP32, a classification is BYTES"),
        (("BYTES", [2, 2], [b"1:1"] * 4), "has the shape [2, 2], asked for were 3 classes of"),
        (("BYTES", [2, 4], [b"1:1"] * 8), "has the shape [2, 4]"),
        (("BYTES", [1, 3], [b"1:1"] * 3), "has the shape [1, 3]"),
        (("BYTES", [6], [b"1:1"] * 6), "has the shape [6]"),
        (("BYTES", [2, 3, 1], [b"1:1"] * 6), "has the shape [2, 3, 1]"),
        (("BYTES", [], [b"1:1"]), "has the shape []"),
        (("BYTES", [2, -3], [b"1:1"] * 6), "has the shape [2, -3]"),
        (("BYTES", [2, 3], [b"1:1"] * 5), "ends within element 5 of 6"),
        (("BYTES", [2, 3], [b"1:1"] * 5 + [b"1:10"]), "b'1:10', which is no classification"),
        (("BYTES", [2, 3], [b"1:1"] * 5 + [b"1"]), "b'1', which is no classification"),
        (("BYTES", [2, 3], [b"1:1"] * 5 + [b"x:1"]), "b'x:1', which is no classification"),
        (("BYTES", [2, 3], [b"1:1"] * 5 + [b"1.1.1:1"]), "which is no classification"),
        (("BYTES", [2, 3], [b"1:1"] * 5 + [b"1:-1"]), "which is no classification"),
        (("BYTES", [2, 3], [b"1:1"] * 5 + [b"1:" + b"9" * 9000]), "which is no classification"),
    ],
)
def test_classifications_that_are_none(tensor: Any, sentence: str) -> None:
    options = InferOptions.checked(CALL, classify={"logits": 3}, outputs=["logits"])
    with pytest.raises(ProtocolError) as caught:
        _result(_response(logits=tensor), options)
    assert sentence in str(caught.value)


def test_the_configuration_is_secret_and_so_is_the_batch() -> None:
    options = InferOptions.checked(CALL, classify={"logits": 2}, outputs=["logits"])
    secret = ModelMetadata("m", ("1",), METADATA.inputs, METADATA.outputs, 0)
    items = [b"1.0:1", b"0.5:2"]
    result = _result(_response(logits=("BYTES", [1, 2], items)), options, secret, batch=0)
    assert [c.index for c in result.classes("logits")[0]] == [1, 2]
