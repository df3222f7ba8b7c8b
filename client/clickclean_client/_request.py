"""Write a ModelInferRequest for inputs that were checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickclean_client._bytes_tensor import encode_bytes_tensor
from clickclean_client._exceptions import Call, InvalidRequest
from clickclean_client._options import PLAIN, InferOptions
from clickclean_client._types import ModelMetadata, TensorSpec
from clickclean_client._wire import (
    Place,
    id_field,
    raw_input_prefix,
    request_header,
    timeout_field,
)
from clickclean_client.protocol import MAX_MESSAGE_BYTES

_LONGEST_TIMEOUT_BYTES = len(timeout_field(2**63 - 1))


# What calls with the same header share beside name and version: inputs, outputs, parameters, and
# what of them lies in shared memory.
_Kind = tuple[
    tuple[tuple[str, str, tuple[int, ...]], ...],
    tuple[tuple[str, int], ...],
    bytes,
    tuple[Place, ...],
]


class InferMessage:
    """One request, to be written once for every attempt.

    Until the first `encode` it holds the caller's arrays, which must not change so far. From then
    on it holds bytes of its own, and neither a repetition nor a copy for another model can differ
    from what was sent first; only what lies in shared memory stays there. `whole` are all tensors,
    if some do. Not for use by two threads at once.
    """

    __slots__ = ("_header", "_id", "_kind", "_tensors", "_whole")

    def __init__(
        self,
        header: bytes,
        kind: _Kind,
        own_id: bytes,
        tensors: Iterable[Any],
        whole: Iterable[Any] = (),
    ) -> None:
        self._header = header
        self._kind = kind
        self._id = own_id
        self._tensors = tuple(tensors)
        self._whole = tuple(whole)

    def encode(self, timeout_us: int) -> bytes:
        """The serialised ModelInferRequest; tensors are copied once, into what is returned.

        `timeout_us` bounds the wait in the queue of a model whose policy sets
        `allow_timeout_override` (`ModelQueuePolicy` in model_config.proto); below 1 counts as 1.
        """
        timeout = timeout_field(timeout_us)
        data = b"".join((self._header, self._id, timeout, *self._tensors))
        begins = len(self._header) + len(self._id) + len(timeout)
        self._tensors = (memoryview(data)[begins:],)
        return data

    def to(self, name: str, number: str) -> InferMessage:
        """The same inputs and options for another name and version, which may be sent later.

        Tensors are shared, but those in shared memory, which may change, are copied.
        """
        kind, tensors = self._kind, self._tensors
        if self._whole:
            kind, tensors = (*kind[:3], ()), (b"".join(self._whole),)
        return InferMessage(request_header(name, number, *kind), kind, self._id, tensors)


def infer_message(
    inputs: Mapping[str, NDArray[Any]],
    metadata: ModelMetadata,
    call: Call,
    *,
    name: str,
    number: str,
    request_id: str = "",
    options: InferOptions = PLAIN,
) -> InferMessage:
    """The request to a name and version, for inputs that `check_inputs` has passed.

    Nothing is copied yet but BYTES, arrays that are not C-contiguous, and big-endian ones.

    Raises:
        InvalidRequest: an element of a BYTES input is neither bytes nor str, an output that is
            asked for does not exist, the message is larger than a message may be, or what lies
            in shared memory cannot be used from there.
    """
    announced = []
    tensors: list[Any] = []
    whole: list[Any] = []
    places: list[Place] = []
    memory = options.memory
    size_bytes = _LONGEST_TIMEOUT_BYTES
    for spec in metadata.inputs:
        if spec.name not in inputs:
            continue
        array = inputs[spec.name]
        announced.append((spec.name, spec.triton_dtype, array.shape))
        if memory is not None:
            place = memory.place_input(spec, array, call)
            if place is not None:
                places.append(place)
                # As bytes, because numpy's buffers do not know bfloat16 of ml_dtypes.
                plain_bytes = array.reshape(-1).view(np.uint8)
                whole += (raw_input_prefix(array.nbytes), plain_bytes)
                continue
        plain = array.dtype == spec.dtype and array.flags.c_contiguous
        if not plain or spec.triton_dtype == "BYTES":
            array = _contiguous(array, spec, call)
        prefix = raw_input_prefix(array.nbytes)
        tensors += (prefix, array)
        if memory is not None:
            whole += (prefix, array)
        size_bytes += len(prefix) + array.nbytes
    outputs = options.asked(metadata, call)
    if memory is not None and memory.destinations:
        rows = announced[0][2][0] if metadata.max_batch and announced else None
        places += memory.place_outputs(metadata, rows, dict(options.classify), call)
    kind = tuple(announced), outputs, options.wire, tuple(places)
    header, own_id = request_header(name, number, *kind), id_field(request_id)
    if size_bytes + len(header) + len(own_id) > MAX_MESSAGE_BYTES:
        raise InvalidRequest(
            call, "the inputs are larger than one message may be", hint="Send smaller batches."
        )
    return InferMessage(header, kind, own_id, tensors, whole if places else ())


def _contiguous(array: NDArray[Any], spec: TensorSpec, call: Call) -> NDArray[Any]:
    """The bytes as they travel: little-endian, in C order, BYTES with their lengths."""
    if spec.triton_dtype == "BYTES":
        try:
            return np.frombuffer(encode_bytes_tensor(array), np.uint8)
        except (TypeError, UnicodeEncodeError) as exc:
            raise InvalidRequest(
                call,
                f"the input {spec.name!r} holds an element that cannot be sent ({exc})",
                hint="Elements of BYTES inputs are bytes, or str (sent as UTF-8).",
            ) from exc
    # numpy's buffers do not know bfloat16 of ml_dtypes, but they know its bits.
    if array.dtype.name == "bfloat16":
        array = np.ascontiguousarray(array).view(np.uint16)
    return np.ascontiguousarray(array, dtype=spec.dtype)
