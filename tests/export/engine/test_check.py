"""The check without a GPU, through TensorRT-RTX itself."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from clickclean_export.engine.check import check_file, check_onnx, check_version
from clickclean_export.engine.options import BuildOptions, Range
from clickclean_export.engine.profiles import AxisError, parse_axes, parse_axis
from clickclean_export.errors import EngineRefused, IntegrityError
from clickclean_export.recipe import AxisRange
from tests.conftest import Command, PublishedModels
from tests.models.onnx_files import (
    BROKEN,
    Broken,
    conv_block,
    resnet50_qdq,
    transformer_block_qdq,
)

BATCH = {"batch": AxisRange(min=1, opt=4, max=8)}
GOOD: dict[str, tuple[Callable[[], onnx.ModelProto], list[str]]] = {
    "one convolution": (conv_block, ["batch=1:4:8"]),
    "ResNet-50's shape": (resnet50_qdq, ["batch=1:8:8"]),
    "a transformer block, two free axes": (
        transformer_block_qdq,
        ["batch=1:4:8", "length=1:64:128"],
    ),
}


def save(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("name", GOOD)
def test_a_good_file_passes(name: str, tmp_path: Path) -> None:
    build, axes = GOOD[name]
    shares: list[float] = []
    checked = check_file(
        save(build(), tmp_path),
        dict(map(parse_axis, axes)),
        lambda _, share: shares.append(share),
    )
    assert checked.library == "tensorrt_rtx"
    assert checked.plan_bytes > 100_000
    assert checked.layers > 5
    assert checked.warnings == ()
    assert shares == sorted(shares)
    assert 0 <= shares[0] <= shares[-1] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"], "nothing stays"


@pytest.mark.parametrize("broken", BROKEN.values(), ids=lambda broken: broken.name)
def test_a_broken_file_is_refused_for_the_right_reason(broken: Broken, tmp_path: Path) -> None:
    with pytest.raises(EngineRefused) as caught:
        check_file(save(broken.build(), tmp_path), BATCH)
    assert {finding.code for finding in caught.value.findings} == {broken.code}
    assert caught.value.findings[0].where == broken.where
    assert caught.value.exit_code == 3
    assert caught.value.hint


def test_a_free_axis_needs_a_range(tmp_path: Path) -> None:
    with pytest.raises(EngineRefused, match="'length' is free") as caught:
        check_file(save(transformer_block_qdq(), tmp_path), BATCH)
    assert [finding.code for finding in caught.value.findings] == ["axis-without-range"]
    assert "--axis" in caught.value.hint


def test_a_range_for_no_axis_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(EngineRefused, match="no input has such a free axis") as caught:
        check_file(save(conv_block(), tmp_path), {**BATCH, "lenght": BATCH["batch"]})
    assert "batch" in caught.value.hint


PROFILES = {
    "an input is missing": ({}, "input 'x': has no range in it"),
    "an input too many": (
        {"x": Range((1, 3, 8, 8), (1, 3, 8, 8), (2, 3, 8, 8)), "y": Range((1,), (1,), (1,))},
        "input 'y': is no input of the file",
    ),
    "an axis is missing": (
        {"x": Range((1, 3, 8), (1, 3, 8), (2, 3, 8))},
        "has 4 axes, the profile 3",
    ),
    "a fixed axis is free in it": (
        {"x": Range((1, 3, 8, 8), (1, 3, 8, 8), (2, 3, 16, 8))},
        "axis 2 is fixed at 8 in the file, and 8 to 16 wanted",
    ),
}


@pytest.mark.parametrize("case", PROFILES)
def test_a_profile_that_does_not_fit_is_refused(case: str, tmp_path: Path) -> None:
    profile, words = PROFILES[case]
    with pytest.raises(EngineRefused, match=words):
        check_onnx(save(conv_block(), tmp_path), [profile], BuildOptions())


def test_several_profiles_are_compiled(tmp_path: Path) -> None:
    shapes = [(batch, 3, 8, 8) for batch in (1, 8, 32)]
    profiles = [{"x": Range(shapes[0], shape, shape)} for shape in shapes]
    assert check_onnx(save(conv_block(), tmp_path), profiles, BuildOptions()).profiles == 3


def test_a_workspace_that_is_too_small_is_said(tmp_path: Path) -> None:
    big = {"image": Range((32, 3, 224, 224), (32, 3, 224, 224), (32, 3, 224, 224))}
    with pytest.raises(EngineRefused, match="memory that the builder may use"):
        check_onnx(save(resnet50_qdq(), tmp_path), [big], BuildOptions(workspace_mib=1))


def test_what_tensorrt_rtx_lacks_is_said(tmp_path: Path) -> None:
    profile = {"x": Range((1, 3, 8, 8), (1, 3, 8, 8), (2, 3, 8, 8))}
    options = BuildOptions(version_compatible=True, hardware_compatibility="ampere_plus")
    checked = check_onnx(save(conv_block(), tmp_path), [profile], options)
    assert checked.not_checked == ("version_compatible", "hardware_compatibility = ampere_plus")


@pytest.mark.parametrize("model", ["digits", "strokes"])
def test_published_versions_pass(model: str, published: PublishedModels) -> None:
    number, checked = check_version(published.repository, model)
    assert number == 1
    assert checked.warnings == ()
    recorded = getattr(published, model)["engine_check"]
    assert recorded["library_version"] == checked.library_version, "publish ran the same check"
    assert recorded["layers"] == checked.layers


def test_a_version_that_changed_is_not_checked(published: PublishedModels, tmp_path: Path) -> None:
    repository = published.copy(tmp_path, "digits")
    (repository / "digits" / "1" / "golden.npz").unlink()
    with pytest.raises(IntegrityError):
        check_version(repository, "digits")


@pytest.mark.parametrize("text", ["batch", "batch=", "batch=4:2:8", "=1", "batch=0", "batch=1:2"])
def test_an_axis_that_is_no_range_is_a_usage_error(text: str) -> None:
    with pytest.raises(AxisError) as caught:
        parse_axis(text)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "size", [str(2**31), "9" * 5000, f"1:2:{'9' * 5000}", f"1:{2**31}:{2**31}"]
)
def test_a_size_that_no_axis_can_have_is_a_usage_error(size: str) -> None:
    with pytest.raises(AxisError, match="a size is 2147483647 at most") as caught:
        parse_axis(f"batch={size}")
    assert caught.value.exit_code == 2
    assert len(str(caught.value)) < 150


def test_the_largest_size_is_one(tmp_path: Path) -> None:
    assert parse_axis(f"batch=1:1:000{2**31 - 1}")[1].max == 2**31 - 1


@pytest.mark.parametrize("name", ["배치", "a=b", "n:1", "?0", "a b", "="])
def test_an_axis_may_have_any_name(name: str, tmp_path: Path) -> None:
    axes = parse_axes([f"{name}=1:2:4"])
    assert axes == {name: AxisRange(min=1, opt=2, max=4)}
    checked = check_file(save(conv_block(inputs={"m": [name, 2]}), tmp_path), {**BATCH, **axes})
    assert checked.profiles == 1


def test_an_axis_has_one_range(clickclean: Command, tmp_path: Path) -> None:
    assert list(parse_axes(["batch=1", "length=2"])) == ["batch", "length"]
    path = save(conv_block(), tmp_path)
    done = clickclean("engine", "check", str(path), "--axis", "batch=1", "--axis", "batch=2")
    assert done.code == 2
    assert "error: axis 'batch=2': given twice" in done.err


def test_one_size_is_a_range(tmp_path: Path) -> None:
    assert parse_axis("batch=4") == ("batch", AxisRange(min=4, opt=4, max=4))


def test_the_command_says_what_is_proven(clickclean: Command, published: PublishedModels) -> None:
    done = clickclean("engine", "check", "digits:1", "-r", str(published.repository))
    assert done.code == 0
    assert "does not prove:\n  speed on a GPU" in done.out


def test_the_command_names_node_reason_and_remedy(clickclean: Command, tmp_path: Path) -> None:
    broken = BROKEN["int32-bias"]
    path = save(broken.build(), tmp_path)
    done = clickclean("engine", "check", str(path), "--axis", "batch=1:4:8")
    assert done.code == 3
    assert f"{broken.where}  [int32-bias]" in done.out
    assert "  do: keep the bias in float32" in done.out
    assert done.err.startswith("error: model.onnx: TensorRT refuses it: ")
    as_json = clickclean("engine", "check", str(path), "--axis", "batch=1:4:8", "--json")
    assert as_json.code == 3
    assert as_json.json["passes"] is False
    assert as_json.json["findings"][0]["code"] == "int32-bias"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["digits:x"], 2),
        (["digits:9"], 1),
        (["no-such-model"], 1),
        (["no-such-file.onnx"], 2),
        (["no-such-file.ONNX"], 2),
        (["no-such-file.onnx", "--json"], 2),
        (["/.onnx"], 2),
        (["/dev/null/model.onnx"], 2),
        (["n" * 300 + ".onnx"], 2),
        (["digits", "--axis", "batch=1"], 2),
        (["digits", "--axis", ""], 2),
        ([f"digits:{'9' * 5000}"], 2),
        ([""], 1),
        (["-"], 1),
        (["../digits"], 1),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_words(
    words: list[str], code: int, clickclean: Command, published: PublishedModels
) -> None:
    done = clickclean("engine", "check", *words, "-r", str(published.repository))
    assert done.code == code
    assert done.err.startswith("error: ")
    assert "Traceback" not in done.err
    assert "hint: " in done.err
    assert done.out == ""


def test_a_folder_is_no_file(clickclean: Command, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").mkdir()
    done = clickclean("engine", "check", str(tmp_path / "model.onnx"))
    assert done.code == 2
    assert f"error: {tmp_path}/model.onnx cannot be read (Is a directory)" in done.err
    assert "hint: give an ONNX file" in done.err


def test_a_file_is_known_by_its_suffix_in_any_case(clickclean: Command, tmp_path: Path) -> None:
    path = save(conv_block(), tmp_path).rename(tmp_path / "CONV.ONNX")
    done = clickclean("engine", "check", str(path), "--axis", "batch=1", "--json")
    assert done.code == 0, done.err
    assert done.json["passes"] is True


def test_an_axis_without_room_is_a_finding(clickclean: Command, tmp_path: Path) -> None:
    path = save(conv_block(inputs={"m": [0, 3]}), tmp_path)
    done = clickclean("engine", "check", str(path), "--axis", "batch=1")
    assert done.code == 3
    assert "m  [empty-axis]" in done.out
    assert "Traceback" not in done.err
