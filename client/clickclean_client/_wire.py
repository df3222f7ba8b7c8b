"""Protobuf's wire format, as far as ModelInfer needs it: the raw tensors are never parsed.

A serialised message is a sequence of fields, and two sequences put one after the other are the
merge of the two messages (https://protobuf.dev/programming-guides/encoding/#last-one-wins). So a
request is joined from a header that protobuf itself wrote once for all calls of its kind, and the
few fields that differ from call to call. An answer is cut into its raw tensors, which stay where
they are, and the rest, which protobuf parses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from clickclean_client._exceptions import Call, ProtocolError
from clickclean_client.protocol import service_pb2

HEADERS_KEPT: Final = 256
"""Kinds of calls, and kinds of answers, whose header is remembered."""

Parameter = str | int | bool | float


class Place(NamedTuple):
    """Where an input or output lies that does not travel: bytes of a region of shared memory."""

    tensor: str
    output: bool
    region: str
    offset: int
    size_bytes: int


# (number << 3) | wire type; the numbers are those of grpc_service.proto:
# https://github.com/triton-inference-server/common/blob/main/protobuf/grpc_service.proto
_LENGTH_DELIMITED: Final = 2
_ID: Final = 3 << 3 | _LENGTH_DELIMITED  # of ModelInferRequest and ModelInferResponse
_REQUEST_PARAMETERS: Final = 4 << 3 | _LENGTH_DELIMITED
_RAW_INPUT: Final = 7 << 3 | _LENGTH_DELIMITED
_RAW_OUTPUT: Final = 6 << 3 | _LENGTH_DELIMITED
_INT64_PARAM: Final = 2 << 3  # of InferParameter, a varint

# A map entry is a message of the key (field 1) and the value (field 2).
_TIMEOUT_KEY: Final = b"\x0a\x07timeout\x12"

# Headers of answers are of the model's choice, so large ones are not remembered.
_LARGEST_KEPT_BYTES: Final = 2048
_LONGEST_VARINT: Final = 5  # of a tag, and of a length: both have 32 bits
# No answer of a model comes near; 2 GiB of the smallest fields would keep Python busy for minutes.
_MOST_FIELDS: Final = 65_536
_MOST_AXES: Final = 64  # of an array of NumPy 2; NumPy 1 has 32


def varint(value: int) -> bytes:
    """A number from 0 to 2**64 - 1 in groups of 7 bits, the lowest first."""
    if value < 0:
        raise ValueError(f"{value} is below 0")
    groups = []
    while value > 0x7F:  # noqa: PLR2004 - the 7 bits of a group
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


@lru_cache(maxsize=HEADERS_KEPT)
def request_header(  # noqa: PLR0917 - the cache finds positions faster
    name: str,
    number: str,
    inputs: tuple[tuple[str, str, tuple[int, ...]], ...],
    outputs: tuple[tuple[str, int], ...],
    parameters: bytes,
    places: tuple[Place, ...] = (),
) -> bytes:
    """All of a ModelInferRequest but its id, its timeout and its tensors.

    `inputs` are names, Triton's dtype names and shapes. `outputs` are names and how many classes
    of each are asked for, 0 for the output itself; without any, the server answers all of them.
    `parameters` is a serialised ModelInferRequest that has nothing but parameters. `places` are
    those of the tensors that lie in shared memory:
    https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_shared_memory.md
    """
    request = service_pb2.ModelInferRequest(model_name=name, model_version=number)
    for tensor, datatype, shape in inputs:
        request.inputs.add(name=tensor, datatype=datatype, shape=shape)
    for tensor, classes in outputs:
        output = request.outputs.add(name=tensor)
        if classes:
            output.parameters["classification"].int64_param = classes
    for place in places:
        tensors = request.outputs if place.output else request.inputs
        found = next(each for each in tensors if each.name == place.tensor)
        found.parameters["shared_memory_region"].string_param = place.region
        found.parameters["shared_memory_offset"].int64_param = place.offset
        found.parameters["shared_memory_byte_size"].int64_param = place.size_bytes
    header: bytes = request.SerializeToString()
    return header + parameters


def id_field(request_id: str) -> bytes:
    """The field `id` of a request; nothing for the empty one."""
    if not request_id:
        return b""
    data = request_id.encode()
    return b"%c%b%b" % (_ID, varint(len(data)), data)


@lru_cache(maxsize=4 * HEADERS_KEPT)
def timeout_field(timeout_us: int) -> bytes:
    """The entry `timeout` of a request's parameters, at least 1: 0 would mean no timeout."""
    number = varint(max(1, timeout_us))
    # Each length is below 128, and so one byte.
    value = b"%c%c%b" % (len(number) + 1, _INT64_PARAM, number)
    return b"%c%c%b%b" % (_REQUEST_PARAMETERS, len(_TIMEOUT_KEY) + len(value), _TIMEOUT_KEY, value)


@lru_cache(maxsize=HEADERS_KEPT)
def raw_input_prefix(size_bytes: int) -> bytes:
    """What stands before the bytes of a tensor: the tag and the length."""
    return b"%c%b" % (_RAW_INPUT, varint(size_bytes))


class WireTensor(NamedTuple):
    """One output as it is announced. `contents` is an InferTensorContents, or None."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    contents: Any


_Header = tuple[str, str, Mapping[str, Parameter], tuple[WireTensor, ...], bool]


class WireResponse(NamedTuple):
    """A ModelInferResponse. `raw` are views of the received bytes, in the order of `outputs`.

    `typed` is True if an output has contents. Parameters without a value are left out.
    """

    model_name: str
    model_version: str
    parameters: Mapping[str, Parameter]
    outputs: tuple[WireTensor, ...]
    typed: bool
    request_id: str
    raw: Sequence[memoryview]


def read_like_before(data: bytes) -> WireResponse | None:
    """The parts of an answer that differs from an earlier one in the tensor at its end alone."""
    like = _like.get(len(data))
    if like is None or not data.startswith(like[0]):
        return None
    return WireResponse(*like[1], "", (memoryview(data)[len(like[0]) :],))


def read_response(data: bytes, call: Call) -> WireResponse:
    """Cut a serialised ModelInferResponse into its parts without copying the tensors.

    Unknown fields are skipped. What protobuf would read past, but no server of this protocol
    writes (groups, a known field of another wire type), is refused.

    Raises:
        ProtocolError: the bytes are no such message, or are cut off.
    """
    try:
        return read_like_before(data) or _read_response(data)
    except IndexError:
        raise ProtocolError(call, "it ends within a field") from None
    except (_Malformed, DecodeError, UnicodeDecodeError) as exc:
        problem = str(exc) if isinstance(exc, _Malformed) else "it is no ModelInferResponse"
        raise ProtocolError(call, problem) from exc


# By length: what stands before the one tensor of an answer, and what it says.
_like: dict[int, tuple[bytes, _Header]] = {}


class _Malformed(Exception):  # noqa: N818 - becomes a ProtocolError
    """Bytes that are no message."""


def _read_response(data: bytes) -> WireResponse:  # noqa: PLR0912 - each turn of one loop
    view = memoryview(data)
    raw: list[memoryview] = []
    rest: list[bytes] = []
    request_id = ""
    rest_begins = position = begins = 0
    for _ in range(_MOST_FIELDS + 1):
        if position >= len(data):
            break
        field_begins = position
        tag = data[position]
        position += 1
        if tag > 0x7F:  # noqa: PLR2004 - more bytes follow
            tag, position = _long_varint(data, field_begins)
        wire_type = tag & 7
        if wire_type != _LENGTH_DELIMITED:
            position = _after_number(data, position, tag)
            continue
        size = data[position]
        position += 1
        if size > 0x7F:  # noqa: PLR2004
            size, position = _long_varint(data, position - 1)
        begins, position = position, position + size
        if position > len(data):
            raise _Malformed(f"a field of {size} bytes begins {len(data) - begins} before its end")
        if tag == _RAW_OUTPUT:
            raw.append(view[begins:position])
        elif tag == _ID:
            # Calls differ in it, so it is taken out of what is remembered. The last one counts.
            request_id = data[begins:position].decode()
        else:
            continue
        if rest_begins < field_begins:
            rest.append(data[rest_begins:field_begins])
        rest_begins = position
    else:
        raise _Malformed(f"it has more than {_MOST_FIELDS} fields")
    if rest_begins < position:
        rest.append(data[rest_begins:position])
    joined = rest[0] if len(rest) == 1 else b"".join(rest)
    small = len(joined) <= _LARGEST_KEPT_BYTES
    header = _header(joined) if small else _header.__wrapped__(joined)
    if small and not request_id and len(raw) == 1 and raw[0].nbytes == len(data) - begins:
        _remember(data, begins, header)
    return WireResponse(*header, request_id, raw)


def _remember(data: bytes, begins: int, header: _Header) -> None:
    """The next answer with this length and beginning says the same, but for the tensor at the end.

    Threads may add at once; what one of them loses is read again.
    """
    if len(_like) >= HEADERS_KEPT:
        _like.clear()
    _like[len(data)] = data[:begins], header


def _long_varint(data: bytes, position: int) -> tuple[int, int]:
    """A tag or length of more than one byte, and the position behind it."""
    value = 0
    for index in range(_LONGEST_VARINT):
        byte = data[position + index]
        value |= (byte & 0x7F) << 7 * index
        if byte <= 0x7F:  # noqa: PLR2004
            if value >> 32:
                break
            return value, position + index + 1
    raise _Malformed("a tag or a length has more than 32 bits")


def _after_number(data: bytes, position: int, tag: int) -> int:
    """The position behind a field that is a number, which this message does not have."""
    number, wire_type = tag >> 3, tag & 7
    if number in (0, *range(1, 7)):
        raise _Malformed(f"its field {number} has the wire type {wire_type}")
    if wire_type == 0:
        for end in range(position, position + 10):
            if data[end] <= 0x7F:  # noqa: PLR2004
                return end + 1
        raise _Malformed("a number has more than 64 bits")
    if wire_type in (1, 5):
        position += 8 if wire_type == 1 else 4
        if position > len(data):
            raise _Malformed("it ends within a field")
        return position
    raise _Malformed(f"its field {number} has the wire type {wire_type}")


@lru_cache(maxsize=HEADERS_KEPT)
def _header(data: bytes) -> _Header:
    """All of an answer but its id and its raw tensors; or DecodeError or _Malformed."""
    message = service_pb2.ModelInferResponse.FromString(data)
    for tensor in message.outputs:
        if len(tensor.shape) > _MOST_AXES:
            raise _Malformed(f"its output {tensor.name!r} has {len(tensor.shape)} axes")
    parameters = {}
    for name, parameter in message.parameters.items():
        kind = parameter.WhichOneof("parameter_choice")
        if kind is not None:
            parameters[name] = getattr(parameter, kind)
    outputs = tuple(
        WireTensor(
            tensor.name,
            tensor.datatype,
            tuple(tensor.shape),
            tensor.contents if tensor.HasField("contents") else None,
        )
        for tensor in message.outputs
    )
    typed = any(tensor.contents is not None for tensor in outputs)
    # Answers share it, so nobody may write to it.
    shared = MappingProxyType(parameters)
    return message.model_name, message.model_version, shared, outputs, typed
