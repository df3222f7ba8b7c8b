"""What is no mistake: repositories of others, Click Clean's own, several fleets, missing parts."""

import json
import shutil
from pathlib import Path

import pytest

from clickclean_client import slots
from clickclean_client.axes import NamedAxes
from clickclean_export.repository_lint.finding import LintError
from clickclean_export.repository_lint.run import lint_repository
from clickclean_export.triton_config import TensorConfig, TritonConfig
from tests.export.repository_lint.ensembles import ALL, ENSEMBLE
from tests.export.repository_lint.repositories import CONFIG, NET, ONNX, PLAN, PYTHON, more
from tests.export.repository_lint.trees import Tree, both, onnx_bytes, put, swap, write


def _codes(root: Path, *models: str, **options: object) -> list[str]:
    slo_ms, fleet = options.get("slo_ms"), options.get("fleet")
    assert slo_ms is None or isinstance(slo_ms, float)
    assert fleet is None or isinstance(fleet, str)
    report = lint_repository(root, models, slo_ms=slo_ms, fleet=fleet)
    return [finding.code for finding in report.findings]


FOREIGN: dict[str, Tree] = {
    "completed by Triton": {"net/1/model.onnx": onnx_bytes()},
    "no version_policy, one version": {
        **ONNX,
        CONFIG: NET.replace("version_policy { specific { versions: [ 1 ] } }", ""),
    },
    "narrower than the model": {
        CONFIG: NET.replace("[ 3, 8 ]", "[ 3, 16 ]"),
        "net/1/model.onnx": onnx_bytes({"x": ["batch", 3, "width"]}),
    },
    "several files in a folder": {CONFIG: NET, "net/1/model.onnx/model.onnx": onnx_bytes()},
    "with our records": {**ONNX, ".clickclean/net/history.jsonl": "{}"},
    "another file name": {
        CONFIG: NET + 'default_model_filename: "resnet.onnx"',
        "net/1/resnet.onnx": onnx_bytes(),
    },
    "a comment that looks wrong": more(ONNX, "# dims: ${what}, kind: KIND_GPUS\n"),
    "sequence controls": {
        CONFIG: NET + 'sequence_batching { control_input { name: "START" control { kind:'
        " CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] } } }",
        "net/1/model.onnx": onnx_bytes({"x": ["batch", 3, 8], "START": ["batch", 1]}),
    },
    "a class from elsewhere": put("net/1/model.py", "from base import TritonPythonModel\n")(PYTHON),
    "an inherited execute": put(
        "net/1/model.py", "from base import Base\nclass TritonPythonModel(Base):\n    pass\n"
    )(PYTHON),
    "dims that TensorRT completes": swap(CONFIG, "    dims: [ 4 ]\n", "")(PLAN),
    "dims that a model.py completes": both(
        swap(CONFIG, "    dims: [ 4 ]\n", ""),
        swap(
            "net/1/model.py", "    def", "    def auto_complete_config(c):\n        pass\n    def"
        ),
    )(PYTHON),
    "an unknown backend": {
        CONFIG: 'backend: "fil" max_batch_size: 8',
        "net/1/xgboost.model": b"x",
        "net/1/anything.bin": b"",
    },
    "a backend in the name": {"net.identity/1/": ""},
    "folders of Triton": {
        **ONNX,
        "net/warmup/x.raw": b"1",
        "net/initial_state/s": b"1",
        "net/.staging-1/model.onnx": b"half",
        "README.md": "notes",
    },
    "plans for some GPUs": {
        **more(PLAN, 'cc_model_filenames { key: "8.9" value: "l4.plan" }'),
        "net/1/l4.plan": b"plan",
    },
    "one output for two steps": swap(
        ALL,
        'output_map { key: "y" value: "scores" }\n    }',
        'output_map { key: "y" value: "scores" }\n    },\n    {\n      model_name: "net"\n'
        '      model_version: 1\n      input_map { key: "x" value: "ids" }\n'
        '      output_map { key: "y" value: "second" }\n    }',
    )(
        swap(
            ALL,
            "dims: [ 4 ] } ]",
            'dims: [ 4 ] }, { name: "second" data_type: TYPE_FP32 dims: [ 4 ] } ]',
        )(ENSEMBLE)
    ),
    "a step without a batch axis of Triton": both(
        swap("pre/config.pbtxt", "max_batch_size: 8", "max_batch_size: 0"),
        swap("pre/config.pbtxt", "dims: [ 1 ]", "dims: [ -1, 1 ]"),
        swap("pre/config.pbtxt", "[ 3, 8 ]", "[ -1, 3, 8 ]"),
    )(ENSEMBLE),
}


@pytest.mark.parametrize("tree", FOREIGN.values(), ids=FOREIGN.keys())
def test_what_triton_takes_is_no_finding(tree: Tree, tmp_path: Path) -> None:
    assert _codes(write(tree, tmp_path)) == []


def _ours(root: Path) -> Path:
    """The repository of a promoted model with a challenger, its configs by our own writer."""
    image = TensorConfig("x", "float32", (3, 8), (3, 8))
    scores = TensorConfig("y", "float32", (4,))
    for name, version in (("digits", 2), (slots.challenger("digits"), 3)):
        folder = root / name
        (folder / "configs").mkdir(parents=True)
        for fleet, file in (("gpu", "config.pbtxt"), ("cpu", "configs/cpu.pbtxt")):
            config = TritonConfig(
                model=name,
                fleet="gpu" if fleet == "gpu" else "cpu",
                versions=(version,),
                inputs=(image,),
                outputs=(scores,),
                max_batch=32,
                queue_delay_us=0,
                queue_size=0,
                queue_timeout_us=100_000 if fleet == "gpu" else 0,
                instances=1,
                threads=2 if fleet == "cpu" else 0,
                warmup=True,
                fingerprint="ab" * 32,
                split="{}" if version == 3 else "",
                axes=NamedAxes({"x": ("batch", 3, 8), "y": ("batch", 4)}, {}).to_json(),
            )
            (folder / file).write_text(config.to_text())
    manifest = json.dumps({"recipe": {"target": {"mean_ms": 150.0}}})
    for version in (1, 2, 3):
        tree: Tree = {"model.onnx": onnx_bytes(), "fp32.onnx": b"x", "manifest.json": manifest}
        write(tree, root / "digits" / str(version))
    (root / "digits.challenger" / "3").symlink_to(Path("..") / "digits" / "3")
    (root / "digits.v1").mkdir()
    (root / "digits.v1" / "1").symlink_to(Path("..") / "digits" / "1")
    return root


def test_our_own_repository_has_no_finding(tmp_path: Path) -> None:
    root = _ours(tmp_path)
    assert _codes(root) == []
    assert _codes(root, fleet="cpu") == []


def test_a_gpu_fleet_is_told_that_plans_are_missing(tmp_path: Path) -> None:
    root = _ours(tmp_path)
    report = lint_repository(root, ["digits"], fleet="gpu")
    assert [finding.code for finding in report.findings] == ["model-file-missing"]
    assert "clickclean engine build digits:2" in report.findings[0].hint


def test_a_slot_whose_version_was_removed_is_a_finding(tmp_path: Path) -> None:
    root = _ours(tmp_path)
    shutil.rmtree(root / "digits" / "3")
    assert "version-link-broken" in _codes(root, "digits.challenger")


def test_the_target_comes_from_the_manifest_unless_it_is_given(tmp_path: Path) -> None:
    root = _ours(tmp_path)
    config = root / "digits" / "config.pbtxt"
    config.write_text(config.read_text().replace("microseconds: 100000", "microseconds: 160000"))
    assert _codes(root) == ["timeout-above-slo"]
    assert _codes(root, slo_ms=200.0) == []


def test_a_finding_stands_where_the_mistake_is(tmp_path: Path) -> None:
    root = write(swap(CONFIG, "dims: [ 4 ]", "dims: [ 5 ]")(ONNX), tmp_path)
    (finding,) = lint_repository(root).findings
    assert (finding.file, finding.line) == (
        "net/config.pbtxt",
        NET.splitlines().index('    name: "y"') + 1,
    )
    assert finding.model == "net"


def test_each_fleet_has_its_own_mistakes(tmp_path: Path) -> None:
    tree = {
        **PLAN,
        "net/configs/cpu.pbtxt": NET.replace("FP32", "FP16"),
        "net/1/model.onnx": onnx_bytes(),
    }
    root = write(tree, tmp_path)
    assert set(_codes(root)) == {"onnx-type-differs"}
    assert _codes(root, fleet="gpu") == []
    # A name that no model has a config for: the server falls back to config.pbtxt.
    assert _codes(root, fleet="h100") == []


def test_a_broken_config_does_not_hide_the_other_models(tmp_path: Path) -> None:
    tree = both(swap(CONFIG, '"net"', '"other"'), put("bad/config.pbtxt", "name: "))(ONNX)
    codes = _codes(write({**tree, "bad/01/": ""}, tmp_path))
    assert codes == ["version-leading-zero", "no-version-folder", "config-syntax", "name-differs"]


def test_without_onnx_the_other_rules_still_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    tree = both(swap(CONFIG, '"net"', '"other"'), swap(CONFIG, "[ 4 ]", "[ 5 ]"))(ONNX)
    report = lint_repository(write(tree, tmp_path))
    assert [finding.code for finding in report.findings] == ["name-differs"]
    assert len(report.skipped) == 1
    assert "onnx" in report.skipped[0]


def test_warnings_count_only_when_asked(tmp_path: Path) -> None:
    report = lint_repository(write({**ONNX, "net/02/": ""}, tmp_path))
    assert (report.errors, report.warnings) == (0, 1)
    assert (report.exit_code(), report.exit_code(strict=True)) == (0, 2)
    assert lint_repository(write(put(CONFIG, "nme: 1")({}), tmp_path)).exit_code() == 2


@pytest.mark.parametrize(
    ("tree", "models", "words"),
    [
        ({}, (), "holds no model"),
        ({"config.pbtxt": NET, "1/model.onnx": onnx_bytes()}, (), "is a model"),
        (ONNX, ("nett",), "holds no model 'nett'"),
    ],
)
def test_what_is_no_repository_is_said_as_such(
    tree: Tree, models: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    with pytest.raises(LintError, match=words) as caught:
        lint_repository(write(tree, tmp_path), models)
    assert caught.value.exit_code == 2
    assert caught.value.hint


def test_a_folder_that_is_not_there_is_said_as_such(tmp_path: Path) -> None:
    with pytest.raises(LintError, match="No such file"):
        lint_repository(tmp_path / "nowhere")
