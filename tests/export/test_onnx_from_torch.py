from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from clickclean_export.dataset import Feed, load_evaluation
from clickclean_export.errors import ConversionError, RecipeError
from clickclean_export.onnx_from_torch import export_onnx
from clickclean_export.recipe import load_recipe
from clickclean_export.runners import OnnxRuntimeRunner, TorchRunner
from clickclean_export.torch_model import load_module
from tests.export.conftest import MODEL_PY, Write


def export(recipe_path: Path, target: Path) -> None:
    recipe = load_recipe(recipe_path)
    export_onnx(recipe, load_module(recipe), load_evaluation(recipe).feeds[0], target)


def test_any_batch_gives_what_the_module_gives(tiny: SimpleNamespace, tmp_path: Path) -> None:
    path = tmp_path / "fp32.onnx"
    export_onnx(tiny.recipe, tiny.module, tiny.evaluation.feeds[0], path)
    exported, module = OnnxRuntimeRunner(path), TorchRunner(tiny.recipe, tiny.module)
    for rows in (1, 2, 17, 32):
        feed = {"image": tiny.evaluation.feeds[0]["image"][:rows]}
        got, wanted = exported.infer(feed)["logits"], module.infer(feed)["logits"]
        assert got.shape == (rows, 10)
        np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_a_model_that_is_served_row_by_row(write: Write, tmp_path: Path) -> None:
    export(write({"max_batch = 32": "max_batch = 1"}), tmp_path / "fp32.onnx")
    one = {"image": np.zeros((1, 1, 8, 8), np.float32)}
    assert OnnxRuntimeRunner(tmp_path / "fp32.onnx").infer(one)["logits"].shape == (1, 10)


def test_the_file_stands_alone_and_names_its_axes(tiny: SimpleNamespace, tmp_path: Path) -> None:
    path = tmp_path / "fp32.onnx"
    export_onnx(tiny.recipe, tiny.module, tiny.evaluation.feeds[0], path)
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["fp32.onnx"]
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    model = onnx.load(path.rename(moved / "fp32.onnx"))
    onnx.checker.check_model(model, full_check=True)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_no_node_name_begins_with_another(tiny: SimpleNamespace, tmp_path: Path) -> None:
    """ModelOpt leaves out nodes by matching names from their start."""
    path = tmp_path / "fp32.onnx"
    export_onnx(tiny.recipe, tiny.module, tiny.evaluation.feeds[0], path)
    names = sorted(node.name for node in onnx.load(path).graph.node)
    assert any(name.endswith("/head/Gemm") for name in names)
    assert not [name for name, next_ in pairwise(names) if next_.startswith(name)]


def test_two_inputs_and_a_free_axis(strokes_folder: Path, tmp_path: Path) -> None:
    recipe = load_recipe(strokes_folder / "recipe.toml")
    module = load_module(recipe)
    path = tmp_path / "fp32.onnx"
    export_onnx(recipe, module, load_evaluation(recipe).feeds[0], path)
    exported, ours = OnnxRuntimeRunner(path), TorchRunner(recipe, module)
    rng = np.random.default_rng(0)
    for rows, length in ((1, 1), (3, 64), (20, 7)):
        feed: Feed = {
            "tokens": rng.integers(0, 65, (rows, length)),
            "numbers": rng.random((rows, 4), dtype=np.float32),
        }
        got, wanted = exported.infer(feed), ours.infer(feed)
        for name in ("scores", "features"):
            np.testing.assert_allclose(got[name], wanted[name], atol=1e-4)


@pytest.mark.parametrize(
    "body",
    [
        "return self.head(x.mean(dim=(2, 3))) if x.sum() > 0 else self.head(x.amax(dim=(2, 3)))",
        "return self.head(x.mean(dim=(2, 3))) + torch.linalg.lstsq(x[:, 0], x[:, 1])[0][:, 0, :1]",
    ],
    ids=["control flow by data", "operator without ONNX"],
)
def test_what_cannot_be_expressed_is_said(write: Write, tmp_path: Path, body: str) -> None:
    model = MODEL_PY.replace("return self.head(x.mean(dim=(2, 3)))", body)
    target = tmp_path / "fp32.onnx"
    with pytest.raises(ConversionError, match="export to ONNX failed") as caught:
        export(write(model=model), target)
    assert caught.value.exit_code == 1
    assert "expressible in ONNX" in caught.value.hint
    assert not target.exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({'axes = ["batch", 10]': 'axes = ["batch", 12]'}, "the recipe says"),
        ({'axes = ["batch", 10]': 'axes = ["batch", 2, 10]'}, "the recipe says"),
        ({'name = "logits"\ndtype = "float32"': 'name = "logits"\ndtype = "float64"'},
         "exported as float32, the recipe says float64"),
        ({"[data]": '[[outputs]]\nname = "more"\ndtype = "float32"\naxes = ["batch", 2]\n[data]'},
         "forward returns 1 outputs, the recipe names 2"),
    ],
)  # fmt: skip
def test_outputs_must_be_what_the_recipe_says(
    write: Write, tmp_path: Path, change: dict[str, str], sentence: str
) -> None:
    with pytest.raises(RecipeError, match=sentence):
        export(write(change), tmp_path / "fp32.onnx")
    assert not (tmp_path / "fp32.onnx").exists()


def test_a_batch_fixed_by_a_reshape_is_found(write: Write, tmp_path: Path) -> None:
    model = MODEL_PY.replace("x.mean(dim=(2, 3))", "x.mean(dim=(2, 3)).reshape(2, 16)")
    with pytest.raises((ConversionError, RecipeError)):
        export(write(model=model), tmp_path / "fp32.onnx")
    assert not (tmp_path / "fp32.onnx").exists()
