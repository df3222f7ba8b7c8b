import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from clickclean_export.errors import CheckpointError
from clickclean_export.recipe import load_recipe
from clickclean_export.torch_model import load_module
from tests.export.conftest import Write


def state(recipe: Path) -> dict[str, torch.Tensor]:
    loaded: dict[str, torch.Tensor] = torch.load(recipe.parent / "tiny.pt", weights_only=True)
    return loaded


def refusal(recipe: Path) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        load_module(load_recipe(recipe))
    assert caught.value.exit_code == 2
    return caught.value


def test_a_state_dict_fills_the_module(write: Write) -> None:
    recipe = write()
    module = load_module(load_recipe(recipe))
    assert not module.training
    assert torch.equal(module.state_dict()["head.weight"], state(recipe)["head.weight"])


def test_a_state_dict_inside_a_training_checkpoint(write: Write) -> None:
    recipe = write()
    torch.save({"state_dict": state(recipe), "epoch": 3}, recipe.parent / "tiny.pt")
    load_module(load_recipe(recipe))


def test_safetensors(write: Write) -> None:
    recipe = write({"tiny.pt": "tiny.safetensors"})
    save_file(state(recipe), recipe.parent / "tiny.safetensors")
    load_module(load_recipe(recipe))


def test_a_missing_file(write: Write) -> None:
    assert "no such file" in str(refusal(write(checkpoint=False)))


@pytest.mark.parametrize("kept", [0, 10, 3000])
def test_a_truncated_file(write: Write, kept: int) -> None:
    recipe = write()
    path = recipe.parent / "tiny.pt"
    path.write_bytes(path.read_bytes()[:kept])
    assert "truncated or not a PyTorch checkpoint" in str(refusal(recipe))


def test_truncated_safetensors(write: Write) -> None:
    recipe = write({"tiny.pt": "tiny.safetensors"})
    path = recipe.parent / "tiny.safetensors"
    save_file(state(recipe), path)
    path.write_bytes(path.read_bytes()[:-100])
    assert "not a valid safetensors file" in str(refusal(recipe))


class Intruder:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.write_text, (self.path, "ran"))


@pytest.mark.parametrize("how", ["torch.save", "pickle"])
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(
    write: Write, tmp_path: Path, how: str
) -> None:
    recipe = write()
    trap = Intruder(tmp_path / "ran")
    if how == "pickle":
        (recipe.parent / "tiny.pt").write_bytes(pickle.dumps({"weights": trap}))
    else:
        torch.save({"weights": trap}, recipe.parent / "tiny.pt")
    error = refusal(recipe)
    assert "would run code" in str(error)
    assert "state_dict" in error.hint
    assert not (tmp_path / "ran").exists()


def test_missing_unexpected_and_misshaped_keys_are_named(write: Write) -> None:
    recipe = write()
    weights = state(recipe)
    weights["header.bias"] = weights.pop("head.bias")
    weights["conv.weight"] = torch.zeros(16, 3, 3, 3)
    torch.save(weights, recipe.parent / "tiny.pt")
    text = str(refusal(recipe))
    assert "missing keys: head.bias" in text
    assert "unexpected keys: header.bias" in text
    assert "conv.weight is [16, 3, 3, 3], the module has [16, 1, 3, 3]" in text


def test_something_that_is_no_state_dict(write: Write) -> None:
    recipe = write()
    torch.save([1, 2, 3], recipe.parent / "tiny.pt")
    assert "not a state dict" in str(refusal(recipe))
