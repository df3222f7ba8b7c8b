"""Tensors as lists of values: InferTensorContents, which other servers of this protocol answer.

Triton answers raw bytes; MLServer, for one, fills `contents`. Which field holds which dtype:
https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_grpc.md
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from clickclean_client.protocol import NUMPY_DTYPES

_FIELDS: Final = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def array_from_contents(contents: Any, datatype: str, count: int) -> NDArray[Any]:
    """`count` elements of a Triton dtype, in one dimension; BYTES as an object array of `bytes`.

    Raises:
        ValueError: there are more or fewer, one does not fit into the dtype, another field is
            filled, or the dtype (FP16, BF16) has no field.
    """
    field = _FIELDS.get(datatype)
    if field is None:
        raise ValueError(f"{datatype} values come as raw bytes only")
    for other, _ in contents.ListFields():
        if other.name != field:
            raise ValueError(f"{other.name} are no {datatype} values")
    values = getattr(contents, field)
    if len(values) != count:
        raise ValueError(f"it carries {len(values)} values for a shape of {count}")
    dtype = NUMPY_DTYPES[datatype]
    if field not in {"int_contents", "uint_contents"}:
        return np.fromiter(values, dtype, count)
    wide = np.fromiter(values, np.int64, count)
    limits = np.iinfo(dtype)
    if count and not limits.min <= wide.min() <= wide.max() <= limits.max:
        raise ValueError(f"a value does not fit into {datatype}")
    return wide.astype(dtype)
