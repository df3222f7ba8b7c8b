"""Triton's gRPC protocol: the one module that imports `tritonclient`.

It uses the generated messages and the stub alone. tritonclient's own `InferenceServerClient`
is left out because it turns a gRPC status into a string and shares channels between clients.
"""

from __future__ import annotations

from typing import Any, Final

import grpc
import numpy as np
from google.protobuf import text_format  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from clickclean_client._exceptions import ModelConfigError

__all__ = [
    "CONFIG_DTYPES",
    "MAX_MESSAGE_BYTES",
    "NUMPY_DTYPES",
    "DecodeError",
    "config_dtype",
    "format_model_config",
    "grpc",
    "model_config_pb2",
    "numpy_dtype",
    "parse_model_config",
    "service_pb2",
    "service_pb2_grpc",
    "triton_dtype",
]

MAX_MESSAGE_BYTES: Final = 2**31 - 1
"""Triton's own limit in both directions: `MAX_GRPC_MESSAGE_SIZE` is INT32_MAX in its source, and
a protobuf message cannot be larger than 2 GiB."""

NUMPY_DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype(np.object_),
    "BF16": np.dtype("<u2"),
}
"""Triton's name -> numpy. BYTES are object arrays of `bytes`. NumPy has no bfloat16: BF16 is its
16 bits as uint16 (`array.view(ml_dtypes.bfloat16)` reads them as numbers)."""

CONFIG_DTYPES: Final[dict[str, int]] = {
    name: model_config_pb2.DataType.Value("TYPE_STRING" if name == "BYTES" else f"TYPE_{name}")
    for name in NUMPY_DTYPES
}
"""Triton's name on the wire -> the `DataType` of model_config.proto (STRING for BYTES)."""

_TRITON_DTYPES: Final = {dtype: name for name, dtype in NUMPY_DTYPES.items() if name != "BF16"}


def numpy_dtype(triton: str) -> np.dtype[Any]:
    """The numpy dtype of a Triton dtype name such as "FP32"; KeyError if there is none."""
    return NUMPY_DTYPES[triton]


def triton_dtype(dtype: Any) -> str:
    """Triton's name of a numpy dtype, for instance "INT64"; KeyError if there is none.

    uint16 is UINT16, never BF16. `S` and `U` strings are BYTES, as object arrays are.
    """
    exact = np.dtype(dtype)
    if exact.kind in "SU":
        return "BYTES"
    return _TRITON_DTYPES[exact]


def config_dtype(dtype: Any) -> int:
    """The `DataType` of model_config.proto for a numpy dtype; KeyError if there is none."""
    return CONFIG_DTYPES[triton_dtype(dtype)]


def parse_model_config(text: str) -> Any:
    """The `model_config_pb2.ModelConfig` that a `config.pbtxt` text describes.

    Raises:
        ModelConfigError: a syntax error or an unknown field, with line and column.
    """
    try:
        return text_format.Parse(text, model_config_pb2.ModelConfig())
    except text_format.ParseError as exc:
        raise ModelConfigError(str(exc)) from exc


def format_model_config(config: Any) -> str:
    """The `config.pbtxt` text of a `model_config_pb2.ModelConfig`."""
    return str(text_format.MessageToString(config))
