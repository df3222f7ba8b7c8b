"""Operators that TensorRT does not have: those that compute on integers, and those of others.

TensorRT's parser goes by an operator's name alone and does not read its domain: first its own
operators, then functions in the file, then plugins (https://github.com/onnx/onnx-tensorrt,
ModelImporter.cpp, "parseNode"). So a foreign operator with the name of one of ONNX compiles as that
one. ONNX's own operators that TensorRT lacks (docs/operators.md there) are left to the parser.
"""

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from clickclean_export.engine.lint_parts import attributes, place
from clickclean_export.findings import Finding

if TYPE_CHECKING:
    import onnx

_INTEGER_OPERATORS = frozenset(
    {
        "ConvInteger",
        "DynamicQuantizeLSTM",
        "DynamicQuantizeLinear",
        "DynamicQuantizeMatMul",
        "MatMulBnb4",
        "MatMulInteger",
        "MatMulInteger16",
        "MatMulIntegerToFloat",
        "MatMulNBits",
        "MulInteger",
        "QAttention",
        "QEmbedLayerNormalization",
        "QGemm",
        "QMoE",
    }
)
_INTEGER_FAMILIES = ("QLinear", "QOrdered")
_MICROSOFT = "com.microsoft"
# Parsed by name, as TensorRT-RTX 1.7.1's `supports_operator` tells; its other operators are not.
_MICROSOFT_PARSED = frozenset(
    {
        "CausalConvWithState",
        "LinearAttention",
        "MultiHeadAttention",
        "SimplifiedLayerNormalization",
        "SkipSimplifiedLayerNormalization",
    }
)
# They share ONNX's name, not its inputs: onnxruntime, docs/ContribOperators.md.
_MICROSOFT_OTHERWISE = frozenset({"Attention", "RotaryEmbedding"})
_NVIDIA_DOMAINS = ("trt", "tensorrt", "com.nvidia")
_PLUGIN_ATTRIBUTES = frozenset({"plugin_namespace", "plugin_version"})
_DECOMPOSE = (
    "export it as ONNX's own operators or as a function in the file (onnxscript); plugins are not"
    " loaded"
)
_QDQ_FORMAT = (
    "quantise in Q/DQ format: ModelOpt, or ONNX Runtime's quantize_static with"
    " quant_format=QuantFormat.QDQ; quantize_dynamic and QOperator are not for TensorRT"
)
_UNOPTIMISED = (
    "take the file as exported: this operator comes from ONNX Runtime's graph optimiser"
    " (optimized_model_filepath, onnxruntime.transformers)"
)


def operator_findings(node: "onnx.NodeProto", functions: Collection[str]) -> Iterator[Finding]:
    """Yield a finding when TensorRT has no such operator, or one of that name that does otherwise.

    Args:
        node: Any node but Q/DQ.
        functions: Names of the functions in the file.
    """
    import onnx

    domain, name = node.domain, node.op_type
    standard = bool(onnx.defs.has(name))
    if name in _INTEGER_OPERATORS or name.startswith(_INTEGER_FAMILIES):
        how = "finds scales at run time" if name.startswith("Dynamic") else "computes on integers"
        text = f"{name} {how}; TensorRT computes INT8 through Q/DQ with fixed scales alone"
        yield Finding("operator-quantised", place(node), text, _QDQ_FORMAT)
    elif domain in {"", "ai.onnx"} or domain.lower().startswith(_NVIDIA_DOMAINS):
        return
    elif _PLUGIN_ATTRIBUTES & attributes(node).keys():
        return  # written for a plugin; the parser knows whether TensorRT brings it
    elif standard and (domain != _MICROSOFT or name in _MICROSOFT_OTHERWISE):
        text = f"{name} of '{domain}' is not ONNX's {name}, which TensorRT compiles in its place"
        yield Finding("unknown-operator", place(node), text, _DECOMPOSE)
    elif not standard and name not in functions and name not in _MICROSOFT_PARSED:
        text = f"TensorRT has no operator {name} (of '{domain}') and looks for a plugin so named"
        remedy = _UNOPTIMISED if domain == _MICROSOFT else _DECOMPOSE
        yield Finding("unknown-operator", place(node), text, remedy)
