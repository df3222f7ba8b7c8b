"""Servers other than Triton answer lists of values in place of raw bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from clickclean_client import Client, ProtocolError
from clickclean_client.protocol import NUMPY_DTYPES, service_pb2
from clickclean_client.testing import FakeServer

INPUTS = {"x": np.zeros((2, 2), np.float32)}


def _answers(fake: FakeServer, dtype: str, field: str, values: Sequence[Any]) -> Any:
    fake.serve("m", outputs={"y": (dtype, (-1, 2))}, inputs={"x": ("FP32", (-1, 2))})
    response = service_pb2.ModelInferResponse(model_name="m", model_version="7")
    output = response.outputs.add(name="y", datatype=dtype, shape=[2, 2])
    getattr(output.contents, field).extend(values)
    fake.answer("ModelInfer", lambda _: response)
    return response


@pytest.mark.parametrize(
    ("dtype", "field", "values"),
    [
        ("BOOL", "bool_contents", [True, False, False, True]),
        ("INT8", "int_contents", [-128, 127, 0, 1]),
        ("INT16", "int_contents", [-(2**15), 2**15 - 1, 0, 1]),
        ("INT32", "int_contents", [-(2**31), 2**31 - 1, 0, 1]),
        ("INT64", "int64_contents", [-(2**63), 2**63 - 1, 0, 1]),
        ("UINT8", "uint_contents", [255, 0, 1, 2]),
        ("UINT16", "uint_contents", [2**16 - 1, 0, 1, 2]),
        ("UINT32", "uint_contents", [2**32 - 1, 0, 1, 2]),
        ("UINT64", "uint64_contents", [2**64 - 1, 0, 1, 2]),
        ("FP32", "fp32_contents", [0.1, -0.0, np.inf, 3.4e38]),
        ("FP64", "fp64_contents", [0.1, -0.0, np.nan, 1.7e308]),
        ("BYTES", "bytes_contents", [b"", b"a\0", b"\xff", b"abc"]),
    ],
)
def test_every_dtype(
    dtype: str, field: str, values: list[Any], fake: FakeServer, client: Client
) -> None:
    _answers(fake, dtype, field, values)
    result = client.infer("m", INPUTS)
    y = result["y"]
    assert y.dtype == NUMPY_DTYPES[dtype]
    np.testing.assert_array_equal(y, np.array(values, NUMPY_DTYPES[dtype]).reshape(2, 2))
    assert not y.flags.writeable
    assert result.version == "7"


@pytest.mark.parametrize(
    ("dtype", "field", "values", "sentence"),
    [
        ("FP32", "fp32_contents", [1, 2, 3], "it carries 3 values for a shape of 4"),
        ("FP32", "fp32_contents", [1, 2, 3, 4, 5], "it carries 5 values for a shape of 4"),
        ("FP32", "fp64_contents", [1, 2, 3, 4], "fp64_contents are no FP32 values"),
        ("INT8", "int_contents", [0, 0, 0, 128], "a value does not fit into INT8"),
        ("INT16", "int_contents", [0, 0, 0, -(2**15) - 1], "a value does not fit into INT16"),
        ("UINT8", "uint_contents", [256, 0, 0, 0], "a value does not fit into UINT8"),
        ("FP16", "fp32_contents", [1, 2, 3, 4], "FP16 values come as raw bytes only"),
        ("BF16", "uint_contents", [1, 2, 3, 4], "BF16 values come as raw bytes only"),
        ("BYTES", "bytes_contents", [b"a"], "it carries 1 values for a shape of 4"),
    ],
)
def test_what_does_not_fit(
    fake: FakeServer, client: Client, *, dtype: str, field: str, values: list[Any], sentence: str
) -> None:
    _answers(fake, dtype, field, values)
    with pytest.raises(ProtocolError) as caught:
        client.infer("m", INPUTS)
    assert sentence in str(caught.value)


def test_both_forms_at_once(fake: FakeServer, client: Client) -> None:
    response = _answers(fake, "FP32", "fp32_contents", [1, 2, 3, 4])
    response.raw_output_contents.append(bytes(16))
    with pytest.raises(ProtocolError, match="as raw bytes and as values"):
        client.infer("m", INPUTS)


def test_one_output_of_each_form(fake: FakeServer, client: Client) -> None:
    response = _answers(fake, "FP32", "fp32_contents", [1, 2, 3, 4])
    fake.serve(
        "m",
        inputs={"x": ("FP32", (-1, 2))},
        outputs={"y": ("FP32", (-1, 2)), "z": ("FP32", (-1, 2))},
    )
    response.outputs.add(name="z", datatype="FP32", shape=[2, 2])
    response.raw_output_contents.append(bytes(16))
    with pytest.raises(ProtocolError, match="announces 2 outputs and carries the data of 1"):
        client.infer("m", INPUTS)
