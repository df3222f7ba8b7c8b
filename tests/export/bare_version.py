"""Versions of a few bytes with a real manifest: what is tested around them never runs a model."""

import tempfile
from pathlib import Path

from clickclean_export.engine.record import EngineRecord
from clickclean_export.gates import Gate, GatedHop
from clickclean_export.hops import HopResult
from clickclean_export.manifest import (
    DataRecord,
    FileRecord,
    Manifest,
    file_record,
    read_manifest,
    write_manifest,
)
from clickclean_export.quantize import Quantized
from clickclean_export.recipe import load_recipe
from clickclean_export.repository import CPU_CONFIG, Repository
from clickclean_export.triton_config import TritonConfig
from tests.export.conftest import RECIPE
from tests.models.plans import L4, add_plan

MODEL = "tiny"
NAMES = ("model.onnx", "fp32.onnx", "golden.npz", "misread.npz")


def bare_version(
    root: Path, number: int | None = None, *, model: str = MODEL, says: int | None = None
) -> Path:
    """Publish the next version, or another number's; its manifest may say a wrong number."""
    repository = Repository(root)
    with repository.staging(model) as staged, tempfile.TemporaryDirectory() as folder:
        version = repository.next_version(model) if number is None else number
        text = Path(folder) / "recipe.toml"
        text.write_text(RECIPE.replace('name = "tiny"', f'name = "{model}"'))
        files = staged / "version"
        files.mkdir()
        for name in NAMES:
            (files / name).write_bytes(f"{name} of {model}:{version}".encode() * 50)
        result = HopResult(
            hop="int8 onnx",
            samples=100,
            right=98,
            agreeing=99,
            finite=True,
            errors={},
            both_right=98,
            float_only=0,
            candidate_only=0,
        )
        manifest = Manifest(
            model=model,
            version=version if says is None else says,
            created="2026-11-23T12:00:00+00:00",
            files={name: file_record(files / name) for name in sorted(NAMES)},
            recipe=load_recipe(text).model_dump(mode="json"),
            checkpoint=FileRecord("0" * 64, 1),
            data={"evaluation": DataRecord("data:evaluation", 100, "0" * 64)},
            quantization=Quantized("max", (), {}, ()),
            hops=(GatedHop(result, (Gate("accuracy", "share", 0.98, 0.95, None, "pass"),)),),
            hops_not_run=(),
            speed=(),
            tools={},
            machine={},
        )
        write_manifest(manifest, files)
        assert repository.add(model, version, files)
    return repository.version_dir(model, version)


def bare_plan(version_dir: Path) -> EngineRecord:
    return add_plan(version_dir, L4)


def set_promoted(root: Path, number: int, model: str = MODEL) -> None:
    directory = root / model / str(number)
    recipe = read_manifest(directory).recipe_of(directory)
    path = root / model / CPU_CONFIG
    path.parent.mkdir(exist_ok=True)
    path.write_text(TritonConfig.from_recipe(recipe, "cpu", (number,)).to_text())


def rewrite(path: Path, content: bytes) -> None:
    """Change a published file, which is read-only."""
    path.chmod(0o644)
    path.write_bytes(content)
