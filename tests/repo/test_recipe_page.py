"""docs/recipe.md names every key of a recipe, with its default."""

import json
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from clickclean_export.recipe import Recipe
from tests.repo.sources import ROOT

NEEDED = "needed"


def documented() -> dict[str, str]:
    """Key to default, as the page's tables have them."""
    found = {}
    for line in (ROOT / "docs" / "recipe.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        if line.startswith("| `") and "." in cells[0]:
            found[cells[0]] = cells[2]
    return found


def real() -> dict[str, str]:
    """Key to default, as the code has them."""
    found = {}
    for name, section in Recipe.model_fields.items():
        for model in _models_in(section.annotation):
            for key, field in model.model_fields.items():
                found[f"{name}.{key}"] = _default(field)
    return found


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return NEEDED
    value = field.get_default(call_default_factory=True)
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def test_every_key_is_documented_with_its_default() -> None:
    assert documented() == real()
