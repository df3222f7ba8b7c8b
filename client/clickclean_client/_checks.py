"""Check the inputs of a request against the model's metadata, before anything is sent.

What is right is recognised in one quick pass over a table that is made once for each
`ModelMetadata`. Whatever that pass does not take is looked at again, slowly and in a fixed order,
to say what is wrong with it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clickclean_client._exceptions import Call, InvalidRequest
from clickclean_client._types import BATCH, Axis, ModelMetadata, TensorSpec
from clickclean_client.protocol import MAX_MESSAGE_BYTES

# Room for names, shapes and parameters beside the tensors.
_LARGEST_BYTES: Final = MAX_MESSAGE_BYTES - 2**20
_LARGEST_SIZE: Final = 2**63 - 1  # Triton's sizes are int64
_REFUSED: Final = -1

Arrays = Mapping[str, NDArray[Any]]
Bounds = tuple[int, int]


class _Wanted(NamedTuple):
    """What one input must be; `bounds` of its axes, both ends included."""

    dtype: np.dtype[Any]
    bounds: tuple[Bounds, ...]
    fixed: tuple[int, ...] | None  # the sizes after the first axis, if all are fixed
    required: bool


class _Table(NamedTuple):
    """A model's inputs, as the quick pass wants them."""

    wanted: dict[str, _Wanted]
    required: int
    max_batch: int
    equal: tuple[tuple[str, int, str, int], ...]  # input, axis, and another that has its size


def check_inputs(
    inputs: Arrays, metadata: ModelMetadata, call: Call, *, split: bool = False
) -> int | None:
    """Refuse what the server would refuse, or worse, would not; return the number of rows.

    None means that rows say nothing: the model does not batch, or no input is given. 0 is an empty
    batch, which passes. With `split`, there may be more rows than one request may have. An empty
    free axis passes unless its range excludes it: whether it means something is for the model.

    Raises:
        InvalidRequest: the first that applies of: an unknown or a missing name; input by input, no
            array, a dtype that is not exactly the declared one, another rank, an axis of a size
            that is not allowed; a named axis with several sizes; more bytes than one message may
            have; batches that differ between inputs, or are too large.
    """
    table = metadata._prepared
    if table is None:
        table = _prepare(metadata)
        # Nothing but a faster form of the same values, so the value stays what it is.
        object.__setattr__(metadata, "_prepared", table)
    rows = _quick(inputs, table, split=split)
    return _careful(inputs, metadata, call, split=split) if rows == _REFUSED else rows


def _quick(inputs: Arrays, table: _Table, *, split: bool) -> int | None:
    """The answer for inputs that are right in the usual way, `_REFUSED` for all others."""
    rows: int | None = None
    required = size_bytes = 0
    for name, value in inputs.items():
        wanted = table.wanted.get(name)
        if wanted is None or not _fits(value, wanted):
            return _REFUSED
        if rows is None:
            rows = value.shape[0]
        elif value.shape[0] != rows and table.max_batch:
            return _REFUSED
        required += wanted.required
        size_bytes += value.nbytes
    if required != table.required or size_bytes > _LARGEST_BYTES:
        return _REFUSED
    if table.equal and not _equal(inputs, table):
        return _REFUSED
    if not table.max_batch or rows is None:
        return None
    return rows if split or rows <= table.max_batch else _REFUSED


def _fits(value: Any, wanted: _Wanted) -> bool:
    # A bare array, because a subclass may mean more than its numbers.
    if type(value) is not np.ndarray or value.dtype is not wanted.dtype:
        return False
    shape = value.shape
    if wanted.fixed is not None:
        return shape[1:] == wanted.fixed and shape != ()
    if len(shape) != len(wanted.bounds) or not shape:
        return False
    for size, (low, high) in zip(shape, wanted.bounds, strict=True):  # noqa: SIM110 - quicker
        if not low <= size <= high:
            return False
    return True


def _equal(inputs: Arrays, table: _Table) -> bool:
    for name, place, other, its_place in table.equal:
        if name not in inputs or other not in inputs:
            return False
        if inputs[name].shape[place] != inputs[other].shape[its_place]:
            return False
    return True


def _prepare(metadata: ModelMetadata) -> _Table:
    wanted = {}
    equal = []
    first: dict[str, tuple[str, int]] = {}
    for spec in metadata.inputs:
        bounds = tuple(map(_bounds, spec.axes))
        free_first = bounds[:1] == ((0, _LARGEST_SIZE),)
        fixed = free_first and all(axis.size >= 0 for axis in spec.axes[1:])
        wanted[spec.name] = _Wanted(
            spec.dtype, bounds, spec.shape[1:] if fixed else None, not spec.optional
        )
        for place, axis in _shared_axes(spec, metadata):
            where = first.setdefault(axis.name, (spec.name, place))
            if where != (spec.name, place):
                equal.append((spec.name, place, *where))
    required = sum(entry.required for entry in wanted.values())
    return _Table(wanted, required, metadata.max_batch, tuple(equal))


def _bounds(axis: Axis) -> Bounds:
    if axis.size >= 0:
        return axis.size, axis.size
    return axis.min or 0, _LARGEST_SIZE if axis.max is None else axis.max


def _shared_axes(spec: TensorSpec, metadata: ModelMetadata) -> list[tuple[int, Axis]]:
    """The axes that have one size wherever their name stands; the batch has its own check."""
    return [
        (place, axis)
        for place, axis in enumerate(spec.axes)
        if axis.size < 0 and axis.named and not (metadata.max_batch and place == 0)
    ]


def _careful(inputs: Arrays, metadata: ModelMetadata, call: Call, *, split: bool) -> int | None:
    """All checks one by one, in the order that `check_inputs` names."""
    specs = {spec.name: spec for spec in metadata.inputs}
    for name in inputs:
        if name not in specs:
            raise InvalidRequest(call, f"it has no input {name!r}", hint=_nearest(name, specs))
    for spec in metadata.inputs:
        if spec.name not in inputs and not spec.optional:
            raise InvalidRequest(call, f"the input {spec.name!r} is missing", hint=f"It is {spec}.")
    for name, value in inputs.items():
        _check_array(value, specs[name], call)
    _check_shared(inputs, metadata, call)
    at_once = metadata.max_batch if split else 0
    if sum(_bytes_of(value, at_once) for value in inputs.values()) > _LARGEST_BYTES:
        raise InvalidRequest(
            call, "the inputs are larger than one message may be", hint="Send smaller batches."
        )
    if not metadata.max_batch or not inputs:
        return None
    return _checked_batch(inputs, metadata.max_batch, call, split=split)


def _check_array(value: Any, spec: TensorSpec, call: Call) -> None:
    if not isinstance(value, np.ndarray):
        # A list of Python numbers has no dtype; guessing one would hide what the model gets.
        raise InvalidRequest(
            call,
            f"the input {spec.name!r} is a {type(value).__name__}, not a numpy array",
            hint=f"Write numpy.asarray(value, dtype={_numpy_name(spec)}); it is {spec}.",
        )
    if isinstance(value, np.ma.MaskedArray):
        raise InvalidRequest(
            call,
            f"the input {spec.name!r} is a masked array, and no model gets the mask",
            hint="value.filled(number) puts a number where the mask is.",
        )
    if not _dtype_fits(value.dtype, spec):
        raise InvalidRequest(
            call,
            f"the input {spec.name!r} is {value.dtype}, but {spec.triton_dtype} is wanted",
            hint=f"Convert it knowingly: value.astype({_numpy_name(spec)}).",
        )
    if len(value.shape) != len(spec.shape):
        raise InvalidRequest(
            call,
            f"the input {spec.name!r} has the shape {list(value.shape)}, but {spec} is wanted",
            hint=_rank_hint(value, spec),
        )
    for axis, size in zip(spec.axes, value.shape, strict=True):
        low, high = _bounds(axis)
        if not low <= size <= high:
            raise InvalidRequest(
                call,
                f"{_called(axis)} of input {spec.name!r} is {size}, {_allowed(axis)}",
                hint=_shape_hint(value, spec),
            )


def _check_shared(inputs: Arrays, metadata: ModelMetadata, call: Call) -> None:
    seen: dict[str, tuple[int, str]] = {}
    for spec in metadata.inputs:
        if spec.name not in inputs:
            continue
        for place, axis in _shared_axes(spec, metadata):
            size = inputs[spec.name].shape[place]
            first, where = seen.setdefault(axis.name, (size, spec.name))
            if size != first:
                raise InvalidRequest(
                    call,
                    f"{_called(axis)} of input {spec.name!r} is {size}, "
                    f"and of input {where!r} it is {first}",
                    hint="An axis has one size in all inputs that have it.",
                )


def _bytes_of(value: NDArray[Any], at_once: int) -> int:
    """The bytes that one message carries of an array; 0 `at_once` is all rows."""
    rows = value.shape[0] if value.shape else 0
    return value.nbytes // rows * at_once if 0 < at_once < rows else value.nbytes


def _checked_batch(inputs: Arrays, max_batch: int, call: Call, *, split: bool) -> int:
    sizes = {name: value.shape[0] if value.shape else 0 for name, value in inputs.items()}
    if len(set(sizes.values())) > 1:
        shown = ", ".join(f"{name}: {size}" for name, size in sizes.items())
        raise InvalidRequest(
            call, f"the inputs differ in batch size ({shown})", hint="One row per example, in all."
        )
    batch = next(iter(sizes.values()))
    if batch > max_batch and not split:
        raise InvalidRequest(
            call,
            f"the batch of {batch} is over the model's limit of {max_batch}",
            hint=f"Send at most {max_batch} rows at once.",
        )
    return batch


def _dtype_fits(dtype: np.dtype[Any], spec: TensorSpec) -> bool:
    if spec.triton_dtype == "BYTES":
        return dtype.kind in "OSU"
    if spec.triton_dtype == "BF16":
        return dtype == np.uint16 or dtype.name == "bfloat16"
    # The byte order may differ: that is no loss, and the writer of the request turns it.
    return dtype.kind == spec.dtype.kind and dtype.itemsize == spec.dtype.itemsize


def _called(axis: Axis) -> str:
    return f"axis {axis.name!r}" if axis.named else axis.name


def _allowed(axis: Axis) -> str:
    if axis.size >= 0:
        return f"it must be {axis.size}"
    if axis.min is None:
        return f"at most {axis.max} is allowed"
    if axis.max is None:
        return f"at least {axis.min} is allowed"
    return f"allowed are {axis.min} to {axis.max}"


def _rank_hint(value: NDArray[Any], spec: TensorSpec) -> str:
    if value.ndim + 1 == len(spec.shape) and spec.axes[0].size < 0:
        return "Is the batch axis missing? value[numpy.newaxis] adds it."
    return "The first axis is the batch, if the model batches."


def _shape_hint(value: NDArray[Any], spec: TensorSpec) -> str:
    """Name the order of axes that fits, because images come with their channels last."""
    place = 1 if spec.axes[0].name == BATCH else 0
    for source, target in ((-1, place), (place, -1)) if value.ndim > place + 1 else ():
        moved = np.moveaxis(value, source, target).shape
        bounds = map(_bounds, spec.axes)
        if all(low <= size <= high for size, (low, high) in zip(moved, bounds, strict=True)):
            return f"It is {spec}; numpy.moveaxis(value, {source}, {target}) would fit."
    return f"It is {spec}; the shape of the array is {list(value.shape)}."


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
