from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import ArrayLike
from onnx import TensorProto, helper

from clickclean_export.engine.lint import lint
from tests.models.onnx_draft import Draft
from tests.models.onnx_files import BROKEN, conv_block

Told = Callable[[onnx.ModelProto], list[tuple[str, str]]]


@pytest.fixture
def told(tmp_path: Path) -> Told:
    """Codes and places of what is found in a model."""

    def save_and_lint(model: onnx.ModelProto) -> list[tuple[str, str]]:
        path = tmp_path / "model.onnx"
        onnx.save(model, path)
        return [(finding.code, finding.where) for finding in lint(path)]

    return save_and_lint


def dense(
    elem_type: int = TensorProto.INT8,
    *,
    zero: int | None = None,
    axis: int = 1,
    scale: ArrayLike = 0.1,
    block_size: int = 0,
    operator: str = "MatMul",
    **attributes: int,
) -> onnx.ModelProto:
    """``y`` = ``x`` float32[batch, 8] times dequantised weights [8, 4] of any type."""
    draft = Draft()
    inputs = ["weights", draft.constant("scale", scale)]
    if zero is not None:
        inputs.append("zero")
    blocks = {"block_size": block_size} if block_size else {}
    draft.node("DequantizeLinear", inputs, "w", "dq", axis=axis, **blocks)
    draft.node(operator, ["x", "w"], "y", "dense", **attributes)
    model = draft.model({"x": ["batch", 8]}, {"y": ["batch", 4]})
    weights = helper.make_tensor("weights", elem_type, [8, 4], [1] * 32)
    model.graph.initializer.append(weights)
    if zero is not None:
        zeros = [zero] * np.size(scale)
        tensor = helper.make_tensor("zero", elem_type, np.shape(scale), zeros)
        model.graph.initializer.append(tensor)
    return model


@pytest.mark.parametrize(
    ("attributes", "wanted"),
    [
        ({}, [("unsigned-qdq", "layer1/q")]),
        ({"output_dtype": TensorProto.INT8}, []),
        ({"output_dtype": TensorProto.UINT8}, [("unsigned-qdq", "layer1/q")]),
    ],
)
def test_a_quantize_without_zero_point_has_the_type_that_onnx_says(
    attributes: dict[str, Any], wanted: list[tuple[str, str]], told: Told
) -> None:
    model = conv_block(constants={"zero": None})
    for name, value in attributes.items():
        model.graph.node[0].attribute.append(helper.make_attribute(name, value))
    assert told(model) == wanted


@pytest.mark.parametrize("operator", ["Identity", "Reshape"])
def test_a_circle_is_left_to_the_parser(operator: str, told: Told) -> None:
    model = conv_block()
    model.graph.node[1].input[0] = "around"
    model.graph.node[2].input[0] = "around"
    model.graph.node.insert(0, helper.make_node(operator, ["back"], ["around"]))
    model.graph.node.insert(0, helper.make_node(operator, ["around"], ["back"]))
    assert told(model) == []


def test_a_dequantize_is_not_told_for_the_type_of_its_quantize(told: Told) -> None:
    model = conv_block()
    del model.graph.node[0].input[2]
    assert told(model) == [("unsigned-qdq", "layer1/q")]


def test_a_quantize_without_a_scale_is_left_to_the_parser(told: Told) -> None:
    model = conv_block()
    del model.graph.node[0].input[1:]
    assert told(model) == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("uint8", "its zero point is a uint8 0; TensorRT takes what it quantises for int8"),
        ("uint8-weights", "its zero point is uint8; TensorRT quantises to signed integers around"),
        ("no-zero-point", "it has no zero point, which means uint8 in ONNX"),
        ("zero-point-3", "its zero point is 3; "),
        ("scale-0", "its scale is 0; "),
        ("scale-nan-in-weights", "1 of its 4 scales, the first at 1: nan; "),
        ("scales-of-input-channels", "axis 1 of the weights of Conv 'layer1/conv', whose output"),
        ("scale-computed", "its scale 'peak' is computed at run time"),
    ],
)
def test_the_problem_says_what_the_file_holds(name: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(BROKEN[name].build(), path)
    assert words in lint(path)[0].problem


def test_an_empty_name_is_no_zero_point(told: Told) -> None:
    model = conv_block(constants={"zero": None})
    model.graph.node[0].input.append("")
    assert told(model) == [("unsigned-qdq", "layer1/q")]


def test_only_the_quantize_is_told_when_the_dequantize_takes_its_type(told: Told) -> None:
    def tail(draft: Draft) -> None:
        draft.constant("unsigned", 0, np.uint8)
        draft.node("QuantizeLinear", ["features", "scale", "unsigned"], "f_q", "layer2/q")
        draft.node("MaxPool", ["f_q"], "pooled", "layer2/pool", kernel_shape=[1, 1])
        draft.node("DequantizeLinear", ["pooled", "scale"], "y", "layer2/dq")

    assert told(conv_block(tail=tail)) == [("unsigned-qdq", "layer2/q")]


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes", "code"),
    [
        ("Constant", [], {"value_float": 0.05}, None),
        ("Constant", [], {"value_float": -0.05}, "scale-not-positive"),
        ("Constant", [], {"value_floats": [0.05]}, None),
        ("Constant", [], {"value": helper.make_tensor("", 1, [], [0])}, "scale-not-positive"),
        ("Identity", ["scale"], {}, None),
        ("Cast", ["scale"], {"to": TensorProto.FLOAT16}, None),
        ("Mul", ["scale", "scale"], {}, None),
        ("Neg", ["scale"], {}, "scale-not-positive"),
        ("Log", ["none"], {}, "scale-not-finite"),
        ("Mul", ["scale", "tiny"], {}, "scale-not-finite"),
    ],
)
def test_computed_scales_are_judged_by_their_values(
    operator: str, inputs: list[str], attributes: dict[str, Any], code: str | None, told: Told
) -> None:
    def tail(draft: Draft) -> None:
        draft.constant("none", 0.0)
        draft.constant("tiny", 1e-39)
        draft.node(operator, inputs, "computed", **attributes)
        draft.node("QuantizeLinear", ["features", "computed", "zero"], "f_q", "layer2/q")
        draft.node("DequantizeLinear", ["f_q", "computed", "zero"], "y", "layer2/dq")

    findings = told(conv_block(tail=tail))
    assert findings == ([(code, "layer2/q"), (code, "layer2/dq")] if code else [])


def test_float8_may_find_its_scale_at_run_time(told: Told) -> None:
    def tail(draft: Draft) -> None:
        draft.node("ReduceMax", ["features"], "peak", keepdims=0)
        draft.node("QuantizeLinear", ["features", "peak", "float8"], "f_q", "layer2/q")
        draft.node("DequantizeLinear", ["f_q", "peak"], "y", "layer2/dq")

    model = conv_block(tail=tail)
    zero = helper.make_tensor("float8", TensorProto.FLOAT8E4M3FN, [], [0])
    model.graph.initializer.append(zero)
    assert told(model) == []


def test_a_zero_point_from_an_input_is_refused(told: Told) -> None:
    def tail(draft: Draft) -> None:
        draft.node("QuantizeLinear", ["features", "scale", "shift"], "f_q", "layer2/q")
        draft.node("DequantizeLinear", ["f_q", "scale", "shift"], "y", "layer2/dq")

    model = conv_block(tail=tail, inputs={"shift": []}, types={"shift": TensorProto.INT8})
    code = "zero-point-not-constant"
    assert told(model) == [(code, "layer2/q"), (code, "layer2/dq")]


@pytest.mark.parametrize(
    ("elem_type", "zero", "code"),
    [
        (TensorProto.INT8, 0, None),
        (TensorProto.INT4, None, None),
        (TensorProto.INT4, 0, None),
        (TensorProto.INT4, 3, "asymmetric-qdq"),
        (TensorProto.FLOAT8E4M3FN, 0, None),
        (TensorProto.FLOAT8E4M3FN, 1, "asymmetric-qdq"),
        (TensorProto.FLOAT8E5M2, 0, "unsupported-type"),
        (TensorProto.UINT8, None, "unsigned-qdq"),
        (TensorProto.UINT8, 0, "unsigned-qdq"),
        (TensorProto.UINT4, 0, "unsigned-qdq"),
        (TensorProto.INT16, 0, "unsupported-type"),
        (TensorProto.INT32, None, "int32-bias"),
        (TensorProto.INT32, 0, "int32-bias"),
    ],
)
def test_types_of_quantised_weights(
    elem_type: int, zero: int | None, code: str | None, told: Told
) -> None:
    wanted = [(code, "dq")] if code else []
    assert told(dense(elem_type, zero=zero)) == wanted


@pytest.mark.parametrize(
    ("count", "attributes", "code"),
    [
        (4, {"operator": "MatMul", "axis": 1}, None),
        (4, {"operator": "MatMul", "axis": -1}, None),
        (8, {"operator": "MatMul", "axis": 0}, "channel-axis"),
        (8, {"operator": "MatMul", "axis": 1}, "channel-axis"),
        (4, {"operator": "MatMul", "axis": 2}, "channel-axis"),
        (1, {"operator": "MatMul", "axis": 0}, None),
        (4, {"operator": "Gemm", "axis": 1}, None),
        (8, {"operator": "Gemm", "axis": 0, "transB": 1}, None),
        (4, {"operator": "Gemm", "axis": 1, "transB": 1}, "channel-axis"),
        (8, {"operator": "Conv", "axis": -2}, None),
        (4, {"operator": "Conv", "axis": 1}, "channel-axis"),
        (4, {"operator": "ConvTranspose", "axis": 1}, None),
        (8, {"operator": "ConvTranspose", "axis": 0}, "channel-axis"),
        (8, {"operator": "Gather", "axis": 0}, None),
    ],
)
def test_scales_run_along_the_output_channels(
    count: int, attributes: dict[str, Any], code: str | None, told: Told
) -> None:
    model = dense(scale=np.full(count, 0.1), zero=0, **attributes)
    assert told(model) == ([(code, "dq")] if code else [])


def test_4_bits_may_have_scales_of_input_channels(told: Told) -> None:
    assert told(dense(TensorProto.INT4, scale=np.full(8, 0.1), axis=0)) == []


def test_blocks_are_left_to_the_parser(told: Told) -> None:
    blocks = dense(TensorProto.INT4, scale=np.full((2, 4), 0.1), axis=0, block_size=4)
    assert told(blocks) == []


def test_before_opset_13_the_axis_is_the_first(told: Told) -> None:
    model = conv_block()
    model.opset_import[0].version = 12
    del model.graph.node[2].attribute[:]
    assert told(model) == []
    model.opset_import[0].version = 13
    assert told(model) == [("channel-axis", "layer1/dq_w")]


def test_float_weights_that_are_quantised_per_channel_are_weights(told: Told) -> None:
    def tail(draft: Draft) -> None:
        step = ["weight_scales", "weight_zeros"]
        draft.noise("float_weights", 4, 4, 1, 1)
        draft.node("QuantizeLinear", ["float_weights", *step], "w_q", "layer2/q_w", axis=0)
        draft.node("DequantizeLinear", ["w_q", *step], "w2", "layer2/dq_w", axis=0)
        draft.node("Conv", ["features", "w2"], "y", "layer2/conv")

    assert told(conv_block(tail=tail)) == []
