"""What an ONNX file says of itself, read without its weights."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import onnx

_TYPES: Final = {
    "FLOAT": "TYPE_FP32",
    "FLOAT16": "TYPE_FP16",
    "DOUBLE": "TYPE_FP64",
    "BFLOAT16": "TYPE_BF16",
    "STRING": "TYPE_STRING",
}


class OnnxUnreadable(Exception):  # noqa: N818 - a fact for a finding, never shown as an error
    """The file is no ONNX model."""


@dataclass(frozen=True)
class OnnxTensor:
    """An input or output.

    Attributes:
        name: In the graph.
        data_type: As a Triton config writes it, TYPE_FP32; "" if it is no tensor.
        kind: "tensor", "sequence", "map" and so on.
        dims: Sizes with the batch axis, -1 for a free axis; None if the file does not say.
    """

    name: str
    data_type: str
    kind: str
    dims: tuple[int, ...] | None


@dataclass(frozen=True)
class ExternalData:
    """A file that weights lie in: its path as written, and the bytes it must have at least."""

    location: str
    size_bytes: int


@dataclass(frozen=True)
class OnnxModel:
    """The outside of a model.

    Attributes:
        ir_version: Of the format.
        inputs: Those that must be fed.
        defaults: Names of inputs that have a value already and may be fed.
        outputs: All of them.
        external: Files of weights.
    """

    ir_version: int
    inputs: tuple[OnnxTensor, ...]
    defaults: frozenset[str]
    outputs: tuple[OnnxTensor, ...]
    external: tuple[ExternalData, ...]


def read_onnx(path: Path) -> OnnxModel:
    """Read a model's outside.

    Raises:
        OnnxUnreadable: the bytes are no ONNX model.
        ModuleNotFoundError: the library `onnx` is not installed.
    """
    stat = path.stat()
    return _read(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=4)
def _read(path: Path, _size: int, _modified: int) -> OnnxModel:
    # Cached: the configs of all fleets look at the same file.
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load(str(path), load_external_data=False)
    except DecodeError as error:
        raise OnnxUnreadable from error
    if not model.HasField("graph") or not model.ir_version:
        raise OnnxUnreadable
    graph = model.graph
    defaults = frozenset(tensor.name for tensor in graph.initializer)
    return OnnxModel(
        model.ir_version,
        tuple(_tensor(value) for value in graph.input if value.name not in defaults),
        defaults & {value.name for value in graph.input},
        tuple(_tensor(value) for value in graph.output),
        _external(graph),
    )


def _tensor(value: "onnx.ValueInfoProto") -> OnnxTensor:
    import onnx

    kind = (value.type.WhichOneof("value") or "").removesuffix("_type")
    if kind != "tensor":
        return OnnxTensor(value.name, "", kind, None)
    tensor = value.type.tensor_type
    name = onnx.TensorProto.DataType.Name(tensor.elem_type)
    dims = None
    if tensor.HasField("shape"):
        dims = tuple(
            axis.dim_value if axis.HasField("dim_value") and axis.dim_value > 0 else -1
            for axis in tensor.shape.dim
        )
    return OnnxTensor(value.name, _TYPES.get(name, f"TYPE_{name}"), kind, dims)


def _external(graph: "onnx.GraphProto") -> tuple[ExternalData, ...]:
    needed: dict[str, int] = {}
    for tensor in graph.initializer:
        if tensor.data_location == tensor.EXTERNAL:
            entries = {entry.key: entry.value for entry in tensor.external_data}
            location = entries.get("location", "")
            end = int(entries.get("offset") or 0) + int(entries.get("length") or 0)
            needed[location] = max(needed.get(location, 0), end)
    return tuple(ExternalData(location, size) for location, size in sorted(needed.items()))
