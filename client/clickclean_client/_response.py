"""Check an answer against the model's metadata and wrap it, without copying where that is safe."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clickclean_client._bytes_tensor import decode_bytes_tensor
from clickclean_client._contents import array_from_contents
from clickclean_client._exceptions import Call, ProtocolError
from clickclean_client._options import PLAIN, InferOptions
from clickclean_client._result import Classification, InferResult, Ranking
from clickclean_client._types import ModelMetadata, TensorSpec
from clickclean_client._wire import WireResponse, WireTensor
from clickclean_client.protocol import NUMPY_DTYPES

# "<value>:<index>[:<label>]", where a label may hold anything.
# https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_classification.md
_CLASSIFICATION: Final = re.compile(
    rb"([-+]?(?:[0-9.]+(?:[eE][-+]?[0-9]+)?|inf|nan)):([0-9]{1,19})(?::(.*))?", re.DOTALL
)


def result_from_response(
    response: WireResponse,
    metadata: ModelMetadata,
    call: Call,
    *,
    batch: int,
    options: InferOptions = PLAIN,
) -> InferResult:
    """The outputs of an answer; `batch` = rows sent, 0 for a model without batching.

    Triton passes on what a Python model returns unchecked, so everything is checked here. An
    output of the model that was not asked for is left out: not every server of this protocol
    knows that outputs can be chosen.

    Raises:
        ProtocolError: an output is missing, unknown or there twice, or its dtype, shape, row
            count or data disagree with the metadata, with the options or with each other.
    """
    specs = metadata._outputs
    wanted = specs if options is PLAIN else dict(options.asked(metadata, call)) or specs
    classified = dict(options.classify)
    outputs: dict[str, NDArray[Any]] = {}
    rankings: dict[str, Ranking] = {}
    for tensor, data in zip(response.outputs, _data(response, call), strict=True):
        name = tensor.name
        spec = specs.get(name)
        if spec is None:
            raise ProtocolError(call, f"it carries the undeclared output {name!r}")
        if name not in wanted:
            continue
        if name in outputs:
            raise ProtocolError(call, f"it carries the output {name!r} twice")
        if name in classified:
            size = _check_classified(tensor, spec, classified[name], call, batch=batch)
            outputs[name] = _array(tensor, data, call)
            rankings[name] = _ranking(outputs[name], name, size, call)
        else:
            _check_tensor(tensor, spec, call, batch=batch)
            if options.memory is not None and name in options.memory.destinations:
                outputs[name] = options.memory.received(tensor, data, call)
            else:
                outputs[name] = _array(tensor, data, call)
    if len(outputs) < len(wanted):
        missing = next(name for name in wanted if name not in outputs)
        raise ProtocolError(call, f"the output {missing!r} is missing")
    if options is PLAIN:
        object.__setattr__(metadata, "_last", _last_of(response, outputs, batch))
    return InferResult(
        outputs,
        model=call.model,
        version=response.model_version,
        request_id=response.request_id,
        parameters=response.parameters,
        rankings=rankings,
    )


def usual_result(
    response: WireResponse, metadata: ModelMetadata, model: str, *, batch: int
) -> InferResult | None:
    """What `result_from_response` makes of an answer without options, if it is like the last one.

    That one was checked; None if this one has to be, too.
    """
    last = metadata._last
    if last is None:
        return None
    outputs = _as_last(last, response, batch)
    if outputs is None:
        return None
    return InferResult(
        outputs,
        model=model,
        version=response.model_version,
        request_id=response.request_id,
        parameters=response.parameters,
    )


class _Last(NamedTuple):
    """An answer that was right, as it was announced, and how its tensors are read."""

    outputs: tuple[WireTensor, ...]
    batch: int
    arrays: tuple[tuple[str, tuple[int, ...], np.dtype[Any], int], ...]


def _last_of(
    response: WireResponse, outputs: Mapping[str, NDArray[Any]], batch: int
) -> _Last | None:
    """What to know the next answer by; None if there is more to check than sizes."""
    if response.typed or len(outputs) != len(response.outputs):
        return None
    if any(array.dtype.kind in "bO" for array in outputs.values()):
        return None
    arrays = [(name, array.shape, array.dtype, array.nbytes) for name, array in outputs.items()]
    return _Last(response.outputs, batch, tuple(arrays))


def _as_last(last: _Last, response: WireResponse, batch: int) -> dict[str, NDArray[Any]] | None:
    """The arrays of an answer that was announced like the last one; None if it was not.

    What is announced is one object as long as its bytes are the same (`read_response`).
    """
    if response.outputs is not last.outputs or batch != last.batch:
        return None
    if len(response.raw) != len(last.arrays):
        return None
    found: dict[str, NDArray[Any]] = {}
    for (name, shape, dtype, size), raw in zip(last.arrays, response.raw, strict=True):
        if raw.nbytes != size:
            return None
        array: NDArray[Any] = np.ndarray(shape, dtype, raw)
        found[name] = array if array.flags.aligned else np.ndarray(shape, dtype, bytes(raw))
    return found


def _data(response: WireResponse, call: Call) -> Sequence[Any]:
    """For each output its raw bytes, or else its InferTensorContents."""
    raw = response.raw
    if not response.typed and len(raw) == len(response.outputs):
        return raw
    contents = [tensor.contents for tensor in response.outputs if tensor.contents is not None]
    carried = len(raw) or len(contents)
    if carried != len(response.outputs):
        raise ProtocolError(
            call,
            f"it announces {len(response.outputs)} outputs and carries the data of {carried}",
        )
    if not raw:
        return contents
    if any(content.ByteSize() for content in contents):
        raise ProtocolError(call, "it carries the same output as raw bytes and as values")
    return raw


def _check_tensor(tensor: WireTensor, spec: TensorSpec, call: Call, *, batch: int) -> None:
    if tensor.datatype != spec.triton_dtype:
        raise ProtocolError(
            call, f"the output {spec.name!r} is {tensor.datatype}, declared is {spec.triton_dtype}"
        )
    shape = tensor.shape
    if not _fits(shape, spec.shape):
        raise ProtocolError(
            call, f"the output {spec.name!r} has the shape {list(shape)}, declared is {spec}"
        )
    if batch and shape[0] != batch:
        raise ProtocolError(call, f"the output {spec.name!r} has {shape[0]} rows for {batch} sent")


def _fits(shape: tuple[int, ...], declared: tuple[int, ...]) -> bool:
    if len(shape) != len(declared):
        return False
    for got, want in zip(shape, declared, strict=True):
        if got < 0 or (want not in (-1, got)):
            return False
    return True


def _check_classified(
    tensor: WireTensor, spec: TensorSpec, classes: int, call: Call, *, batch: int
) -> int | None:
    """Refuse all but BYTES[rows, k] or, without batching, BYTES[k]; how many elements a row has.

    None if that is not known. k is at most that many, whatever was asked for.
    """
    if tensor.datatype != "BYTES":
        raise ProtocolError(
            call, f"the output {spec.name!r} is {tensor.datatype}, a classification is BYTES"
        )
    shape = tensor.shape
    *rows, count = shape or (-1,)
    # Where the configuration is secret a batch of 0 may stand for any.
    if not (rows == [batch] or (not batch and len(rows) <= 1 and min(rows, default=0) >= 0)):
        count = -1
    size = row_size(spec, rows=bool(rows))
    if not 0 <= count <= classes or (size is not None and count != min(size, classes)):
        raise ProtocolError(
            call,
            f"the output {spec.name!r} has the shape {list(shape)}, "
            f"asked for were {classes} classes of {spec} for {batch or 1} rows",
        )
    return size


def row_size(spec: TensorSpec, *, rows: bool) -> int | None:
    """How many elements one row of an output has; None if an axis is free."""
    axes = spec.shape[1:] if rows else spec.shape
    return None if min(axes, default=0) < 0 else math.prod(axes)


def _array(tensor: WireTensor, data: Any, call: Call) -> NDArray[Any]:
    """The tensor's read-only elements; its dtype is known and no axis is below 0."""
    try:
        if not isinstance(data, memoryview):
            values = array_from_contents(data, tensor.datatype, math.prod(tensor.shape))
        elif tensor.datatype == "BYTES":
            values = _elements(tensor, data, call)
        else:
            return _numbers(tensor, data, call)
        values.flags.writeable = False
        return values.reshape(tensor.shape)
    except ValueError as exc:
        # Also more axes than numpy has, or an empty tensor with an axis beyond all memory.
        raise ProtocolError(call, f"the output {tensor.name!r} is damaged: {exc}") from exc


def _elements(tensor: WireTensor, raw: memoryview, call: Call) -> NDArray[np.object_]:
    count = math.prod(tensor.shape)
    # An element takes at least its length: a count beyond that would only allocate memory.
    if count * 4 > len(raw):
        raise ProtocolError(
            call, f"the output {tensor.name!r} announces {count} elements in {len(raw)} bytes"
        )
    return decode_bytes_tensor(bytes(raw), count)


def _numbers(tensor: WireTensor, raw: memoryview, call: Call) -> NDArray[Any]:
    dtype = NUMPY_DTYPES[tensor.datatype]
    size = math.prod(tensor.shape) * dtype.itemsize
    if size != len(raw):
        raise ProtocolError(
            call,
            f"the output {tensor.name!r} has {len(raw)} bytes, "
            f"its shape {list(tensor.shape)} takes {size}",
        )
    if dtype.kind == "b" and np.frombuffer(raw, np.uint8).max(initial=0) > 1:
        # To numpy a bool of another byte than 0 and 1 is neither equal to True nor to False.
        raw = memoryview((np.frombuffer(raw, np.uint8) != 0).tobytes())
    array: NDArray[Any] = np.ndarray(tensor.shape, dtype, raw)
    if array.flags.aligned:
        return array
    # Across the alignment numpy takes ten times as long, and compiled code may not cope at all.
    return np.ndarray(tensor.shape, dtype, bytes(raw))


def _ranking(array: NDArray[Any], name: str, size: int | None, call: Call) -> Ranking:
    rows = array.reshape(-1, array.shape[-1]) if array.size else array.reshape(-1, 0)
    return tuple(
        tuple(_classification(item, name, size, call) for item in row) for row in rows.tolist()
    )


def _classification(item: bytes, name: str, size: int | None, call: Call) -> Classification:
    match = _CLASSIFICATION.fullmatch(item)
    try:
        if match is None:
            raise ValueError
        score, index = float(match[1]), int(match[2])
        if size is not None and index >= size:
            raise ValueError
    except ValueError:
        raise ProtocolError(
            call, f"the output {name!r} holds {item[:80]!r}, which is no classification"
        ) from None
    return Classification(score, index, (match[3] or b"").decode(errors="backslashreplace"))
