"""Check an answer against the model's metadata and wrap it without copying."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickclean_client._bytes_tensor import decode_bytes_tensor
from clickclean_client._exceptions import Call, ProtocolError
from clickclean_client._types import InferResult, ModelMetadata, TensorSpec


def result_from_response(
    response: Any, metadata: ModelMetadata, call: Call, *, batch: int
) -> InferResult:
    """The outputs of a ModelInferResponse; `batch` = rows sent, 0 for a model without batching.

    Triton passes on what a Python model returns unchecked, so everything is checked here.

    Raises:
        ProtocolError: an output is missing, or its dtype, shape, row count or byte count
            disagrees with the metadata or with itself.
    """
    if len(response.raw_output_contents) != len(response.outputs):
        raise ProtocolError(
            call,
            f"it announces {len(response.outputs)} outputs "
            f"and carries the data of {len(response.raw_output_contents)}",
        )
    specs = {spec.name: spec for spec in metadata.outputs}
    outputs: dict[str, NDArray[Any]] = {}
    for tensor, raw in zip(response.outputs, response.raw_output_contents, strict=True):
        spec = specs.get(tensor.name)
        if spec is None:
            raise ProtocolError(call, f"it carries the undeclared output {tensor.name!r}")
        _check_tensor(tensor, spec, call, batch=batch)
        outputs[tensor.name] = _array(tensor, raw, spec, call)
    missing = [name for name in specs if name not in outputs]
    if missing:
        raise ProtocolError(call, f"the output {missing[0]!r} is missing")
    return InferResult(
        outputs,
        model=call.model,
        version=response.model_version,
        request_id=response.id,
    )


def _check_tensor(tensor: Any, spec: TensorSpec, call: Call, *, batch: int) -> None:
    if tensor.datatype != spec.triton_dtype:
        raise ProtocolError(
            call, f"the output {spec.name!r} is {tensor.datatype}, declared is {spec.triton_dtype}"
        )
    shape = list(tensor.shape)
    fits = len(shape) == len(spec.shape) and all(
        got >= 0 and want in (-1, got) for got, want in zip(shape, spec.shape, strict=True)
    )
    if not fits:
        raise ProtocolError(
            call, f"the output {spec.name!r} has the shape {shape}, declared is {spec}"
        )
    if batch and shape[0] != batch:
        raise ProtocolError(call, f"the output {spec.name!r} has {shape[0]} rows for {batch} sent")


def _array(tensor: Any, raw: bytes, spec: TensorSpec, call: Call) -> NDArray[Any]:
    shape = tuple(tensor.shape)
    count = math.prod(shape)
    if spec.triton_dtype == "BYTES":
        # An element takes at least its length: a count beyond that would only allocate memory.
        if count * 4 > len(raw):
            raise ProtocolError(
                call, f"the output {spec.name!r} announces {count} elements in {len(raw)} bytes"
            )
        try:
            items = decode_bytes_tensor(raw, count).reshape(shape)
        except ValueError as exc:
            raise ProtocolError(call, f"the output {spec.name!r} is damaged: {exc}") from exc
        items.flags.writeable = False
        return items
    if count * spec.dtype.itemsize != len(raw):
        raise ProtocolError(
            call,
            f"the output {spec.name!r} has {len(raw)} bytes, "
            f"its shape {list(shape)} takes {count * spec.dtype.itemsize}",
        )
    return np.frombuffer(raw, dtype=spec.dtype).reshape(shape)
