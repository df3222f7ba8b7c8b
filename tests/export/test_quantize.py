import hashlib
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from clickclean_export.errors import ConversionError
from clickclean_export.onnx_from_torch import export_onnx
from clickclean_export.quantize import inspect_qdq, quantize_onnx
from clickclean_export.recipe import load_recipe
from clickclean_export.runners import OpenVinoRunner
from tests.export.conftest import Write


@pytest.fixture
def float_model(tiny: SimpleNamespace, tmp_path: Path) -> Path:
    path = tmp_path / "fp32.onnx"
    export_onnx(tiny.recipe, tiny.module, tiny.evaluation.feeds[0], path)
    return path


def test_every_method_is_tried_and_measured(
    write: Write, tiny: SimpleNamespace, float_model: Path, tmp_path: Path
) -> None:
    recipe = load_recipe(write({'methods = ["max"]': 'methods = ["entropy", "max"]'}))
    before = hashlib.sha256(float_model.read_bytes()).hexdigest()
    work = tmp_path / "work"
    work.mkdir()
    target = tmp_path / "model.onnx"
    found = quantize_onnx(recipe, float_model, tiny.calibration, target, work)

    assert [candidate.method for candidate in found.candidates] == ["entropy", "max"]
    best = max(found.candidates, key=lambda c: (c.agreement, -c.rmse))
    assert found.method == best.method
    assert found.quantized_ops.get("Conv", 0) >= 1
    assert any("head" in name for name in found.float_ops), "10 classes are too few for INT8"
    assert hashlib.sha256(float_model.read_bytes()).hexdigest() == before
    assert target.stat().st_size == next(
        c.size_bytes for c in found.candidates if c.method == found.method
    )
    answer = OpenVinoRunner(target).infer(tiny.evaluation.feeds[0])["logits"]
    assert np.isfinite(answer).all()


def test_a_broken_float_model_is_a_sentence(tiny: SimpleNamespace, tmp_path: Path) -> None:
    path = tmp_path / "fp32.onnx"
    path.write_bytes(b"not onnx")
    with pytest.raises(ConversionError):
        quantize_onnx(tiny.recipe, path, tiny.calibration, tmp_path / "out.onnx", tmp_path)
    assert not (tmp_path / "out.onnx").exists()


def conv_with_qdq(
    path: Path,
    *,
    zero: NDArray[np.generic] | None = None,
    quantized: bool = True,
    with_zero: bool = True,
) -> Path:
    """One convolution whose input and weight go through Q/DQ, as a TensorRT-style file has it."""
    zero = np.zeros((), np.int8) if zero is None else zero
    constants = [
        numpy_helper.from_array(np.ones((4, 1, 3, 3), np.float32), "w_float"),
        numpy_helper.from_array(np.ones((4, 1, 3, 3), np.int8), "w_int8"),
        numpy_helper.from_array(np.array(0.1, np.float32), "scale"),
        numpy_helper.from_array(zero, "zero"),
        numpy_helper.from_array(np.zeros((), np.int8), "w_zero"),
    ]
    more: Sequence[str] = ["zero"] if with_zero else []
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", *more], ["xq"], name="q"),
        helper.make_node("DequantizeLinear", ["xq", "scale", *more], ["xd"], name="dq"),
        helper.make_node("DequantizeLinear", ["w_int8", "scale", "w_zero"], ["wd"], name="wdq"),
        helper.make_node("Conv", ["xd", "wd"], ["y"], name="conv"),
    ]
    if not quantized:
        nodes = [helper.make_node("Conv", ["x", "w_float"], ["y"], name="conv")]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    return path


def test_symmetric_int8_is_accepted(tmp_path: Path) -> None:
    assert inspect_qdq(conv_with_qdq(tmp_path / "m.onnx")) == ({"Conv": 1}, ())


@pytest.mark.parametrize(
    ("zero", "with_zero", "sentence"),
    [
        (np.array(3, np.int8), True, "q: its zero point is 3"),
        (np.array(0, np.uint8), True, "q: its zero point is a uint8 0"),
        (np.array(0, np.int8), False, "q: .*has no zero point"),
    ],
)
def test_what_tensorrt_would_refuse_is_refused(
    tmp_path: Path, zero: NDArray[np.generic], with_zero: bool, sentence: str
) -> None:
    with pytest.raises(ConversionError, match=sentence):
        inspect_qdq(conv_with_qdq(tmp_path / "m.onnx", zero=zero, with_zero=with_zero))


def test_a_file_without_int8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="no operator computes on INT8; left in float: conv"):
        inspect_qdq(conv_with_qdq(tmp_path / "m.onnx", quantized=False))
