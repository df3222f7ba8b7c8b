from pathlib import Path

import pytest
from pydantic import ValidationError

from clickclean_export.errors import RecipeError
from clickclean_export.recipe import Recipe, load_recipe
from clickclean_export.torch_model import load_module
from tests.conftest import ROOT
from tests.export.conftest import Write


def test_the_reference_recipe_says_what_the_project_promises() -> None:
    recipe = load_recipe(ROOT / "examples" / "digits" / "recipe.toml")
    assert recipe.model.name == "digits"
    assert (recipe.gates.accuracy_min, recipe.target.mean_ms) == (0.95, 200.0)
    assert recipe.prediction == "logits"


def test_defaults_are_the_promised_ones(write: Write) -> None:
    gates = "accuracy_min = 0.0\nagreement_min = 0.0\nint8_accuracy_ratio_min = 0.0"
    recipe = load_recipe(write({gates: ""}))
    assert recipe.gates.accuracy_min == 0.95
    assert recipe.gates.agreement_min == recipe.gates.int8_accuracy_ratio_min == 0.99
    assert recipe.target.mean_ms == 200.0


def test_a_recipe_is_frozen(write: Write) -> None:
    recipe = load_recipe(write())
    with pytest.raises(ValidationError, match="frozen"):
        recipe.model.name = "other"


def test_a_recipe_survives_json(write: Write) -> None:
    recipe = load_recipe(write())
    again = Recipe.model_validate({**recipe.model_dump(mode="json"), "path": recipe.path})
    assert again == recipe


@pytest.mark.parametrize(
    ("change", "sentence", "hint"),
    [
        ({'checkpoint = "tiny.pt"': 'checkpont = "tiny.pt"'}, "'model.checkpont'", "'checkpoint'"),
        ({"accuracy_min = 0.0\nagr": "acuracy_min = 0.0\nagr"}, "'gates.acuracy_min'",
         "'accuracy_min'"),
        ({"[gates]": "[gate]"}, "unknown key 'gate'", "'gates'"),
        ({"[serving]": "[serving]\nqueue_delay_ms = 1"}, "'serving.queue_delay_ms'",
         "'queue_delay_us'"),
        ({"[serving]": '[target]\nmean_ms = "200ms"\n[serving]'}, "'target.mean_ms'",
         "milliseconds"),
        ({"[serving]": "[serving]\nqueue_delay_us = 0.5"}, "'serving.queue_delay_us'", ""),
        ({"max_batch = 32": "max_batch = 0"}, "'serving.max_batch'", ""),
        ({"max_batch = 32": 'max_batch = "32"'}, "'serving.max_batch'", ""),
        ({"accuracy_min = 0.0\nagr": "accuracy_min = 95\nagr"}, "'gates.accuracy_min'", ""),
        ({'dtype = "float32"\naxes = ["batch", 1': 'dtype = "fp32"\naxes = ["batch", 1'},
         "'inputs[0].dtype'", "float32"),
        ({'["batch", 1, 8, 8]': "[1, 1, 8, 8]"}, 'the first axis must be "batch"', ""),
        ({'["batch", 1, 8, 8]': '["batch", 1, "height", 8]'}, "axis 'height' has no range",
         ""),
        ({"[quantize]": "[axes.width]\nopt = 1\nmax = 2\n[quantize]"}, "no input has an axis", ""),
        ({"[quantize]": "[axes.batch]\nopt = 4\nmax = 2\n[quantize]"}, "min <= opt <= max", ""),
        ({'name = "logits"': 'name = "image"'}, "'image' is used twice", ""),
        ({'calibration = "data:calibration"\n': ""}, "'data.calibration' is missing", ""),
        ({'evaluation = "data:evaluation"':
          'evaluation = "data:evaluation"\nprediction = "classes"'}, "'classes' is not an output",
         ""),
        ({'methods = ["max"]': 'methods = ["minmax"]'}, "'quantize.methods[0]'", ""),
        ({'factory = "model:build"': 'factory = "model.build"'}, "'model.factory'", ""),
        ({'name = "tiny"': 'name = "../tiny"'}, "'model.name'", ""),
        ({'name = "tiny"': 'name = "tiny.challenger"'}, "stands for a version of 'tiny'", ""),
        ({'name = "tiny"': 'name = "tiny.v12"'}, "'model.name'", ""),
    ],
)  # fmt: skip
def test_a_bad_recipe_is_explained(
    write: Write, change: dict[str, str], sentence: str, hint: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(change))
    assert sentence in str(caught.value)
    assert hint in caught.value.hint
    assert caught.value.exit_code == 2


def test_a_missing_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no such file"):
        load_recipe(tmp_path / "recipe.toml")


def test_a_file_that_is_not_toml(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text("model: tiny")
    with pytest.raises(RecipeError, match="is not TOML"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("factory", "sentence"),
    [
        ("modell:build", "cannot be imported"),
        ("model:bild", "no function 'bild'"),
        ("model:fail", "raised ValueError: no weights"),
        ("model:number", "returned int, not a torch.nn.Module"),
    ],
)
def test_a_factory_that_gives_no_module(write: Write, factory: str, sentence: str) -> None:
    from tests.export.conftest import MODEL_PY

    more = "\ndef fail():\n    raise ValueError('no weights')\n\ndef number():\n    return 3\n"
    recipe = load_recipe(write({"model:build": factory}, model=MODEL_PY + more))
    with pytest.raises(RecipeError, match=sentence):
        load_module(recipe)


def test_an_input_that_forward_does_not_know(write: Write) -> None:
    recipe = load_recipe(write({'name = "image"': 'name = "picture"'}))
    with pytest.raises(RecipeError, match=r"'picture' is not a parameter of forward\(image\)"):
        load_module(recipe)


def test_two_recipes_with_the_same_module_names_do_not_mix(write: Write, tmp_path: Path) -> None:
    first = load_recipe(write())
    load_module(first)
    other = tmp_path / "other"
    other.mkdir()
    (other / "recipe.toml").write_text(first.path.read_text())
    (other / "model.py").write_text("def build():\n    return 'the other one'\n")
    with pytest.raises(RecipeError, match="returned str"):
        load_module(load_recipe(other / "recipe.toml"))


ENGINE = "[engine]\n[[engine.profiles]]\nbatch = {min = 1, opt = 4, max = 8}\n"


def test_profiles_of_an_engine_survive_json(write: Write) -> None:
    second = "[[engine.profiles]]\nbatch = {min = 8, opt = 32, max = 32}\n[serving]"
    recipe = load_recipe(write({"[serving]": ENGINE + second}))
    assert [profile["batch"].opt for profile in recipe.engine.profiles] == [4, 32]
    again = Recipe.model_validate({**recipe.model_dump(mode="json"), "path": recipe.path})
    assert again == recipe


@pytest.mark.parametrize(
    ("engine", "sentence"),
    [
        (ENGINE, "no engine profile reaches serving.max_batch, 32"),
        (ENGINE.replace("batch", "length"), r"profiles\[0\].length is no free axis .* batch"),
        (ENGINE.replace("max = 8", "max = 64"), r"leaves the range of the axis, 1 to 32"),
        ("[engine]\noptimization_level = 6\n", "engine.optimization_level"),
        ("[engine]\nfp16 = true\n", "unknown key 'engine.fp16'"),
        ("[engine]\nhardware_compatibility = 'ampere'\n", "engine.hardware_compatibility"),
    ],
)
def test_a_bad_engine_section_is_explained(engine: str, sentence: str, write: Write) -> None:
    with pytest.raises(RecipeError, match=sentence):
        load_recipe(write({"[serving]": f"{engine}[serving]"}))
