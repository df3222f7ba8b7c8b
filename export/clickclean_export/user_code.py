"""Functions of the user, named ``module:function`` and found beside the recipe."""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clickclean_export.errors import RecipeError, nearest
from clickclean_export.recipe import Recipe


@contextmanager
def modules_beside(recipe: Recipe) -> Iterator[None]:
    """Make the recipe's folder importable, and forget its modules afterwards.

    Recipes use short module names (``model``, ``data``); two recipes read by one process must not
    see each other's.
    """
    folder = str(recipe.directory)
    sys.path.insert(0, folder)
    _forget_modules(other_than=recipe.directory)
    try:
        yield
    finally:
        sys.path.remove(folder)


def resolve(recipe: Recipe, key: str, reference: str) -> Callable[..., Any]:
    """Return the function that ``reference`` names.

    Raises:
        RecipeError: the module cannot be imported, or has no such function.
    """
    module_name, _, name = reference.partition(":")
    with modules_beside(recipe):
        try:
            module = importlib.import_module(module_name)
        except Exception as error:
            raise RecipeError(
                recipe.path,
                f"{key} '{reference}' cannot be imported ({type(error).__name__}: {error})",
                hint=f"modules are looked up in {recipe.directory}",
            ) from error
    function = getattr(module, name, None)
    if not callable(function):
        near = nearest(name, [n for n in vars(module) if callable(getattr(module, n))])
        raise RecipeError(
            recipe.path,
            f"{key} '{reference}': module '{module_name}' has no function '{name}'",
            hint=f"did you mean '{near}'?" if near else f"looked in {module.__file__}",
        )
    found: Callable[..., Any] = function
    return found


_RECIPE_FOLDERS: set[Path] = set()


def _forget_modules(*, other_than: Path) -> None:
    stale = {folder for folder in _RECIPE_FOLDERS if folder != other_than}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and Path(file).parent in stale:
            del sys.modules[name]
    _RECIPE_FOLDERS.difference_update(stale)
    _RECIPE_FOLDERS.add(other_than)
