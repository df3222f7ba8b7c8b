"""Single nodes and tensors of an ONNX file: their names, types, attributes and stored values."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

_NAMES = {"FLOAT": "float32", "DOUBLE": "float64"}
_NUMBERS: dict[str, type[np.number[Any]]] = {
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}


def attributes(node: "onnx.NodeProto") -> dict[str, Any]:
    """Return a node's attributes as Python values; those that refer to a caller's are left out."""
    import onnx

    return {
        item.name: onnx.helper.get_attribute_value(item)
        for item in node.attribute
        if not item.ref_attr_name
    }


def place(node: "onnx.NodeProto") -> str:
    """Name a node as the file does, or by its first output where the file gives no name."""
    return node.name or f"{node.op_type} output '{next(iter(node.output), '')}'"


def type_name(elem_type: int) -> str:
    """Return NumPy's name of a ``TensorProto.DataType``, or ONNX's in small letters."""
    import onnx

    try:
        kind = str(onnx.TensorProto.DataType.Name(elem_type))
    except ValueError:
        return f"unknown type {elem_type}"
    return _NAMES.get(kind, kind.lower())


def optional_input(node: "onnx.NodeProto", index: int) -> str:
    """Return the name of an input, empty where the node leaves it out."""
    return node.input[index] if index < len(node.input) else ""


def subgraphs(node: "onnx.NodeProto") -> Iterator["onnx.GraphProto"]:
    """Yield the bodies of If, Loop and Scan."""
    for item in node.attribute:
        if item.HasField("g"):
            yield item.g
        yield from item.graphs


def external_data_problem(tensor: "onnx.TensorProto", folder: Path) -> tuple[str, str]:
    """Return the side file that a tensor's values are in, and what is wrong with it.

    Both are empty when the values are in the ONNX file; the second is empty when they are there.
    Links are followed and parent folders refused, as onnx-tensorrt does (WeightsContext.cpp,
    "parseExternalWeights").
    """
    if tensor.data_location != tensor.EXTERNAL:
        return "", ""
    location, start, length = _external(tensor)
    inside = os.path.normpath(location)
    if not location or inside.startswith("..") or Path(inside).is_absolute():
        return location, "is outside the folder of the ONNX file"
    return location, _side_file_problem(folder / inside, start + length)


def _side_file_problem(path: Path, needed: int) -> str:
    try:
        if not path.is_file():
            return "is missing"
        size = path.stat().st_size
    except OSError as error:  # a name that is too long for the file system, say
        return f"cannot be read ({error.strerror})"
    if not os.access(path, os.R_OK):
        return "cannot be read (Permission denied)"
    return f"is cut off: {size} bytes, {needed} needed" if size < needed else ""


def _external(tensor: "onnx.TensorProto") -> tuple[str, int, int]:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    numbers = (entries.get(key, "") for key in ("offset", "length"))
    start, length = (int(text) if text.isdigit() else 0 for text in numbers)
    return entries.get("location", ""), start, length


def constant_tensor(node: "onnx.NodeProto") -> Optional["onnx.TensorProto"]:
    """Return what a Constant node holds; None for text, sparse and caller's values."""
    from onnx import numpy_helper

    for name, value in attributes(node).items():
        if name == "value":
            tensor: onnx.TensorProto = value
            return tensor
        if name in _NUMBERS:
            return numpy_helper.from_array(np.asarray(value, _NUMBERS[name]))
    return None


def stored_values(tensor: "onnx.TensorProto", folder: Path) -> NDArray[Any] | None:
    """Return a tensor's values, from its side file if need be; None where they cannot be read."""
    from onnx import numpy_helper

    location, problem = external_data_problem(tensor, folder)
    if problem:
        return None
    try:
        return np.asarray(numpy_helper.to_array(_inlined(tensor, folder) if location else tensor))
    except (TypeError, ValueError):  # fewer bytes than its shape needs: the parser says that
        return None


def _inlined(tensor: "onnx.TensorProto", folder: Path) -> "onnx.TensorProto":
    """Return a tensor with its values in it; ONNX's own reader refuses links, TensorRT's not."""
    import onnx

    location, start, length = _external(tensor)
    with (folder / location).open("rb") as stream:
        stream.seek(start)
        data = stream.read(length or -1)
    return onnx.TensorProto(
        name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, raw_data=data
    )
