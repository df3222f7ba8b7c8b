"""Batches of no rows, and of more rows than one request takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from clickclean_client import Classification, ClientError, InferResult, InvalidRequest
from clickclean_client._batches import empty_result, joined, parts, versions
from clickclean_client._exceptions import Call
from clickclean_client._options import InferOptions
from clickclean_client._result import Ranking
from clickclean_client._types import ModelMetadata, TensorSpec
from clickclean_client.protocol import NUMPY_DTYPES

CALL = Call("127.0.0.1:8001", "m")
METADATA = ModelMetadata(
    name="m",
    versions=("1",),
    inputs=(),
    outputs=tuple(
        TensorSpec(name, NUMPY_DTYPES[dtype], dtype, shape)
        for name, dtype, shape in (
            ("logits", "FP32", (-1, 10)),
            ("boxes", "FP64", (-1, -1, 4)),
            ("text", "BYTES", (-1,)),
        )
    ),
    max_batch=4,
)


def _result(rows: int, *, version: str = "1", name: str = "y", dtype: Any = np.float32) -> Any:
    y = np.arange(rows * 2, dtype=dtype).reshape(rows, 2)
    return InferResult({name: y}, model="m", version=version, request_id="id")


def test_an_empty_batch_has_every_output() -> None:
    result = empty_result(METADATA, CALL, request_id="id")
    shapes: dict[str, Any] = {name: (value.dtype, value.shape) for name, value in result.items()}
    assert shapes == {
        "logits": (np.float32, (0, 10)),
        "boxes": (np.float64, (0, 0, 4)),
        "text": (np.object_, (0,)),
    }
    assert (result.model, result.version, result.request_id) == ("m", "", "id")
    assert not any(value.flags.writeable for value in result.values())


@pytest.mark.parametrize(("output", "k", "columns"), [("logits", 3, 3), ("logits", 50, 10)])
def test_an_empty_batch_with_options(output: str, k: int, columns: int) -> None:
    options = InferOptions.checked(CALL, outputs=[output], classify={output: k})
    result = empty_result(METADATA, CALL, options)
    assert {name: value.shape for name, value in result.items()} == {output: (0, columns)}
    assert result[output].dtype == np.object_
    assert result.classes(output) == ()


def test_an_empty_batch_is_no_reason_to_take_wrong_names() -> None:
    with pytest.raises(InvalidRequest, match="no output 'nope'"):
        empty_result(METADATA, CALL, InferOptions.checked(CALL, outputs=["nope"]))


@pytest.mark.parametrize(("rows", "sizes"), [(0, []), (1, [1]), (4, [4]), (9, [4, 4, 1])])
def test_parts_are_views_that_make_up_the_whole(rows: int, sizes: list[int]) -> None:
    arrays = {"a": np.arange(rows * 2).reshape(rows, 2), "b": np.array(["x"] * rows, object)}
    found = list(parts(arrays, 4))
    assert [len(part["b"]) for part in found] == sizes
    for part in found:
        assert part["a"].base is arrays["a"].base
    if found:
        np.testing.assert_array_equal(np.concatenate([p["a"] for p in found]), arrays["a"])


def test_joined_in_order() -> None:
    results = [_result(2), _result(3), _result(1)]
    results[0].arm, results[0].experiment, results[0].prediction_id = "champion", "e", "p"
    results[1].parameters["k"] = 1
    whole = joined(results, CALL)
    np.testing.assert_array_equal(whole["y"], np.concatenate([r["y"] for r in results]))
    assert not whole["y"].flags.writeable
    assert (whole.model, whole.version, whole.request_id) == ("m", "1", "id")
    assert (whole.arm, whole.experiment, whole.prediction_id) == ("champion", "e", "p")
    assert whole.parameters == {"k": 1}
    assert joined(results[:1]) is results[0]


def test_joined_classifications() -> None:
    def classified(*rows: tuple[Classification, ...]) -> InferResult:
        rankings: dict[str, Ranking] = {"y": rows}
        items = np.array([[b"1.0:1"]] * len(rows), object)
        return InferResult({"y": items}, model="m", version="1", request_id="", rankings=rankings)

    one, two = (Classification(float(k), k, "") for k in (1, 2))
    whole = joined([classified((one,)), classified((two,), (one,))])
    assert whole.classes("y") == ((one,), (two,), (one,))


def test_versions_are_told_apart() -> None:
    results = [_result(1, version=version) for version in ("2", "3", "2")]
    assert versions(results) == ("2", "3")
    with pytest.raises(ClientError, match="come from versions 2, 3"):
        joined(results)


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (_result(1, dtype=np.float64), "differ in the output 'y'"),
        (_result(1, name="z"), "differ in their outputs"),
        (
            InferResult({"y": np.zeros((1, 3), np.float32)}, model="m", version="1", request_id=""),
            "differ in the output 'y'",
        ),
    ],
)
def test_parts_that_do_not_fit_together(other: InferResult, sentence: str) -> None:
    with pytest.raises(ClientError, match=sentence):
        joined([_result(1), other])
