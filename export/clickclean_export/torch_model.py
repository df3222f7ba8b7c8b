"""The user's module, filled from a checkpoint without running code out of it."""

import inspect
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clickclean_export.errors import CheckpointError, MissingExtraError, RecipeError
from clickclean_export.recipe import Recipe
from clickclean_export.user_code import modules_beside, resolve

if TYPE_CHECKING:
    import torch

_SHOWN = 3


def load_module(recipe: Recipe) -> "torch.nn.Module":
    """Build the module with the recipe's factory and fill it, in evaluation mode.

    Raises:
        RecipeError: the factory cannot be imported, raises, or returns no module.
        CheckpointError: the checkpoint is missing, unsafe, broken, or does not fit.
    """
    try:
        import torch
    except ImportError:
        raise MissingExtraError("torch") from None
    factory = resolve(recipe, "model.factory", recipe.model.factory)
    try:
        with modules_beside(recipe):
            module = factory()
    except Exception as error:
        raise RecipeError(
            recipe.path,
            f"model.factory '{recipe.model.factory}' raised {type(error).__name__}: {error}",
            hint="the factory is called without arguments",
        ) from error
    if not isinstance(module, torch.nn.Module):
        raise RecipeError(
            recipe.path,
            f"model.factory '{recipe.model.factory}' returned {type(module).__name__},"
            " not a torch.nn.Module",
        )
    _check_forward(recipe, module)
    _fill(module, load_state_dict(recipe.checkpoint), recipe.checkpoint)
    return module.eval()


def load_state_dict(path: Path) -> dict[str, "torch.Tensor"]:
    """Read a state dict from ``.safetensors``, or from ``.pt`` with ``weights_only``.

    Raises:
        CheckpointError: missing, truncated, a pickle that would run code, or no state dict.
    """
    import torch

    if not path.is_file():
        raise CheckpointError(path, "no such file", hint="paths in a recipe are relative to it")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        with warnings.catch_warnings():
            # It advises on pickle protocols; what it cannot read, it refuses below.
            warnings.simplefilter("ignore")
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if zipfile.is_zipfile(path) or b"\x80" in path.read_bytes()[:1]:
            raise CheckpointError(
                path,
                "it is a pickle that would run code when loaded"
                f" ({_first_sentence(error)}), and is refused",
                hint="save weights alone: torch.save(module.state_dict(), path), or safetensors",
            ) from None
        raise CheckpointError(path, "it is not a PyTorch checkpoint") from None
    except (RuntimeError, EOFError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            path, f"it is truncated or not a PyTorch checkpoint ({_first_sentence(error)})"
        ) from None
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in loaded.items()
    ):
        raise CheckpointError(
            path,
            f"it holds {type(loaded).__name__}, not a state dict of named tensors",
            hint="torch.save(module.state_dict(), path)",
        )
    return loaded


def _read_safetensors(path: Path) -> dict[str, "torch.Tensor"]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, torch.Tensor] = load_file(path, device="cpu")
    except SafetensorError as error:
        raise CheckpointError(path, f"it is not a valid safetensors file ({error})") from None
    return tensors


def _fill(module: "torch.nn.Module", state: dict[str, "torch.Tensor"], path: Path) -> None:
    own = module.state_dict()
    missing = sorted(set(own) - set(state))
    unexpected = sorted(set(state) - set(own))
    problems = []
    if missing:
        problems.append(f"missing keys: {_some(missing)}")
    if unexpected:
        problems.append(f"unexpected keys: {_some(unexpected)}")
    misshaped = [
        f"{key} is {list(state[key].shape)}, the module has {list(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    if misshaped:
        problems.append(f"wrong shapes: {_some(misshaped)}")
    if problems:
        raise CheckpointError(
            path,
            f"it does not fit the module; {'; '.join(problems)}",
            hint="was it trained with this factory and the same settings?",
        )
    module.load_state_dict(state)


def _check_forward(recipe: Recipe, module: "torch.nn.Module") -> None:
    """Inputs are passed by name, so ``forward`` must know the names."""
    parameters = inspect.signature(module.forward).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return
    names = [tensor.name for tensor in recipe.inputs]
    strangers = [name for name in names if name not in parameters]
    if strangers:
        raise RecipeError(
            recipe.path,
            f"input '{strangers[0]}' is not a parameter of forward({', '.join(parameters)})",
            hint="name the inputs in the recipe as the parameters of forward",
        )
    needed = [
        name
        for name, parameter in parameters.items()
        if parameter.default is inspect.Parameter.empty
        and parameter.kind not in {inspect.Parameter.VAR_POSITIONAL}
        and name not in names
    ]
    if needed:
        raise RecipeError(
            recipe.path, f"forward needs '{needed[0]}', which is not among the recipe's inputs"
        )


def named_outputs(recipe: Recipe, result: Any) -> dict[str, "torch.Tensor"]:
    """Name what ``forward`` returned (a tensor, a tuple, or a mapping) as the recipe does.

    Raises:
        RecipeError: the number or the names of the outputs differ.
    """
    names = [tensor.name for tensor in recipe.outputs]
    if isinstance(result, dict):
        absent = [name for name in names if name not in result]
        if absent or len(result) != len(names):
            raise RecipeError(
                recipe.path,
                f"forward returns outputs {sorted(result)}, the recipe names {names}",
            )
        return {name: result[name] for name in result}
    values = list(result) if isinstance(result, tuple | list) else [result]
    if len(values) != len(names):
        raise RecipeError(
            recipe.path, f"forward returns {len(values)} outputs, the recipe names {len(names)}"
        )
    return dict(zip(names, values, strict=True))


def _some(items: list[str]) -> str:
    shown = ", ".join(items[:_SHOWN])
    return f"{shown} and {len(items) - _SHOWN} more" if len(items) > _SHOWN else shown


def _first_sentence(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text.split(". ")[0][:160] or type(error).__name__
