import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from clickclean_export.engine.lint import GraphInput, OnnxNotReadError, lint, read_inputs
from clickclean_export.errors import EngineRefused
from clickclean_export.findings import Finding
from tests.models.onnx_draft import Draft
from tests.models.onnx_files import (
    BROKEN,
    conv_block,
    float_block,
    resnet50_qdq,
    transformer_block_qdq,
)

GOOD: dict[str, Callable[[], onnx.ModelProto]] = {
    "block": conv_block,
    "block of any size": lambda: conv_block(size=None),
    "float": float_block,
    "resnet50": resnet50_qdq,
    "transformer": transformer_block_qdq,
}
BY_LINT = [broken for broken in BROKEN.values() if broken.found_by == "lint"]
BY_COMPILER = [broken for broken in BROKEN.values() if broken.found_by == "compiler"]
Save = Callable[[onnx.ModelProto], Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def to_disk(model: onnx.ModelProto) -> Path:
        path = tmp_path / "model.onnx"
        onnx.save(model, path)
        return path

    return to_disk


def found(findings: tuple[Finding, ...]) -> list[tuple[str, str]]:
    return [(finding.code, finding.where) for finding in findings]


@pytest.mark.parametrize("name", GOOD)
def test_a_good_file_has_no_findings(name: str, save: Save) -> None:
    assert lint(save(GOOD[name]())) == ()


@pytest.mark.parametrize("name", GOOD)
def test_the_same_file_is_built_each_time(name: str) -> None:
    assert GOOD[name]().SerializeToString() == GOOD[name]().SerializeToString()


def test_resnet50_has_its_53_convolutions_all_on_int8() -> None:
    graph = resnet50_qdq().graph
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    producer = {name: node.op_type for node in graph.node for name in node.output}
    assert len(convolutions) == 53
    assert {producer[name] for node in convolutions for name in node.input[:2]} == {
        "DequantizeLinear"
    }


@pytest.mark.parametrize("broken", BY_LINT, ids=lambda broken: broken.name)
def test_a_broken_file_is_told_by_code_and_node(broken: Any, save: Save) -> None:
    findings = lint(save(broken.build()))
    assert {finding.code for finding in findings} == {broken.code}
    assert findings[0].where == broken.where
    assert all(finding.problem and finding.remedy for finding in findings)


@pytest.mark.parametrize("broken", BY_COMPILER, ids=lambda broken: broken.name)
def test_what_the_parser_tells_well_is_left_to_it(broken: Any, save: Save) -> None:
    assert lint(save(broken.build())) == ()


def test_both_kinds_of_broken_files_are_there() -> None:
    assert len(BY_LINT) >= 14
    assert len(BY_COMPILER) >= 4


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"not onnx", "is not ONNX"),
        (b'{"graph": {}}', "is not ONNX"),
        (onnx.ModelProto(ir_version=10).SerializeToString(), "holds no graph"),
    ],
)
def test_a_file_that_is_not_onnx(content: bytes, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    (finding,) = lint(path)
    assert (finding.code, finding.where) == ("not-onnx", "")
    assert problem in finding.problem
    with pytest.raises(EngineRefused, match=r"model\.onnx: TensorRT refuses it") as refused:
        read_inputs(path)
    assert refused.value.findings == (finding,)


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    whole = conv_block().SerializeToString()
    path = tmp_path / "model.onnx"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert found(lint(path)) == [("not-onnx", "")], length


@pytest.mark.parametrize("name", ["missing.onnx", "."])
def test_a_file_that_cannot_be_read(name: str, tmp_path: Path) -> None:
    for read in (lint, read_inputs):
        with pytest.raises(OnnxNotReadError, match=r"cannot be read \(.*directory\)") as caught:
            read(tmp_path / name)
        assert caught.value.exit_code == 2


def test_a_damaged_file_is_a_finding_and_no_traceback(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(conv_block().SerializeToString().replace(b"Conv", b"C\xffnv"))
    (finding,) = lint(path)
    assert (finding.code, finding.problem.partition(":")[0]) == ("not-onnx", "is damaged")


def test_every_node_is_listed_in_the_order_of_the_graph(save: Save) -> None:
    model = resnet50_qdq()
    for tensor in model.graph.initializer:
        if tensor.name in {"image_zero_point", "layer1.1.conv2.weight_zero_point"}:
            array = numpy_helper.to_array(tensor).copy()
            array[...] = 1
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    wanted = ["image_QuantizeLinear", "image_DequantizeLinear"]
    wanted.append("layer1.1.conv2.weight_DequantizeLinear")
    order = [node.name for node in model.graph.node if node.name in wanted]
    assert found(lint(save(model))) == [("asymmetric-qdq", name) for name in order]
    assert len(order) == 3


def test_a_nameless_node_is_called_by_its_output(save: Save) -> None:
    model = conv_block(constants={"zero": None})
    model.graph.node[0].name = ""
    (finding,) = lint(save(model))
    assert finding.where == "QuantizeLinear output 'x_q'"
    assert finding.sentence.startswith("QuantizeLinear output 'x_q': it has no zero point")


class TestSideFiles:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "model.onnx"
        model = conv_block(constants={"scale": np.array(np.inf, np.float32)})
        onnx.save(model, path, save_as_external_data=True, location="model.data", size_threshold=0)
        return path

    def test_scales_in_it_are_read(self, path: Path) -> None:
        assert {finding.code for finding in lint(path)} == {"scale-not-finite"}

    def test_a_link_is_followed(self, path: Path, tmp_path: Path) -> None:
        data = tmp_path / "elsewhere"
        (tmp_path / "model.data").rename(data)
        (tmp_path / "model.data").symlink_to(data)
        assert {finding.code for finding in lint(path)} == {"scale-not-finite"}

    def test_missing(self, path: Path, tmp_path: Path) -> None:
        (tmp_path / "model.data").unlink()
        (finding,) = lint(path)
        assert (finding.code, finding.where) == ("external-data-missing", "scale")
        assert "nor of 5 more tensors: the side file 'model.data' is missing" in finding.problem

    def test_cut_off(self, path: Path, tmp_path: Path) -> None:
        data = tmp_path / "model.data"
        os.truncate(data, data.stat().st_size - 1)
        codes = {finding.code: finding.problem for finding in lint(path)}
        assert "is cut off" in codes["external-data-missing"]

    @pytest.mark.parametrize("location", ["../model.data", "/model.data", "sub/../../model.data"])
    def test_outside_the_folder(self, location: str, path: Path) -> None:
        model = onnx.load(path, load_external_data=False)
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = location
        path.write_bytes(model.SerializeToString())
        (finding,) = lint(path)
        assert finding.code == "external-data-missing"
        assert "is outside the folder" in finding.problem

    def test_a_name_that_no_file_can_have(self, path: Path) -> None:
        model = onnx.load(path, load_external_data=False)
        for tensor in model.graph.initializer:
            tensor.external_data[0].value = "n" * 5000
        path.write_bytes(model.SerializeToString())
        (finding,) = lint(path)
        assert finding.code == "external-data-missing"
        assert "cannot be read (File name too long)" in finding.problem

    def test_inputs_are_known_without_it(self, path: Path, tmp_path: Path) -> None:
        (tmp_path / "model.data").unlink()
        assert read_inputs(path)[0].name == "x"


def test_the_body_of_a_loop_is_read(save: Save) -> None:
    def tail(draft: Draft) -> None:
        def scalar(name: str, elem_type: int, dims: list[int | str]) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, elem_type, dims)

        dims: list[int | str] = ["batch", 4, 8, 8]
        draft.constant("times", 2, np.int64)
        draft.constant("go", 1, np.bool_)
        inner = numpy_helper.from_array(np.array(-1, np.float32), "inner_scale")
        body = helper.make_graph(
            [
                helper.make_node("Identity", ["go_in"], ["go_out"]),
                helper.make_node("QuantizeLinear", ["z", "inner_scale", "zero"], ["z_q"], "loop/q"),
                helper.make_node("DequantizeLinear", ["z_q", "scale", "zero"], ["z_out"]),
            ],
            "body",
            [
                scalar("turn", TensorProto.INT64, []),
                scalar("go_in", TensorProto.BOOL, []),
                scalar("z", TensorProto.FLOAT, dims),
            ],
            [scalar("go_out", TensorProto.BOOL, []), scalar("z_out", TensorProto.FLOAT, dims)],
            [inner],
        )
        draft.node("Loop", ["times", "go", "features"], "y", "loop", body=body)

    assert found(lint(save(conv_block(tail=tail)))) == [("scale-not-positive", "loop/q")]


class TestFunctions:
    def model(self, name: str = "Fancy", calls: int = 1) -> onnx.ModelProto:
        def tail(draft: Draft) -> None:
            x = "features"
            for call in range(calls):
                y = "y" if call == calls - 1 else f"y{call}"
                x = draft.node(name, [x, "scale"], y, f"call{call}", domain="com.acme")

        return conv_block(tail=tail, domains=["com.acme"])

    def function(self, zero: Any, name: str = "Fancy") -> onnx.FunctionProto:
        nodes = [
            helper.make_node("Constant", [], ["z"], value=numpy_helper.from_array(zero)),
            helper.make_node("QuantizeLinear", ["a", "s", "z"], ["q"], name="inner/q"),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["b"], name="inner/dq"),
        ]
        opsets = [helper.make_opsetid("", 19)]
        return helper.make_function("com.acme", name, ["a", "s"], ["b"], nodes, opsets)

    @pytest.mark.parametrize("calls", [1, 3])
    def test_the_body_is_read_once(self, calls: int, save: Save) -> None:
        model = self.model(calls=calls)
        model.functions.append(self.function(np.array(0, np.uint8)))
        code = "unsigned-qdq"
        assert found(lint(save(model))) == [(code, "inner/q"), (code, "inner/dq")]

    def test_what_the_caller_gives_is_not_judged(self, save: Save) -> None:
        model = self.model()
        model.functions.append(self.function(np.array(0, np.int8)))
        assert lint(save(model)) == ()

    def test_one_that_nobody_calls_is_not_read(self, save: Save) -> None:
        model = conv_block()
        model.functions.append(self.function(np.array(0, np.uint8)))
        assert lint(save(model)) == ()

    def test_one_that_hides_behind_a_name_of_onnx_is_told(self, save: Save) -> None:
        model = self.model("Relu")
        model.functions.append(self.function(np.array(0, np.int8), "Relu"))
        (finding,) = lint(save(model))
        assert (finding.code, finding.where) == ("unknown-operator", "call0")
        assert "compiles in its place" in finding.problem


@pytest.mark.parametrize(
    ("operator", "domain", "attributes", "code"),
    [
        ("Relu", "ai.onnx", {}, None),
        ("Gelu", "com.microsoft", {}, None),
        ("SimplifiedLayerNormalization", "com.microsoft", {}, None),
        ("QuickGelu", "com.microsoft", {}, "unknown-operator"),
        ("Attention", "com.microsoft", {}, "unknown-operator"),
        ("QLinearAdd", "com.microsoft", {}, "operator-quantised"),
        ("Scaler", "ai.onnx.ml", {}, "unknown-operator"),
        ("ATen", "org.pytorch.aten", {}, "unknown-operator"),
        ("FancyNorm", "com.acme", {}, "unknown-operator"),
        ("FancyNorm", "com.acme", {"plugin_version": "1"}, None),
        ("FancyNorm", "trt.plugins", {}, None),
        ("EfficientNMS_TRT", "TRT", {}, None),
        ("FancyNorm", "", {}, None),
    ],
)
def test_operators_of_others(
    operator: str, domain: str, attributes: dict[str, Any], code: str | None, save: Save
) -> None:
    def tail(draft: Draft) -> None:
        draft.node(operator, ["features"], "y", "last", domain=domain, **attributes)

    domains = [domain] if domain else []
    findings = found(lint(save(conv_block(tail=tail, domains=domains))))
    assert findings == ([(code, "last")] if code else [])


def test_uint8_is_for_inputs_and_outputs(save: Save) -> None:
    def tail(draft: Draft) -> None:
        draft.node("Cast", ["mask"], "mask_float", to=TensorProto.FLOAT)
        draft.node("Mul", ["features", "mask_float"], "product")
        draft.node("Cast", ["product"], "y", "last", to=TensorProto.UINT8)

    types = {"mask": TensorProto.UINT8, "y": TensorProto.UINT8}
    model = conv_block(tail=tail, inputs={"mask": ["batch", 4, 8, 8]}, types=types)
    assert lint(save(model)) == ()
    model.graph.output[0].name = "product"
    assert found(lint(save(model))) == [("unsupported-type", "last")]


def test_tensors_that_are_none(save: Save) -> None:
    model = float_block()
    info = helper.make_tensor_sequence_value_info("list", TensorProto.FLOAT, ["batch"])
    model.graph.input.append(info)
    values = numpy_helper.from_array(np.ones(1, np.float32), "sparse")
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "indices")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4]))
    model.graph.node.append(helper.make_node("Constant", [], ["text"], value_string=b"a"))
    assert found(lint(save(model))) == [
        ("unsupported-type", "list"),
        ("unsupported-type", "sparse"),
        ("unsupported-type", "Constant output 'text'"),
    ]


def test_types_that_tensorrt_has_nowhere(save: Save) -> None:
    model = float_block()
    bad = helper.make_tensor("value", TensorProto.UINT32, [1], [1])
    model.graph.node.append(helper.make_node("Constant", [], ["c"], name="constant", value=bad))
    model.graph.initializer.append(helper.make_tensor("never", TensorProto.COMPLEX64, [1], [1]))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    findings = lint(save(model))
    assert found(findings) == [
        ("unsupported-type", "y"),
        ("unsupported-type", "never"),
        ("unsupported-type", "constant"),
    ]
    assert [finding.remedy for finding in findings] == [
        "use float32",
        "use two float32 tensors, real and imaginary part",
        "use int64",
    ]


def test_sizes_that_no_request_has(save: Save) -> None:
    sizes: dict[str, list[int | str | None]] = {
        "none": ["batch", 0],
        "huge": [2**31, 3],
        "wraps": [2**32 + 1],
        "largest": [2**31 - 1],
    }
    findings = lint(save(conv_block(inputs=sizes)))
    assert found(findings) == [
        ("empty-axis", "none"),
        ("axis-too-large", "huge"),
        ("axis-too-large", "wraps"),
    ]
    assert "axis 1 is fixed at 0" in findings[0].problem
    assert "axis 0 is fixed at 4294967297; TensorRT takes 2147483647" in findings[2].problem


def test_inputs_are_what_a_caller_gives(save: Save) -> None:
    model = conv_block(inputs={"mask": [None, 4, "width"]}, types={"mask": TensorProto.BFLOAT16})
    scale = helper.make_tensor_value_info("scale", TensorProto.FLOAT, [])
    model.graph.input.insert(0, scale)
    minus = helper.make_tensor_value_info("minus", TensorProto.BOOL, [-1, 2])
    model.graph.input.append(minus)
    path = save(model)
    assert read_inputs(path) == (
        GraphInput("x", "float32", ("batch", 3, 8, 8)),
        GraphInput("mask", "bfloat16", ("?0", 4, "width")),
        GraphInput("minus", "bool", ("?0", 2)),
    )
    assert lint(path) == ()
