"""`publish` has TensorRT-RTX compile the INT8 file, and refuses what TensorRT would not take."""

from pathlib import Path
from typing import Any

import pytest

from clickclean_export.engine import check
from clickclean_export.engine.proof import PROVES_NOT
from clickclean_export.errors import EngineRefused
from clickclean_export.manifest import read_manifest
from clickclean_export.publish import publish
from clickclean_export.report import write_report
from tests.conftest import PublishedModels
from tests.export.conftest import MODEL_PY, Write


def test_a_model_that_tensorrt_cannot_have_is_not_published(write: Write, tmp_path: Path) -> None:
    """ONNX Runtime and OpenVINO take a Fourier transform; TensorRT has none."""
    spectrum = "torch.fft.rfft2(image, norm='ortho').real.mean() * 1e-3"
    model = MODEL_PY.replace("self.conv(image)", f"self.conv(image + {spectrum})")
    repository = tmp_path / "repository"
    with pytest.raises(EngineRefused, match="DFT") as caught:
        publish(write(model=model), repository, serve=None)
    assert caught.value.exit_code == 3
    assert caught.value.findings[0].where
    assert not (repository / "tiny").exists()


def test_without_the_extra_it_is_said_that_nothing_was_checked(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "FLAVOUR", "a_library_that_is_not_installed")
    repository = tmp_path / "repository"
    published = publish(write(), repository, serve=None)
    assert published.manifest.engine_check is None
    page = tmp_path / "report.html"
    figures = dict(write_report(repository, "tiny", None, page))
    assert figures["TensorRT compile check, without a GPU"] == "not run"
    assert "compile check was not run" in page.read_text()


def test_the_report_says_what_the_check_is_worth(
    published: PublishedModels, tmp_path: Path
) -> None:
    repository, page = published.repository, tmp_path / "report.html"
    checked = read_manifest(repository / "digits" / "1").engine_check
    assert checked is not None
    write_report(repository, "digits", None, page)
    text = page.read_text()
    assert f"TensorRT-RTX {checked.library_version} took the INT8 file" in text
    assert all(line in text for line in PROVES_NOT)
    assert "No plan has been built for this version" in text


TRANSFORMER_PY = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(8, 64)
        self.block = nn.TransformerEncoderLayer(64, 4, 128, activation="gelu", batch_first=True)
        self.head = nn.Linear(64, 10)

    def forward(self, image):
        return self.head(self.block(self.embed(image[:, 0])).mean(dim=1))

def build():
    torch.manual_seed(0)
    return Net()
"""


def test_a_transformer_block_goes_the_whole_way(write: Write, tmp_path: Path) -> None:
    """Exported by PyTorch, quantised by ModelOpt, compiled by TensorRT-RTX."""
    import torch

    recipe = write(model=TRANSFORMER_PY)
    scope: dict[str, Any] = {}
    exec(compile(TRANSFORMER_PY, "model.py", "exec"), scope)  # noqa: S102
    torch.save(scope["build"]().state_dict(), recipe.with_name("tiny.pt"))
    published = publish(recipe, tmp_path / "repository", serve=None)
    checked = published.manifest.engine_check
    assert checked is not None
    assert checked.warnings == ()
    assert published.manifest.quantization.quantized_ops["MatMul"] >= 2
