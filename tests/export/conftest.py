"""Small recipes on disk, to be broken one thing at a time."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

MODEL_PY = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 16, 3, padding=1)
        self.mix = nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Linear(16, 10)

    def forward(self, image):
        x = torch.relu(self.mix(torch.relu(self.conv(image))))
        return self.head(x.mean(dim=(2, 3)))

def build():
    torch.manual_seed(0)
    return Net()
"""

DATA_PY = """
import numpy as np
from sklearn.datasets import load_digits

def rows(start, stop):
    digits = load_digits()
    images = (digits.images[start:stop, None] / 16).astype(np.float32)
    return images, digits.target[start:stop].astype(np.int64)

def calibration():
    images, _ = rows(0, 120)
    for start in range(0, 120, 30):
        yield {"image": images[start : start + 30]}

def evaluation():
    images, labels = rows(200, 340)
    for start in range(0, 140, 35):
        yield {"image": images[start : start + 35], "label": labels[start : start + 35]}
"""

RECIPE = """
[model]
name = "tiny"
factory = "model:build"
checkpoint = "tiny.pt"

[[inputs]]
name = "image"
dtype = "float32"
axes = ["batch", 1, 8, 8]

[[outputs]]
name = "logits"
dtype = "float32"
axes = ["batch", 10]

[data]
calibration = "data:calibration"
evaluation = "data:evaluation"

[quantize]
methods = ["max"]

[gates]
accuracy_min = 0.0
agreement_min = 0.0
int8_accuracy_ratio_min = 0.0

[serving]
max_batch = 32
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write the tiny recipe with replacements ``old=new`` applied to its files; give its path."""

    def write_files(
        recipe: dict[str, str] | None = None,
        model: str = MODEL_PY,
        data: str = DATA_PY,
        *,
        checkpoint: bool = True,
    ) -> Path:
        text = RECIPE
        for old, new in (recipe or {}).items():
            assert old in text, f"{old!r} is not in the recipe"
            text = text.replace(old, new)
        # A folder of its own for each call: modules once imported are not read again.
        folder = tmp_path / f"tiny-{len(list(tmp_path.glob('tiny-*')))}"
        folder.mkdir()
        (folder / "recipe.toml").write_text(text)
        (folder / "model.py").write_text(model)
        (folder / "data.py").write_text(data)
        if checkpoint:
            import torch

            scope: dict[str, object] = {}
            exec(compile(MODEL_PY, "model.py", "exec"), scope)  # noqa: S102
            build = scope["build"]
            assert callable(build)
            torch.save(build().state_dict(), folder / "tiny.pt")
        return folder / "recipe.toml"

    return write_files


@pytest.fixture
def tiny(write: Write) -> SimpleNamespace:
    """The tiny recipe, unbroken, with what it loads."""
    from clickclean_export.dataset import load_calibration, load_evaluation
    from clickclean_export.recipe import load_recipe
    from clickclean_export.torch_model import load_module

    recipe = load_recipe(write())
    return SimpleNamespace(
        recipe=recipe,
        calibration=load_calibration(recipe),
        evaluation=load_evaluation(recipe),
        module=load_module(recipe),
    )
