import json
import shutil
from pathlib import Path

import pytest

from clickclean_client.protocol import parse_model_config
from clickclean_client.slots import AXES
from clickclean_export.errors import GateRefused, IntegrityError, VersionNotFoundError
from clickclean_export.manifest import read_manifest
from clickclean_export.promote import promote
from clickclean_export.repository import CPU_CONFIG, GPU_CONFIG, Repository
from tests.conftest import PublishedModels
from tests.models.versions import add_version


@pytest.fixture
def repository(published: PublishedModels, tmp_path: Path) -> Path:
    """Two versions of the digits, the first promoted."""
    root = published.copy(tmp_path / "repository", "digits")
    add_version(root / "digits", 2)
    return root


def live(root: Path) -> list[int]:
    text = (root / "digits" / CPU_CONFIG).read_text()
    return list(parse_model_config(text).version_policy.specific.versions)


def edit(path: Path, text: str) -> None:
    path.chmod(0o644)
    path.write_text(text)


def test_forth_and_back(repository: Path) -> None:
    assert promote(repository, "digits", 2).previous == 1
    assert Repository(repository).promoted("digits") == 2
    assert live(repository) == [2]
    gpu = parse_model_config((repository / "digits" / GPU_CONFIG).read_text())
    assert list(gpu.version_policy.specific.versions) == [2]
    cpu = parse_model_config((repository / "digits" / CPU_CONFIG).read_text())
    for config in (cpu, gpu):
        axes = json.loads(config.parameters[AXES].string_value)
        assert axes == {
            "tensors": {"image": ["batch", 1, 8, 8], "logits": ["batch", 10]},
            "ranges": {},
        }
    assert promote(repository, "digits", 1).previous == 2
    assert live(repository) == [1]


def test_published_is_not_promoted(repository: Path) -> None:
    shutil.rmtree(repository / "digits" / "configs")
    assert Repository(repository).promoted("digits") is None


@pytest.mark.parametrize("name", ["model.onnx", "fp32.onnx", "golden.npz", "misread.npz"])
def test_one_altered_byte_is_refused_by_name(repository: Path, name: str) -> None:
    path = repository / "digits" / "2" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match=f"{name}: is not what was published") as caught:
        promote(repository, "digits", 2)
    assert caught.value.exit_code == 3
    assert live(repository) == [1]


def test_a_missing_file_and_a_stranger(repository: Path) -> None:
    folder = repository / "digits" / "2"
    (folder / "model.py").write_text("print('hello')")
    with pytest.raises(IntegrityError, match=r"model\.py: was not published with this version"):
        promote(repository, "digits", 2)
    (folder / "model.py").unlink()
    (folder / "model.onnx").unlink()
    with pytest.raises(IntegrityError, match=r"model\.onnx: is missing"):
        promote(repository, "digits", 2)


@pytest.mark.parametrize("text", ["", "{}", '{"format": 2}', "not json"])
def test_a_broken_manifest(repository: Path, text: str) -> None:
    path = repository / "digits" / "2" / "manifest.json"
    edit(path, text)
    with pytest.raises(IntegrityError, match="is not a manifest"):
        promote(repository, "digits", 2)
    path.unlink()
    with pytest.raises(IntegrityError, match=r"manifest\.json: is missing"):
        promote(repository, "digits", 2)


def test_a_recorded_failure_is_never_promoted(repository: Path) -> None:
    path = repository / "digits" / "2" / "manifest.json"
    tree = json.loads(path.read_text())
    tree["hops"][2]["gates"][1]["outcome"] = "fail"
    edit(path, json.dumps(tree))
    with pytest.raises(GateRefused, match="int8 onnx"):
        promote(repository, "digits", 2)
    assert live(repository) == [1]


def test_versions_and_models_that_do_not_exist(repository: Path) -> None:
    with pytest.raises(VersionNotFoundError, match="version 9 of model 'digits'"):
        promote(repository, "digits", 9)
    with pytest.raises(VersionNotFoundError, match="model 'digit'"):
        promote(repository, "digit")


def test_the_manifest_tells_where_a_version_comes_from(repository: Path) -> None:
    directory = repository / "digits" / "1"
    manifest = read_manifest(directory)
    assert set(manifest.files) == {p.name for p in directory.iterdir()} - {"manifest.json"}
    assert manifest.data["calibration"].rows == manifest.data["evaluation"].rows == 500
    assert manifest.checkpoint.size_bytes > 500_000
    assert {"torch", "onnx", "openvino", "nvidia-modelopt", "python"} <= set(manifest.tools)
    assert manifest.recipe_of(directory).model.name == "digits"
    assert [hop.result.hop for hop in manifest.hops] == [
        "torch",
        "onnx",
        "int8 onnx",
        "cpu engine",
        "served",
    ]
