"""Between messages and arrays, with the checks and the words of a real Triton."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from clickclean_client._bytes_tensor import decode_bytes_tensor, encode_bytes_tensor
from clickclean_client.protocol import NUMPY_DTYPES, service_pb2
from clickclean_client.testing._errors import Refusal
from clickclean_client.testing._model import FakeModel
from clickclean_client.testing._shared_memory import Regions
from clickclean_client.testing._switches import NO_ID

_SHARED: Final = "shared_memory_region"
_CONTENTS: Final = {
    "BOOL": "bool",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int"),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint"),
    **{dtype: dtype.lower() for dtype in ("INT64", "UINT64", "FP32", "FP64", "BYTES")},
}
"""Dtype -> the field of InferTensorContents; the 16-bit floats have none."""


def arrays_from_request(request: Any, model: FakeModel, regions: Regions) -> dict[str, Any]:
    """The inputs by name, in the order of the model; read-only views where that is possible.

    Raises:
        Refusal: they are not what the model takes, as a real server would refuse them.
    """
    raws = iter(request.raw_input_contents)
    found: dict[str, NDArray[Any]] = {}
    for tensor in request.inputs:
        if tensor.name not in model.inputs:
            _refuse(f"unexpected inference input '{tensor.name}' for model '{model.name}'")
        if tensor.name in found:
            _refuse(f"{_id(request)}input '{tensor.name}' already exists in request")
        _check(tensor, request, model)
        found[tensor.name] = _array(tensor, raws, request, model, regions)
    missing = [n for n in model.inputs if n not in found and n not in model.optional]
    if missing:
        _refuse(
            f"{_id(request)}expected {len(model.inputs)} inputs but got {len(found)} inputs for "
            f"model '{model.name}'. Got input(s) [{_quoted(found)}], but missing required input(s) "
            f"[{_quoted(missing)}]. Please provide all required input(s)."
        )
    _check_batch(found, request, model)
    return {name: found[name] for name in model.inputs if name in found}


def response_from_arrays(
    request: Any, model: FakeModel, arrays: Mapping[str, NDArray[Any]], regions: Regions
) -> Any:
    """The answer, with the outputs that were asked for, or all.

    Raises:
        Refusal: an output is asked for that does not exist, or its shared memory does not do.
    """
    response = service_pb2.ModelInferResponse(
        model_name=model.name, model_version=str(model.version), id=request.id
    )
    wanted = {output.name: output.parameters for output in request.outputs}
    for name in wanted:
        if name not in arrays:
            _refuse(f"unexpected inference output '{name}' for model '{model.name}'")
    for name in wanted or arrays:
        array = arrays[name]
        dtype = model.described_outputs[name][0]
        response.outputs.add(name=name, datatype=dtype, shape=array.shape)
        data = encode_bytes_tensor(array) if dtype == "BYTES" else array.tobytes()
        parameters = wanted.get(name, {})
        if _SHARED in parameters:
            regions.write(parameters, data, name)
            data = b""
        response.raw_output_contents.append(data)
    return response


def _array(
    tensor: Any, raws: Any, request: Any, model: FakeModel, regions: Regions
) -> NDArray[Any]:
    count = math.prod(tensor.shape)
    if _SHARED in tensor.parameters:
        raw = regions.read(tensor.parameters)
    elif tensor.HasField("contents"):
        return _from_contents(tensor, request, model)
    else:
        found = next(raws, None)
        if found is None:
            _refuse(
                f"unable to find data for input tensor '{tensor.name}' for model "
                f"'{model.name}' in request."
            )
        raw = found
    if tensor.datatype == "BYTES":
        try:
            # An element takes at least its length: beyond that, a count only takes memory.
            if count * 4 > len(raw):
                raise ValueError(count)
            return decode_bytes_tensor(raw, count).reshape(tensor.shape)
        except ValueError:
            _mismatch(tensor, request, model, count, "elements, got others")
    dtype = NUMPY_DTYPES[tensor.datatype]
    if count * dtype.itemsize != len(raw):
        _mismatch(tensor, request, model, count * dtype.itemsize, f"got {len(raw)}")
    return np.frombuffer(raw, dtype).reshape(tensor.shape)


def _from_contents(tensor: Any, request: Any, model: FakeModel) -> NDArray[Any]:
    """Typed contents, which callers without raw bytes send."""
    field = f"{_CONTENTS.get(tensor.datatype, '')}_contents"
    values = list(getattr(tensor.contents, field, ()))
    count = math.prod(tensor.shape)
    if len(values) != count:
        _mismatch(tensor, request, model, count, f"got {len(values)}")
    array = np.empty(count, NUMPY_DTYPES[tensor.datatype])
    array[:] = values
    return array.reshape(tensor.shape)


def _check(tensor: Any, request: Any, model: FakeModel) -> None:
    dtype, declared = model.inputs[tensor.name]
    if tensor.datatype != dtype:
        given = tensor.datatype if tensor.datatype in NUMPY_DTYPES else "<invalid>"
        _refuse(
            f"{_id(request)}inference input '{tensor.name}' data-type is '{given}', "
            f"but model '{model.name}' expects '{dtype}'"
        )
    shape = list(tensor.shape)
    fits = len(shape) == len(declared) and all(
        got >= 0 and want in (-1, got) for got, want in zip(shape, declared, strict=True)
    )
    if not fits:
        sizes = [",".join(map(str, s)) for s in (declared, shape)]
        _refuse(
            f"{_id(request)}unexpected shape for input '{tensor.name}' for model '{model.name}'. "
            f"Expected [{sizes[0]}], got [{sizes[1]}]. "
        )


def _check_batch(arrays: Mapping[str, NDArray[Any]], request: Any, model: FakeModel) -> None:
    if not model.max_batch or not arrays:
        return
    first = next(iter(arrays.values())).shape[0]
    for name, array in arrays.items():
        if array.shape[0] != first:
            _refuse(
                f"{_id(request)}input '{name}' batch size does not match other inputs for "
                f"'{model.name}'"
            )
    if first < 1:
        _refuse(f"{_id(request)}inference request batch-size must be >= 1 for '{model.name}'")
    if first > model.max_batch:
        _refuse(
            f"{_id(request)}inference request batch-size must be <= {model.max_batch} for "
            f"'{model.name}'"
        )


def _mismatch(tensor: Any, request: Any, model: FakeModel, wanted: int, got: str) -> NoReturn:
    _refuse(
        f"{_id(request)}input byte size mismatch for input '{tensor.name}' for model "
        f"'{model.name}'. Expected {wanted}, {got}"
    )


def _quoted(names: Any) -> str:
    return ",".join(f"'{name}'" for name in names)


def _id(request: Any) -> str:
    return f"[request id: {request.id}] " if request.id else NO_ID


def _refuse(text: str) -> NoReturn:
    raise Refusal("INVALID_ARGUMENT", text)
