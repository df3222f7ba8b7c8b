"""Check the inputs of a request against the model's metadata."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickclean_client._exceptions import Call, InvalidRequest
from clickclean_client._types import ModelMetadata, TensorSpec
from clickclean_client.protocol import MAX_MESSAGE_BYTES

# Room for names, shapes and parameters beside the tensors.
_HEADROOM_BYTES = 2**20


def check_inputs(inputs: Mapping[str, NDArray[Any]], metadata: ModelMetadata, call: Call) -> int:
    """Refuse what the server would refuse, or worse, would not; return the batch size.

    The batch size is 0 for a model that does not batch. An empty free axis (other than the
    batch) passes: whether it means something is for the model to say.

    Raises:
        InvalidRequest: an unknown or missing name, a dtype that is not exactly the declared one,
            another rank, a fixed axis of another size, an empty or too large batch, batches that
            differ between inputs, more bytes than one message may have.
    """
    specs = {spec.name: spec for spec in metadata.inputs}
    for name in inputs:
        if name not in specs:
            raise InvalidRequest(call, f"it has no input {name!r}", hint=_nearest(name, specs))
    for spec in metadata.inputs:
        if spec.name not in inputs and not spec.optional:
            raise InvalidRequest(call, f"the input {spec.name!r} is missing", hint=f"It is {spec}.")
    for name, value in inputs.items():
        _check_array(value, specs[name], call)
    if sum(value.nbytes for value in inputs.values()) > MAX_MESSAGE_BYTES - _HEADROOM_BYTES:
        raise InvalidRequest(
            call, "the inputs are larger than one message may be", hint="Send smaller batches."
        )
    return _check_batch(inputs, metadata.max_batch, call) if metadata.max_batch else 0


def _check_array(value: Any, spec: TensorSpec, call: Call) -> None:
    if not isinstance(value, np.ndarray):
        # A list of Python numbers has no dtype; guessing one would hide what the model gets.
        raise InvalidRequest(
            call,
            f"the input {spec.name!r} is a {type(value).__name__}, not a numpy array",
            hint=f"Write numpy.asarray(value, dtype={_numpy_name(spec)}); it is {spec}.",
        )
    if not _dtype_fits(value.dtype, spec):
        raise InvalidRequest(
            call,
            f"the input {spec.name!r} is {value.dtype}, but {spec.triton_dtype} is wanted",
            hint=f"Convert it knowingly: value.astype({_numpy_name(spec)}).",
        )
    fits = len(value.shape) == len(spec.shape) and all(
        want in (-1, got) for got, want in zip(value.shape, spec.shape, strict=True)
    )
    if not fits:
        raise InvalidRequest(
            call,
            f"the input {spec.name!r} has the shape {list(value.shape)}, but {spec} is wanted",
            hint=_shape_hint(value, spec),
        )


def _dtype_fits(dtype: np.dtype[Any], spec: TensorSpec) -> bool:
    if spec.triton_dtype == "BYTES":
        return dtype.kind in "OSU"
    if spec.triton_dtype == "BF16":
        return dtype == np.uint16 or dtype.name == "bfloat16"
    # The byte order may differ: that is no loss, and `_request` turns it.
    return dtype.kind == spec.dtype.kind and dtype.itemsize == spec.dtype.itemsize


def _shape_hint(value: NDArray[Any], spec: TensorSpec) -> str:
    if value.ndim + 1 == len(spec.shape):
        return "Is the batch axis missing? value[numpy.newaxis] adds it."
    return "The first axis is the batch, if the model batches."


def _check_batch(inputs: Mapping[str, NDArray[Any]], max_batch: int, call: Call) -> int:
    sizes = {name: value.shape[0] for name, value in inputs.items()}
    if len(set(sizes.values())) > 1:
        shown = ", ".join(f"{name}: {size}" for name, size in sizes.items())
        raise InvalidRequest(
            call, f"the inputs differ in batch size ({shown})", hint="One row per example, in all."
        )
    batch = next(iter(sizes.values()), 0)
    if sizes and batch == 0:
        raise InvalidRequest(call, "the batch is empty", hint="Send at least one row.")
    if batch > max_batch:
        raise InvalidRequest(
            call,
            f"the batch of {batch} is over the model's limit of {max_batch}",
            hint=f"Send at most {max_batch} rows at once.",
        )
    return batch


def _numpy_name(spec: TensorSpec) -> str:
    # numpy.bool_ and not numpy.bool, which NumPy 1.26 does not have.
    return {"BYTES": "object", "BOOL": "numpy.bool_"}.get(
        spec.triton_dtype, f"numpy.{spec.dtype.name}"
    )


def _nearest(name: str, known: Iterable[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(str(name), names, n=1)
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"Its inputs are {', '.join(names)}." if names else "It has no inputs."
