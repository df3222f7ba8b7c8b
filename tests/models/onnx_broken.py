"""ONNX files that TensorRT refuses or would misread, each with what must be said of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper
from tests.models.onnx_draft import Constants, Draft, Tail, conv_block, float_block


@dataclass(frozen=True)
class Broken:
    """A file that TensorRT refuses or would misread.

    Attributes:
        name: What is broken.
        build: Makes the file.
        code: Of every finding.
        where: Node or tensor of the first finding; empty for the file as a whole, or where the
            parser knows no node.
        found_by: "compiler" where only TensorRT's parser tells.
    """

    name: str
    build: Callable[[], onnx.ModelProto]
    code: str
    where: str
    found_by: Literal["lint", "compiler"] = "lint"


Build = Callable[[], onnx.ModelProto]


def _block(**options: Any) -> Build:
    return lambda: conv_block(**options)


def _constants(constants: Constants) -> Build:
    return _block(constants=constants)


def _last(operator: str, name: str, domain: str = "", **attributes: Any) -> Tail:
    """Make ``y`` of ``features`` by one operator."""

    def tail(draft: Draft) -> None:
        if domain:
            attributes["domain"] = domain
        draft.node(operator, ["features"], "y", name, **attributes)

    return tail


def _quantised_last(operator: str) -> Tail:
    def tail(draft: Draft) -> None:
        step = ["scale", "zero"]
        kernel = draft.constant("kernel", np.ones((4, 4, 1, 1)), np.int8)
        draft.node("QuantizeLinear", ["features", *step], "f_q", "layer2/q")
        if operator == "ConvInteger":
            draft.node("ConvInteger", ["f_q", kernel], "sums", "layer2/conv")
            draft.node("Cast", ["sums"], "y", "layer2/cast", to=TensorProto.FLOAT)
            return
        draft.node("QLinearConv", ["f_q", *step, kernel, *step, *step], "y_q", "layer2/conv")
        draft.node("DequantizeLinear", ["y_q", *step], "y", "layer2/dq")

    return tail


def _dynamic(draft: Draft) -> None:
    outputs = ["f_q", "f_scale", "f_zero"]
    node = helper.make_node("DynamicQuantizeLinear", ["features"], outputs, name="layer2/dynamic")
    draft.nodes.append(node)
    draft.node("DequantizeLinear", outputs, "y", "layer2/dq")


def _scale_at_run_time(draft: Draft) -> None:
    draft.node("ReduceMax", ["features"], "peak", "layer2/peak", keepdims=0)
    draft.node("QuantizeLinear", ["features", "peak", "zero"], "f_q", "layer2/q")
    draft.node("DequantizeLinear", ["f_q", "peak", "zero"], "y", "layer2/dq")


def _per_channel_activation(draft: Draft) -> None:
    step = ["weight_scales", "weight_zeros"]
    draft.node("QuantizeLinear", ["features", *step], "f_q", "layer2/q", axis=1)
    draft.node("DequantizeLinear", ["f_q", *step], "y", "layer2/dq", axis=1)


def _mixed_types(draft: Draft) -> None:
    draft.node("Cast", ["features"], "half", "layer2/half", to=TensorProto.FLOAT16)
    draft.node("Add", ["half", "features"], "y", "layer2/add")


def _through_text(draft: Draft) -> None:
    draft.node("Cast", ["features"], "text", "layer2/text", to=TensorProto.STRING)
    draft.node("Cast", ["text"], "y", "layer2/number", to=TensorProto.FLOAT)


def _in_a_branch(draft: Draft) -> None:
    def branch(output: str, *nodes: onnx.NodeProto) -> onnx.GraphProto:
        info = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", 4, 8, 8])
        return helper.make_graph(nodes, output, [], [info])

    draft.constant("unsigned", 0, np.uint8)
    step = ["scale", "unsigned"]
    there = branch(
        "quantised",
        helper.make_node("QuantizeLinear", ["features", *step], ["t_q"], name="branch/q"),
        helper.make_node("DequantizeLinear", ["t_q", *step], ["quantised"], name="branch/dq"),
    )
    other = branch("plain", helper.make_node("Relu", ["features"], ["plain"], name="branch/relu"))
    draft.node("ReduceMax", ["features"], "peak", "layer2/peak", keepdims=0)
    draft.node("Greater", ["peak", "scale"], "loud", "layer2/loud")
    draft.node("If", ["loud"], "y", "layer2/if", then_branch=there, else_branch=other)


def _second_input(elem_type: int) -> Build:
    def tail(draft: Draft) -> None:
        draft.node("Cast", ["mask"], "mask_float", "layer2/cast", to=TensorProto.FLOAT)
        draft.node("Mul", ["features", "mask_float"], "y", "layer2/mul")

    inputs = {"mask": ["batch", 4, 8, 8]}
    return _block(tail=tail, inputs=inputs, types={"mask": elem_type})


def _without(part: Literal["outputs", "shape"]) -> Build:
    def build() -> onnx.ModelProto:
        model = float_block()
        if part == "outputs":
            del model.graph.output[:]
        else:
            model.graph.input[0].type.tensor_type.ClearField("shape")
        return model

    return build


def _other_channels() -> onnx.ModelProto:
    model = conv_block()
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 5
    return model


def _table(*rows: Broken) -> dict[str, Broken]:
    return {row.name: row for row in rows}


_ACME = "com.acme"
_UINT8_WEIGHTS: Constants = {
    "weights": np.full((4, 3, 3, 3), 200, np.uint8),
    "weight_zeros": np.full(4, 128, np.uint8),
}
_ONE_TOO_FEW: Constants = {
    "weight_scales": np.full(3, 0.01, np.float32),
    "weight_zeros": np.zeros(3, np.int8),
}

BROKEN = _table(
    Broken("uint8", _constants({"zero": np.array(0, np.uint8)}), "unsigned-qdq", "layer1/q"),
    Broken("no-zero-point", _constants({"zero": None}), "unsigned-qdq", "layer1/q"),
    Broken("uint8-weights", _constants(_UINT8_WEIGHTS), "unsigned-qdq", "layer1/dq_w"),
    Broken("uint8-in-a-branch", _block(tail=_in_a_branch), "unsigned-qdq", "branch/q"),
    Broken(
        "zero-point-3", _constants({"zero": np.array(3, np.int8)}), "asymmetric-qdq", "layer1/q"
    ),
    Broken(
        "weights-zero-point-1",
        _constants({"weight_zeros": np.array([0, 0, 1, 0], np.int8)}),
        "asymmetric-qdq",
        "layer1/dq_w",
    ),
    Broken(
        "one-zero-point-for-all",
        _constants({"weight_zeros": np.array(0, np.int8)}),
        "zero-point-shape",
        "layer1/dq_w",
    ),
    Broken("int32-bias", _constants({"bias": np.zeros(4, np.int32)}), "int32-bias", "layer1/dq_b"),
    Broken(
        "qlinear-conv",
        _block(tail=_quantised_last("QLinearConv")),
        "operator-quantised",
        "layer2/conv",
    ),
    Broken(
        "conv-integer",
        _block(tail=_quantised_last("ConvInteger")),
        "operator-quantised",
        "layer2/conv",
    ),
    Broken("dynamic", _block(tail=_dynamic), "operator-quantised", "layer2/dynamic"),
    Broken(
        "scale-0", _constants({"scale": np.array(0, np.float32)}), "scale-not-positive", "layer1/q"
    ),
    Broken(
        "scale-below-0",
        _constants({"scale": np.array(-1, np.float32)}),
        "scale-not-positive",
        "layer1/q",
    ),
    Broken(
        "scale-inf",
        _constants({"scale": np.array(np.inf, np.float32)}),
        "scale-not-finite",
        "layer1/q",
    ),
    Broken(
        "scale-nan-in-weights",
        _constants({"weight_scales": np.array([0.1, np.nan, 0.1, 0.1], np.float32)}),
        "scale-not-finite",
        "layer1/dq_w",
    ),
    Broken("scale-computed", _block(tail=_scale_at_run_time), "scale-not-constant", "layer2/q"),
    Broken("too-few-scales", _constants(_ONE_TOO_FEW), "channel-axis", "layer1/dq_w"),
    Broken(
        "scales-of-input-channels",
        _block(constants=_ONE_TOO_FEW, weight_axis=1),
        "channel-axis",
        "layer1/dq_w",
    ),
    Broken(
        "scales-of-activation", _block(tail=_per_channel_activation), "channel-axis", "layer2/q"
    ),
    Broken("text", _block(tail=_through_text), "unsupported-type", "layer2/text"),
    Broken("uint16-input", _second_input(TensorProto.UINT16), "unsupported-type", "mask"),
    Broken("float64-input", _second_input(TensorProto.DOUBLE), "unsupported-type", "mask"),
    Broken(
        "int16-constant",
        _constants({"unused": np.zeros(4, np.int16)}),
        "unsupported-type",
        "unused",
    ),
    Broken(
        "foreign-operator",
        _block(tail=_last("FancyNorm", "layer1/fancy", _ACME), domains=[_ACME]),
        "unknown-operator",
        "layer1/fancy",
    ),
    Broken(
        "foreign-relu",
        _block(tail=_last("Relu", "layer1/relu", _ACME), domains=[_ACME]),
        "unknown-operator",
        "layer1/relu",
    ),
    Broken("no-shape", _without("shape"), "input-without-shape", "x"),
    Broken("no-outputs", _without("outputs"), "not-onnx", ""),
    Broken(
        "operator-that-tensorrt-lacks",
        _block(tail=_last("Det", "layer1/det")),
        "unsupported-operator",
        "layer1/det",
        "compiler",
    ),
    Broken("half-and-float", _block(tail=_mixed_types), "mixed-types", "layer2/add", "compiler"),
    Broken(
        "missing-tensor",
        _block(tail=lambda draft: draft.node("Relu", ["nowhere"], "y", "layer1/relu")),
        "parser-error",
        "layer1/relu",
        "compiler",
    ),
    Broken("other-channels", _other_channels, "parser-error", "layer1/conv", "compiler"),
)
"""By name. The lint finds most; what it leaves to the parser is at the end."""
