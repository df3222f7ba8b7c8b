"""Read an ONNX file as TensorRT's parser would, and say by node name what it would not take.

Two kinds of findings: what TensorRT 10 and 11 refuse, with a remedy that their messages lack, and
what they compile into something else than the file says. Half and float in one operation, missing
tensors, operators of ONNX that TensorRT lacks: those the parser names well, and it runs next.

Types: https://github.com/onnx/onnx-tensorrt, importerUtils.cpp, "convertDtype", and
docs/operators.md ("UINT8 is only supported as network input or output"). Tried with TensorRT-RTX
1.7.1: an input of float64 becomes float32, and one without a shape becomes a scalar.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from clickclean_export.engine.lint_operators import operator_findings
from clickclean_export.engine.lint_parts import (
    attributes,
    external_data_problem,
    place,
    subgraphs,
    type_name,
)
from clickclean_export.engine.lint_qdq import DEQUANTIZE, QUANTIZE, qdq_findings
from clickclean_export.engine.lint_scope import Scope
from clickclean_export.errors import EngineRefused, ExportError
from clickclean_export.findings import Finding

if TYPE_CHECKING:
    import onnx

_TYPES = frozenset(
    {
        *("float32", "float64", "float16", "bfloat16", "float8e4m3fn", "float8e8m0", "float4e2m1"),
        *("bool", "int4", "int8", "uint8", "int32", "int64"),
    }
)
_INSTEAD = {
    "uint16": "int32",
    "int16": "int32",
    "uint32": "int64",
    "uint64": "int64",
    "string": "numbers: what needs text is done before the model",
    "complex64": "two float32 tensors, real and imaginary part",
    "complex128": "two float32 tensors, real and imaginary part",
    "float8e5m2": "float8e4m3fn",
}
_EXPORT_AGAIN = "export it again, or copy it whole"
_TOGETHER = (
    "keep the ONNX file and its side files together, or save it as one file (onnx.save with"
    " save_as_external_data=False)"
)


# Of a file's sizes TensorRT-RTX 1.7.1 keeps the lower 32 bits: 2**32 + 1 is read as 1.
LARGEST_AXIS = 2**31 - 1


class OnnxNotReadError(ExportError):
    """An ONNX file that cannot be opened; one that opens and is no ONNX is a finding."""

    exit_code = 2

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(f"{path} cannot be read ({error.strerror})", hint="give an ONNX file")


@dataclass(frozen=True)
class GraphInput:
    """One input that a caller gives.

    Attributes:
        name: As the file has it.
        dtype: NumPy's name of the type, such as "float32", or ONNX's in small letters where NumPy
            has none, such as "bfloat16".
        dims: Sizes; a free axis is its name, or "?" and its index where it has none.
    """

    name: str
    dtype: str
    dims: tuple[int | str, ...]


@dataclass
class _File:
    """A model that is being read, and which of its functions were read already."""

    model: "onnx.ModelProto"
    folder: Path
    functions: dict[str, "onnx.FunctionProto"]
    seen: set[str] = field(default_factory=set)


def read_inputs(path: Path) -> tuple[GraphInput, ...]:
    """Return the inputs of an ONNX file, initializers not among them, in the file's order.

    Raises:
        EngineRefused: the file is not ONNX (exit 3).
        OnnxNotReadError: it cannot be opened (exit 2).
    """
    model = _model(path)
    if isinstance(model, Finding):
        raise EngineRefused(path.name, (model,))
    return tuple(
        GraphInput(
            item.name,
            type_name(item.type.tensor_type.elem_type),
            tuple(
                int(axis.dim_value)
                if axis.HasField("dim_value") and axis.dim_value >= 0
                else str(axis.dim_param) or f"?{index}"
                for index, axis in enumerate(item.type.tensor_type.shape.dim)
            ),
        )
        for item in _callers_inputs(model.graph)
    )


def lint(path: Path) -> tuple[Finding, ...]:
    """Return what TensorRT would refuse or misread in an ONNX file, in the graph's order.

    Subgraphs (If, Loop, Scan) and functions of the file are read where they are used. Weights in
    side files are looked for, not loaded. Empty when nothing is wrong, or nothing that this check
    knows of: the parser and compiler are the judges.

    Raises:
        OnnxNotReadError: the file cannot be opened (exit 2).
    """
    model = _model(path)
    if isinstance(model, Finding):
        return (model,)
    try:
        return tuple(_faults(model, path.parent))
    except (LookupError, TypeError, ValueError):
        # Reading a file checks neither that texts are text nor that attributes have their types.
        text = "is damaged: it holds what ONNX does not define"
        return (Finding("not-onnx", "", text, _EXPORT_AGAIN),)


def _faults(model: "onnx.ModelProto", folder: Path) -> Iterator[Finding]:
    file = _File(model, folder, {item.name: item for item in model.functions})
    scope = Scope(model.graph, folder, model.opset_import)
    yield from _side_file_faults(file)
    yield from _port_faults(model.graph)
    yield from _initializer_faults(model.graph, scope)
    yield from _body_faults(scope, file)


def _model(path: Path) -> "onnx.ModelProto | Finding":
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except OSError as error:
        raise OnnxNotReadError(path, error) from error
    except DecodeError:
        return Finding("not-onnx", "", "is not ONNX, or cut off", _EXPORT_AGAIN)
    if not model.HasField("graph"):
        text = "is empty" if not model.ByteSize() else "is not ONNX: it holds no graph"
    elif not model.graph.output:
        text = "has a graph without outputs"
    elif not model.opset_import:
        text = "is not ONNX, or cut off: it names no operator set"
    else:
        return model
    return Finding("not-onnx", "", text, _EXPORT_AGAIN)


def _callers_inputs(graph: "onnx.GraphProto") -> list["onnx.ValueInfoProto"]:
    stored = {tensor.name for tensor in graph.initializer}
    return [item for item in graph.input if item.name not in stored]


def _side_file_faults(file: _File) -> Iterator[Finding]:
    """Yield a finding for every side file that is not as it should be, at its first tensor."""
    affected: dict[str, tuple[str, list[str]]] = {}
    for tensor in _tensors(file.model):
        location, problem = external_data_problem(tensor, file.folder)
        if problem:
            affected.setdefault(location, (problem, []))[1].append(tensor.name)
    for location, (problem, names) in affected.items():
        more = f", nor of {len(names) - 1} more tensors" if len(names) > 1 else ""
        text = f"no values of it{more}: the side file '{location}' {problem}"
        yield Finding("external-data-missing", names[0], text, _TOGETHER)


def _tensors(model: "onnx.ModelProto") -> Iterator["onnx.TensorProto"]:
    bodies: list[onnx.GraphProto | onnx.FunctionProto] = [model.graph, *model.functions]
    while bodies:
        body = bodies.pop(0)
        yield from getattr(body, "initializer", ())
        for node in body.node:
            yield from (item.t for item in node.attribute if item.HasField("t"))
            bodies += subgraphs(node)


def _port_faults(graph: "onnx.GraphProto") -> Iterator[Finding]:
    """Yield what is wrong with the inputs and outputs that a caller sees."""
    for item in _callers_inputs(graph):
        kind = item.type.WhichOneof("value")
        if kind != "tensor_type":
            text = f"is a {(kind or 'thing without type').partition('_')[0]}, not a tensor"
            yield Finding("unsupported-type", item.name, text, "take tensors as inputs")
            continue
        yield from _type_faults(item.name, item.type.tensor_type.elem_type)
        if not item.type.tensor_type.HasField("shape"):
            text = "has no shape; TensorRT takes it for a scalar"
            remedy = "export it with its shape, free axes by name"
            yield Finding("input-without-shape", item.name, text, remedy)
        yield from _size_faults(item)
    for item in (*_callers_inputs(graph), *graph.output):
        if type_name(item.type.tensor_type.elem_type) == "float64":
            text = "is float64; TensorRT makes it float32, so a caller's bytes would be misread"
            yield Finding("unsupported-type", item.name, text, "use float32")


def _size_faults(item: "onnx.ValueInfoProto") -> Iterator[Finding]:
    for index, axis in enumerate(item.type.tensor_type.shape.dim):
        if axis.HasField("dim_value") and axis.dim_value == 0:
            text = f"axis {index} is fixed at 0, so a request could carry no values"
            remedy = "export it with the size that it has, or as a free axis by name"
            yield Finding("empty-axis", item.name, text, remedy)
        elif axis.dim_value > LARGEST_AXIS:
            text = (
                f"axis {index} is fixed at {axis.dim_value}; TensorRT takes {LARGEST_AXIS} at most"
            )
            yield Finding("axis-too-large", item.name, text, "export it with a smaller size")


def _initializer_faults(graph: "onnx.GraphProto", scope: Scope) -> Iterator[Finding]:
    for tensor in graph.initializer:
        if not _only_quantised(tensor.name, scope):
            yield from _type_faults(tensor.name, tensor.data_type)
    for sparse in graph.sparse_initializer:
        text = "is sparse, and TensorRT's parser reads no sparse tensors"
        yield Finding("unsupported-type", sparse.values.name, text, "store it dense")


def _only_quantised(name: str, scope: Scope) -> bool:
    """Whether only Q/DQ read a tensor: then they are told, not it."""
    readers = scope.consumers(name)
    return bool(readers) and all(node.op_type in {QUANTIZE, DEQUANTIZE} for node, _ in readers)


def _body_faults(scope: Scope, file: _File) -> Iterator[Finding]:
    """Yield the findings of all nodes of one body and of the bodies inside them."""
    for node in scope.nodes:
        yield from _node_faults(node, scope, file)
        for graph in subgraphs(node):
            inner = Scope(graph, file.folder, scope.opsets, scope)
            yield from _initializer_faults(graph, inner)
            yield from _body_faults(inner, file)
        function = file.functions.get(node.op_type)
        if function is not None and function.name not in file.seen:
            file.seen.add(function.name)
            yield from _body_faults(Scope(function, file.folder, function.opset_import), file)


def _node_faults(node: "onnx.NodeProto", scope: Scope, file: _File) -> Iterator[Finding]:
    if node.op_type in {QUANTIZE, DEQUANTIZE}:
        yield from qdq_findings(node, scope)
    elif node.op_type == "Cast":
        yield from _cast_faults(node, scope)
    elif node.op_type == "Constant":
        yield from _constant_faults(node, scope)
    else:
        yield from operator_findings(node, file.functions)


def _cast_faults(node: "onnx.NodeProto", scope: Scope) -> Iterator[Finding]:
    to = int(attributes(node).get("to", 0))
    if type_name(to) == "uint8" and not scope.outputs.intersection(node.output):
        text = "casts to uint8 inside the network; TensorRT has it for inputs and outputs only"
        yield Finding("unsupported-type", place(node), text, "cast to int32, or not at all")
    elif to:
        yield from _type_faults(place(node), to, "casts to")


def _constant_faults(node: "onnx.NodeProto", scope: Scope) -> Iterator[Finding]:
    values = attributes(node)
    if values.keys() & {"sparse_value", "value_string", "value_strings"}:
        text = "holds text or a sparse tensor, which TensorRT does not have"
        yield Finding("unsupported-type", place(node), text, "use dense numbers")
    elif "value" in values and not any(_only_quantised(name, scope) for name in node.output):
        yield from _type_faults(place(node), values["value"].data_type, "holds")


def _type_faults(where: str, elem_type: int, verb: str = "is") -> Iterator[Finding]:
    kind = type_name(elem_type)
    if kind not in _TYPES:
        text = f"{verb} {kind}, which TensorRT does not have"
        yield Finding("unsupported-type", where, text, f"use {_INSTEAD.get(kind, 'another type')}")
