"""What of one call lies in shared memory: inputs and outputs. No I/O."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clickclean_client._exceptions import Call, InvalidRequest, ProtocolError
from clickclean_client._types import ModelMetadata, TensorSpec
from clickclean_client._wire import Place, WireTensor
from clickclean_client.protocol import NUMPY_DTYPES

if TYPE_CHECKING:
    from clickclean_client._shared_memory import SharedMemory


class Destination(NamedTuple):
    """An array that an output shall be written to."""

    memory: SharedMemory
    array: NDArray[Any]

    @property
    def begin(self) -> int:
        """Its first byte in the memory."""
        return self.memory.offset(self.array)

    @property
    def end(self) -> int:
        """The byte after its last one."""
        return self.begin + self.array.nbytes


class CallMemory:
    """The shared memory of a client, and where the outputs of one call shall be written.

    `memories` may hold closed ones, whose arrays are refused. `outputs` are names with arrays, or
    with None for those that come with the answer.

    Raises:
        InvalidRequest: an output's array does not lie in open memory, cannot be written to, is
            not contiguous, or lies where another one does.
    """

    __slots__ = ("destinations", "memories")

    def __init__(
        self,
        memories: Sequence[SharedMemory],
        outputs: Mapping[str, NDArray[Any] | None],
        call: Call,
    ) -> None:
        self.memories = tuple(memories)
        self.destinations: dict[str, Destination] = {}
        for name, array in outputs.items():
            if array is not None:
                self._add(name, array, call)

    def place_input(self, spec: TensorSpec, array: NDArray[Any], call: Call) -> Place | None:
        """Where an input that was checked lies; None for an ordinary array.

        Raises:
            InvalidRequest: it would have to be copied first, its memory is closed, or an output
                shall be written there.
        """
        what = f"the input {spec.name!r}"
        memory = self._memory_of(array, what, call)
        if memory is None:
            return None
        if spec.triton_dtype == "BYTES":
            raise InvalidRequest(
                call,
                f"{what} is BYTES, which cannot be sent from shared memory",
                hint="Send a copy: array.copy().",
            )
        if not array.flags.c_contiguous or not array.dtype.isnative:
            raise InvalidRequest(
                call,
                f"{what} lies in shared memory, but not in one piece and in order",
                hint="Write it to an array of its own there, or send a copy: array.copy().",
            )
        for name, other in self.destinations.items():
            if np.may_share_memory(array, other.array):
                raise InvalidRequest(
                    call, f"{what} lies where the output {name!r} shall be written", hint=_APART
                )
        return Place(
            tensor=spec.name,
            output=False,
            region=memory.name,
            offset=memory.offset(array),
            size_bytes=array.nbytes,
        )

    def place_outputs(
        self,
        metadata: ModelMetadata,
        rows: int | None,
        classified: Collection[str],
        call: Call,
    ) -> list[Place]:
        """Where the outputs shall be written; `rows` is None for a model that does not batch.

        Raises:
            InvalidRequest: an array cannot take its output.
        """
        specs = {spec.name: spec for spec in metadata.outputs}
        places = []
        for name, found in self.destinations.items():
            if name in classified:
                raise InvalidRequest(
                    call,
                    f"the output {name!r} is classified, and given an array in shared memory",
                    hint=f"Classifications come with the answer: outputs={{{name!r}: None}}.",
                )
            _check_destination(found.array, specs[name], rows, call)
            places.append(
                Place(
                    tensor=name,
                    output=True,
                    region=found.memory.name,
                    offset=found.begin,
                    size_bytes=found.array.nbytes,
                )
            )
        return places

    def received(self, tensor: WireTensor, data: Any, call: Call) -> NDArray[Any]:
        """A read-only view of what the server wrote; dtype and axes of the tensor were checked.

        Raises:
            ProtocolError: it says that it wrote more than there is room, or sent it after all.
        """
        array = self.destinations[tensor.name].array
        if len(data if isinstance(data, memoryview) else data.SerializeToString()):
            raise ProtocolError(
                call,
                f"the output {tensor.name!r} came with the answer, and not in shared memory",
                hint="Does this server have Triton's shared memory extension?",
            )
        dtype = NUMPY_DTYPES[tensor.datatype]
        size_bytes = math.prod(tensor.shape) * dtype.itemsize
        if size_bytes > array.nbytes:
            raise ProtocolError(
                call,
                f"the output {tensor.name!r} with its shape {list(tensor.shape)} takes "
                f"{size_bytes} bytes, its array has {array.nbytes}",
            )
        # A view as bytes first, because numpy's buffers do not know every dtype.
        plain = array.reshape(-1).view(np.uint8)[:size_bytes]
        if dtype.kind == "b":
            # To numpy a bool of another byte than 0 and 1 is neither equal to True nor to False.
            np.minimum(plain, 1, out=plain)
        view: NDArray[Any] = plain.view(dtype).reshape(tensor.shape)
        view.flags.writeable = False
        return view

    def refuse_outputs(self, together_with: str, call: Call) -> None:
        """Refuse arrays for outputs where there may be several answers.

        Raises:
            InvalidRequest: there are such arrays.
        """
        if self.destinations:
            raise InvalidRequest(
                call,
                f"outputs are given arrays in shared memory together with {together_with}",
                hint="Several answers may come then, and each would be written there.",
            )

    def unsettle(self, address: str) -> None:
        """The call was given up, but the server at the address may still write its outputs."""
        for found in self.destinations.values():
            found.memory.unsettle(address, found.begin, found.end)

    def _add(self, name: str, array: Any, call: Call) -> None:
        what = f"the array for the output {name!r}"
        if not isinstance(array, np.ndarray):
            raise InvalidRequest(
                call, f"{what} is a {type(array).__name__}, not a numpy array", hint=_TAKE
            )
        memory = self._memory_of(array, what, call)
        if memory is None:
            raise InvalidRequest(call, f"{what} does not lie in shared memory", hint=_TAKE)
        if not array.flags.c_contiguous or not array.dtype.isnative:
            raise InvalidRequest(call, f"{what} does not lie in one piece and in order", hint=_TAKE)
        if not array.flags.writeable:
            raise InvalidRequest(call, f"{what} is read-only", hint=_TAKE)
        for other, known in self.destinations.items():
            if np.may_share_memory(array, known.array):
                raise InvalidRequest(
                    call, f"{what} lies where the output {other!r} shall be written", hint=_APART
                )
        self.destinations[name] = Destination(memory, array)

    def _memory_of(self, array: NDArray[Any], what: str, call: Call) -> SharedMemory | None:
        for memory in self.memories:
            if memory.holds(array):
                if memory.closed:
                    raise InvalidRequest(
                        call,
                        f"{what} lies in shared memory that is closed",
                        hint="Make the call inside of `with client.shared_memory(...)`, or send a "
                        "copy: array.copy().",
                    )
                return memory
        return None


_TAKE = "memory.empty(shape, dtype) gives one, where memory is what client.shared_memory() gave."
_APART = "Each needs an array of its own."


def _check_destination(array: NDArray[Any], spec: TensorSpec, rows: int | None, call: Call) -> None:
    what = f"the array for the output {spec.name!r}"
    if spec.triton_dtype == "BYTES":
        raise InvalidRequest(
            call,
            f"the output {spec.name!r} is BYTES, which cannot be written to shared memory",
            hint=f"Let it come with the answer: outputs={{{spec.name!r}: None}}.",
        )
    bits = spec.triton_dtype == "BF16" and array.dtype.name == "bfloat16"
    if array.dtype != spec.dtype and not bits:
        raise InvalidRequest(call, f"{what} is {array.dtype}", hint=f"The output is {spec}.")
    fits = len(array.shape) == len(spec.shape) and all(
        want in (-1, got) for got, want in zip(array.shape, spec.shape, strict=True)
    )
    if not fits:
        raise InvalidRequest(
            call, f"{what} has the shape {list(array.shape)}", hint=f"The output is {spec}."
        )
    if rows is not None and array.shape[0] < rows:
        raise InvalidRequest(
            call,
            f"{what} has {array.shape[0]} rows for {rows}",
            hint="It may be larger than the answer, but not smaller.",
        )
