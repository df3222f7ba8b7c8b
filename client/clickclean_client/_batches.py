"""Batches that one request does not hold: none at all, and more rows than the model takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickclean_client._exceptions import Call, ProtocolError
from clickclean_client._options import PLAIN, InferOptions
from clickclean_client._response import row_size
from clickclean_client._result import InferResult
from clickclean_client._types import ModelMetadata


def empty_result(
    metadata: ModelMetadata, call: Call, options: InferOptions = PLAIN, *, request_id: str = ""
) -> InferResult:
    """The answer to 0 rows of a model that batches, for which nobody has to be asked.

    Each output has the shape [0, ...] with its fixed axes, and 0 for its free ones.

    Raises:
        InvalidRequest: an output that is asked for does not exist, or cannot be classified.
    """
    asked = dict(options.asked(metadata, call))
    outputs: dict[str, NDArray[Any]] = {}
    for spec in metadata.outputs:
        if asked and spec.name not in asked:
            continue
        classes = asked.get(spec.name, 0)
        if classes:
            size = row_size(spec, rows=True)
            array = np.empty((0, classes if size is None else min(size, classes)), np.object_)
        else:
            array = np.empty((0, *(max(0, axis) for axis in spec.shape[1:])), spec.dtype)
        array.flags.writeable = False
        outputs[spec.name] = array
    return InferResult(
        outputs,
        model=call.model,
        version="",
        request_id=request_id,
        rankings={name: () for name, classes in asked.items() if classes},
    )


def parts(arrays: Mapping[str, NDArray[Any]], size: int) -> Iterator[dict[str, NDArray[Any]]]:
    """The inputs in slices of at most `size` rows, views of the arrays; none for 0 rows.

    All arrays have the same number of rows, which `check_inputs` sees to.
    """
    rows = max((len(array) for array in arrays.values()), default=0)
    for begin in range(0, rows, size):
        yield {name: array[begin : begin + size] for name, array in arrays.items()}


def versions(results: Sequence[InferResult]) -> tuple[str, ...]:
    """The versions that answered, in the order of their first answer; one if all are the same."""
    return tuple(dict.fromkeys(result.version for result in results))


def joined(results: Sequence[InferResult], call: Call | None = None) -> InferResult:
    """The answers to the parts of a batch, at least one, as the answer to the whole.

    What is not of a row is that of the first part; where parts give a parameter different
    values, the last one counts. The rows are copied. Ask `versions` first: parts that different
    versions answered, because one was promoted meanwhile, have to be asked for again.

    Raises:
        ProtocolError: the parts differ in version, in outputs, in dtypes or in the shape of a row.
    """
    first = results[0]
    if len(results) == 1:
        return first
    call = Call(model=first.model) if call is None else call
    if len(answered := versions(results)) > 1:
        raise ProtocolError(call, f"parts of a batch come from versions {', '.join(answered)}")
    if any(result.keys() != first.keys() for result in results):
        raise ProtocolError(call, "parts of a batch differ in their outputs")
    outputs: dict[str, NDArray[Any]] = {}
    for name, rows in first.items():
        pieces = [result[name] for result in results]
        kinds = {(piece.dtype, piece.shape[1:]) for piece in pieces}
        if len(kinds) > 1 or not rows.ndim:
            raise ProtocolError(call, f"parts of a batch differ in the output {name!r}")
        outputs[name] = np.concatenate(pieces)
        outputs[name].flags.writeable = False
    whole = InferResult(
        outputs,
        model=first.model,
        version=first.version,
        request_id=first.request_id,
        parameters={key: value for result in results for key, value in result.parameters.items()},
        rankings={
            name: tuple(row for result in results for row in result.classes(name))
            for name in first.classified
        },
    )
    whole.arm = first.arm
    whole.experiment = first.experiment
    whole.prediction_id = first.prediction_id
    return whole
