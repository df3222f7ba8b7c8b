"""What TensorRT refuses in explicit Q/DQ, and what it takes for something else without a word.

The rules follow TensorRT's parser: https://github.com/onnx/onnx-tensorrt, onnxOpImporters.cpp,
"QuantDequantLinearHelper" (types, zero points, signs and number of scales), and the operators'
page, https://docs.nvidia.com/deeplearning/tensorrt/latest/_static/operators/Quantize.html (scales
are build-time constants, zero points are 0). What the parser lets through, tried with TensorRT-RTX
1.7.1: a uint8 zero point of 0 and a missing one become int8; an infinite scale, a negative scale
that is computed, and scales per channel of an activation or along the wrong axis of weights
compile.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clickclean_export.engine.lint_parts import attributes, optional_input, place, type_name
from clickclean_export.engine.lint_scope import Scope
from clickclean_export.findings import Finding

if TYPE_CHECKING:
    import onnx

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_ACCEPTED = frozenset({"int8", "int4", "float8e4m3fn", "float4e2m1"})
_OPSET_WITH_AXIS = 13
_AGAIN = (
    " as clickclean publish does it with ModelOpt (modelopt.onnx.quantization.quantize,"
    " quantize_mode='int8'); ONNX Runtime's quantize_static needs activation_type and weight_type"
    " QuantType.QInt8 and extra_options {'ActivationSymmetric': True, 'WeightSymmetric': True,"
    " 'QuantizeBias': False}"
)
_SIGNED = f"quantise to signed INT8,{_AGAIN}"
_SYMMETRIC = f"quantise symmetrically,{_AGAIN}"
_FLOAT_BIAS = f"keep the bias in float32,{_AGAIN}"
_CALIBRATE = (
    "calibrate again with real data that reaches this tensor, or leave its layer in float"
    " (ModelOpt: nodes_to_exclude)"
)
_STATIC = (
    "store it in the file: quantise statically (ModelOpt with calibration data), and fold constants"
)
_PER_TENSOR = "quantise activations with one scale per tensor, as ModelOpt does"
_PER_CHANNEL = (
    "one scale per output channel, on that axis, or one for all the weights: quantise again with"
    " ModelOpt"
)


def qdq_findings(node: "onnx.NodeProto", scope: Scope) -> Iterator[Finding]:
    """Yield what keeps one QuantizeLinear or DequantizeLinear from being what the file says."""
    scale = optional_input(node, 1)
    if not (scale and node.output):
        return  # not what ONNX defines; the parser says so
    maker = scope.producer(scale)
    if maker is not None and maker.op_type == "DynamicQuantizeLinear":
        return  # that node is refused, and this one goes with it
    fault = _type_fault(node, scope)
    if fault is not None:
        yield fault
        return
    yield from _zero_point_faults(node, scope)
    yield from _scale_faults(node, scope)
    yield from _axis_faults(node, scope)


def _type_fault(node: "onnx.NodeProto", scope: Scope) -> Finding | None:
    """Return what is wrong with the type that a node quantises to or from."""
    if node.op_type == QUANTIZE:
        told = [scope.quantized_type(node)]
    else:
        told = [scope.elem_type(optional_input(node, 2))]
        # A type that another node gave is that node's fault.
        if scope.maker(node.input[0]) != QUANTIZE:
            told.append(scope.elem_type(node.input[0]))
    kinds = [type_name(elem_type) for elem_type in told if elem_type]
    kind = next((kind for kind in kinds if kind not in _ACCEPTED), "")
    if not kind:
        return None
    if kind == "int32" and node.op_type == DEQUANTIZE:
        return Finding(
            "int32-bias",
            place(node),
            "dequantises an int32 tensor, a quantised bias; TensorRT dequantises 8 and 4 bits only",
            _FLOAT_BIAS,
        )
    if kind.startswith("uint"):
        return Finding("unsigned-qdq", place(node), _unsigned(node, kind, scope), _SIGNED)
    return Finding(
        "unsupported-type",
        place(node),
        f"quantises with {kind}; TensorRT has int8, int4, float8e4m3fn and float4e2m1",
        _SIGNED,
    )


def _unsigned(node: "onnx.NodeProto", kind: str, scope: Scope) -> str:
    zero_point = optional_input(node, 2)
    if type_name(scope.elem_type(zero_point)) == kind:
        values = scope.values(zero_point)
        if values is not None and not _floats(values).any():
            return f"its zero point is a {kind} 0; TensorRT takes what it quantises for int8"
        return f"its zero point is {kind}; TensorRT quantises to signed integers around 0 only"
    if node.op_type == DEQUANTIZE or "output_dtype" in attributes(node):
        return f"it quantises with {kind}; TensorRT quantises to signed integers only"
    return "it has no zero point, which means uint8 in ONNX; TensorRT takes it for int8"


def _zero_point_faults(node: "onnx.NodeProto", scope: Scope) -> Iterator[Finding]:
    name = optional_input(node, 2)
    if not name:
        return
    if scope.origin(name) == "run-time":
        yield Finding(
            "zero-point-not-constant",
            place(node),
            f"its zero point '{name}' is computed at run time; TensorRT wants 0, in the file",
            _STATIC,
        )
    values, scales = scope.values(name), scope.values(node.input[1])
    if values is None:
        return
    if _floats(values).any():
        first = _floats(values).ravel()[np.flatnonzero(_floats(values))[0]]
        yield Finding(
            "asymmetric-qdq",
            place(node),
            f"its zero point is {first:g}; TensorRT quantises symmetrically, zero point 0",
            _SYMMETRIC,
        )
    if scales is not None and values.size != scales.size:
        yield Finding(
            "zero-point-shape",
            place(node),
            f"it has {scales.size} scales and {values.size} zero points; TensorRT wants as many",
            "give it a zero point of zeros with the shape of the scale",
        )


def _scale_faults(node: "onnx.NodeProto", scope: Scope) -> Iterator[Finding]:
    name = optional_input(node, 1)
    if scope.origin(name) == "run-time":
        if _is_int8(node, scope):
            text = f"its scale '{name}' is computed at run time; TensorRT's INT8 is static"
            yield Finding("scale-not-constant", place(node), text, _STATIC)
        return
    values = scope.values(name)
    if values is None or values.dtype.kind in "biu":
        return
    flat = _floats(values).ravel()
    with np.errstate(all="ignore"):
        # TensorRT multiplies by the reciprocal when it quantises.
        infinite = ~np.isfinite(flat) | ((flat != 0) & ~np.isfinite(1 / flat))
    if infinite.any():
        text = f"{_which(infinite, flat)}; scales and their reciprocals must be finite"
        yield Finding("scale-not-finite", place(node), text, _CALIBRATE)
    small = np.isfinite(flat) & (flat <= 0)
    if small.any():
        text = f"{_which(small, flat)}; TensorRT wants scales above 0"
        yield Finding("scale-not-positive", place(node), text, _CALIBRATE)


def _axis_faults(node: "onnx.NodeProto", scope: Scope) -> Iterator[Finding]:
    scales = scope.dims(node.input[1])
    if scales is None or len(scales) != 1 or scales[0] == 1:
        return  # one scale for all, or blocks, whose sizes the parser compares with a clear message
    count, data = scales[0], node.input[0]
    if scope.origin(data) == "run-time":
        if _is_int8(node, scope):
            text = f"{count} scales for one activation; TensorRT wants one per tensor in INT8"
            yield Finding("channel-axis", place(node), text, _PER_TENSOR)
        return
    sizes = scope.dims(data)
    if sizes is None:
        return
    # Before opset 13 there was no axis; the parser then takes the first.
    axis = int(attributes(node).get("axis", 1 if scope.opset >= _OPSET_WITH_AXIS else 0))
    if not -len(sizes) <= axis < len(sizes):
        text = f"its axis {axis} is not one of the {len(sizes)} of '{data}'"
        yield Finding("channel-axis", place(node), text, _PER_CHANNEL)
        return
    axis %= len(sizes)
    if sizes[axis] != count:
        text = f"{count} scales for axis {axis} of '{data}', which has {sizes[axis]}"
        yield Finding("channel-axis", place(node), text, _PER_CHANNEL)
        return
    if _is_int8(node, scope):
        yield from _wrong_way(node, scope, axis, len(sizes))


def _wrong_way(node: "onnx.NodeProto", scope: Scope, axis: int, rank: int) -> Iterator[Finding]:
    """Yield a finding where weights have a scale per input channel: TensorRT multiplies in float.

    The sum over input channels cannot be taken in INT8 when each has a scale of its own.
    """
    for reader, index in scope.consumers(node.output[0]):
        if index != 1:
            continue
        wanted = _output_axis(reader, rank)
        if wanted is not None and wanted != axis:
            text = (
                f"its scales run along axis {axis} of the weights of {reader.op_type}"
                f" '{place(reader)}', whose output channels are axis {wanted}"
            )
            yield Finding("channel-axis", place(node), text, _PER_CHANNEL)
            return


def _output_axis(reader: "onnx.NodeProto", rank: int) -> int | None:
    match reader.op_type:
        case "Conv":
            return 0
        case "ConvTranspose":
            return 1
        case "Gemm":
            return 0 if attributes(reader).get("transB", 0) else 1
        case "MatMul":
            return rank - 1
    return None


def _is_int8(node: "onnx.NodeProto", scope: Scope) -> bool:
    if node.op_type == QUANTIZE:
        elem_type = scope.quantized_type(node)
    else:
        elem_type = scope.elem_type(node.input[0]) or scope.elem_type(optional_input(node, 2))
    return not elem_type or type_name(elem_type) == "int8"


def _which(faulty: NDArray[np.bool_], flat: NDArray[np.float32]) -> str:
    first = int(np.flatnonzero(faulty)[0])
    if flat.size == 1:
        return f"its scale is {flat[0]:g}"
    return f"{int(faulty.sum())} of its {flat.size} scales, the first at {first}: {flat[first]:g}"


def _floats(values: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(all="ignore"):
        return values.astype(np.float32)
