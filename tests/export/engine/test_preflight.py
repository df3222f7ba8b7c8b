import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from clickclean_export.engine import preflight, preflight_rules
from clickclean_export.engine.device import Gpu
from clickclean_export.engine.options import BuildOptions, Range
from clickclean_export.engine.preflight import Mismatch, Target, enforce, examine, examine_config
from clickclean_export.engine.record import EngineRecord, PlanInputs, record_json
from clickclean_export.errors import IncompatibleError
from clickclean_export.gates import Gate, GatedHop, Outcome
from clickclean_export.hops import PLAN_FP16, PLAN_INT8, HopResult
from clickclean_export.manifest import DataRecord, FileRecord, Manifest, file_record, write_manifest
from clickclean_export.quantize import Quantized
from clickclean_export.recipe import load_recipe
from clickclean_export.triton_config import TensorConfig, TritonConfig
from tests.conftest import ROOT

L4, L40S = Gpu("NVIDIA L4", "8.9"), Gpu("NVIDIA L40S", "8.9")
T4, A10, A100 = Gpu("Tesla T4", "7.5"), Gpu("NVIDIA A10", "8.6"), Gpu("NVIDIA A100", "8.0")
TENSORRT = "11.4.0.106"
IMAGE = (1, 8, 8)
PLAN = "engines/8.9-0123456789ab/model.8.9.plan"
CONFIG, MANIFEST_FILE = "config.pbtxt", "2/manifest.json"
PLAN_FILE, RECORD_FILE = f"2/{PLAN}", f"2/{Path(PLAN).parent}/record.json"
# No plan is executed here: the preflight reads records and hashes, so any bytes will do.
PLAN_BYTES = b"not a plan" * 50


@dataclass(frozen=True)
class Setup:
    """A repository with digits/2, as values; ``write`` puts it on disk.

    The plan's folder keeps its name whatever its inputs are, so that one change is one change.
    """

    root: Path
    config: TritonConfig
    record: EngineRecord
    onnx: str
    target: Target

    @property
    def model_dir(self) -> Path:
        return self.root / "digits"

    @property
    def version_dir(self) -> Path:
        return self.model_dir / "2"

    def write(self) -> None:
        folder = (self.version_dir / PLAN).parent
        folder.mkdir(parents=True)
        (self.model_dir / "config.pbtxt").write_text(self.config.to_text())
        (self.version_dir / PLAN).write_bytes(PLAN_BYTES)
        plan = file_record(self.version_dir / PLAN)
        (folder / "record.json").write_bytes(record_json(replace(self.record, plan=plan)))
        write_manifest(manifest(self.onnx), self.version_dir)

    def examine(self) -> tuple[Mismatch, ...]:
        return examine(self.root, "digits", self.target)


def span(low: int, high: int, *axes: int) -> Range:
    return Range((low, *axes), (high, *axes), (high, *axes))


def manifest(onnx: str) -> Manifest:
    return Manifest(
        model="digits",
        version=2,
        created="2026-11-01T10:00:00+00:00",
        files={"model.onnx": FileRecord(onnx, 700_000)},
        recipe={},
        checkpoint=FileRecord("c" * 64, 600_000),
        data={"evaluation": DataRecord("data:evaluation", 500, "d" * 64)},
        quantization=Quantized("max", (), {"Conv": 3}, ()),
        hops=(),
        hops_not_run=(),
        speed=(),
        tools={"onnx": "1.23.2"},
        machine={"cpu": "a CPU"},
    )


def gated(hop: str, outcome: Outcome) -> GatedHop:
    gate = Gate("accuracy", "share", 0.98, 0.95, 0.97, outcome)
    return GatedHop(HopResult(hop, 500, 490, 499, outcome != "fail", {}, 489, 1, 1), (gate,))


def plain(root: Path) -> Setup:
    """A plan of an L4 for an L4, by the server's TensorRT."""
    inputs = PlanInputs(
        onnx_sha256="a" * 64,
        flavour="tensorrt",
        library_version=TENSORRT,
        gpu_name=L4.name,
        compute_capability=L4.compute_capability,
        profiles=({"image": span(1, 32, *IMAGE)},),
        options=BuildOptions(),
    )
    record = EngineRecord(
        model="digits",
        version=2,
        created="2026-11-02T10:00:00+00:00",
        plan_name=Path(PLAN).name,
        plan=FileRecord("", 0),
        inputs=inputs,
        gpu=L4,
        build_seconds=31.0,
        warnings=(),
        data=DataRecord("data:evaluation", 500, "d" * 64),
        hops=(gated(PLAN_INT8, "pass"), gated(PLAN_FP16, "fail")),
        speed=(),
        not_done=(),
        tools={"tensorrt": TENSORRT},
    )
    recipe = load_recipe(ROOT / "examples/digits/recipe.toml")
    config = replace(TritonConfig.from_recipe(recipe, "gpu", (2,)), plans={"8.9": PLAN})
    return Setup(root, config, record, inputs.onnx_sha256, Target(L4, TENSORRT))


Change = Callable[[Setup], Setup]


def config(**changes: object) -> Change:
    return lambda setup: replace(setup, config=replace(setup.config, **changes))  # type: ignore[arg-type]


def record(**changes: object) -> Change:
    return lambda setup: replace(setup, record=replace(setup.record, **changes))  # type: ignore[arg-type]


def inputs(**changes: object) -> Change:
    return lambda setup: record(inputs=replace(setup.record.inputs, **changes))(setup)  # type: ignore[arg-type]


def options(**changes: object) -> Change:
    return lambda setup: inputs(options=replace(setup.record.inputs.options, **changes))(setup)  # type: ignore[arg-type]


def target(**changes: object) -> Change:
    return lambda setup: replace(setup, target=replace(setup.target, **changes))  # type: ignore[arg-type]


def versions(built: str, server: str) -> Change:
    return lambda setup: inputs(library_version=built)(target(tensorrt_version=server)(setup))


def images(*spans: Range) -> Change:
    return inputs(profiles=tuple({"image": one} for one in spans))


def ampere(root: Path) -> Setup:
    """A plan of an A100 for every GPU from Ampere on, as the default, for an L4."""
    setup = config(plans={}, default_plan=PLAN)(plain(root))
    setup = inputs(gpu_name=A100.name, compute_capability=A100.compute_capability)(setup)
    return options(hardware_compatibility="ampere_plus")(setup)


def same_capability(root: Path) -> Setup:
    """A plan of an L4 for every GPU of compute capability 8.9, for an L40S."""
    return target(gpu=L40S)(options(hardware_compatibility="same_compute_capability")(plain(root)))


def compatible(root: Path) -> Setup:
    """A version-compatible plan for a later TensorRT that may run code from plans."""
    setup = target(tensorrt_version="11.10.0.2", version_compatible=True)(plain(root))
    return options(version_compatible=True)(setup)


def two_profiles(root: Path) -> Setup:
    """Two profiles that share the batches between them."""
    return config(profiles=(0, 1))(images(span(1, 8, *IMAGE), span(8, 32, *IMAGE))(plain(root)))


Spoil = Callable[[Setup], object]


def put(name: str, content: bytes | None) -> Spoil:
    def spoil(setup: Setup) -> None:
        path = setup.model_dir / name
        path.unlink(missing_ok=True)  # a manifest is read-only
        path.mkdir() if content is None else path.write_bytes(content)

    return spoil


def edit(name: str, old: str, new: str) -> Spoil:
    def spoil(setup: Setup) -> None:
        text = (setup.model_dir / name).read_text()
        assert old in text
        put(name, text.replace(old, new).encode())(setup)

    return spoil


def remove(name: str) -> Spoil:
    return lambda setup: (setup.model_dir / name).unlink()


@dataclass(frozen=True)
class Case:
    """One change to a good set-up, as values before it is written or to the files after."""

    code: str
    says: str
    change: Change = lambda setup: setup
    spoil: Spoil = lambda _: None
    base: Callable[[Path], Setup] = plain
    hint: str = ""


GROUP = 'instance_group {\n  count: 1\n  kind: KIND_GPU\n  profile: "0"\n}\n'
LEFT_OUT, STRAY = config(plans={}), put("2/model.plan", PLAN_BYTES)
CUT = put(PLAN_FILE, PLAN_BYTES[:-1])
BUILT_ON_A10 = inputs(gpu_name=A10.name, compute_capability=A10.compute_capability)
MANY = {"image": span(1, 32, *IMAGE), "mask": span(1, 32, 8, 8)}
EXTRA = TensorConfig("age", "float32", (1,), (1,))
WARM = TensorConfig("image", "float32", IMAGE, (1, 8, 9))

CASES = [
    Case("target-version-unclear", "'11.4'", target(tensorrt_version="11.4")),
    Case("target-gpu-unclear", "'89'", target(gpu=Gpu("NVIDIA L4", "89"))),
    Case("config-missing", "nothing is promoted", spoil=remove(CONFIG)),
    Case("config-unreadable", "1:1", spoil=edit(CONFIG, "name:", "{name:")),
    Case("config-not-gpu", "'onnxruntime'", spoil=edit(CONFIG, "tensorrt_plan", "onnxruntime")),
    Case("instances-not-on-gpu", "KIND_CPU", spoil=edit(CONFIG, "KIND_GPU", "KIND_CPU")),
    Case("config-of-another-model", "'strokes'", config(model="strokes")),
    Case("config-without-version", "names no version", config(versions=())),
    Case("version-missing", "published: 2", config(versions=(7,))),
    Case("no-plan", "7.5 (Tesla T4); it has plans for: 8.9", target(gpu=T4)),
    Case("plan-missing", "for compute capability 8.9", spoil=remove(PLAN_FILE)),
    Case("plan-outside-version", "'../2/engines", config(plans={"8.9": f"../2/{PLAN}"})),
    Case("unreadable", "too long", config(plans={"8.9": "x" * 300})),
    Case("plan-unregistered", "no record.json", spoil=remove(RECORD_FILE)),
    Case("record-unreadable", "plan_name", spoil=edit(RECORD_FILE, "plan_name", "plan_nam")),
    Case("record-of-another-version", "digits/3", record(version=3)),
    Case("plan-altered", "SHA-256", spoil=put(PLAN_FILE, PLAN_BYTES[::-1])),
    Case("manifest-unreadable", "is missing", spoil=remove(MANIFEST_FILE)),
    Case("onnx-differs", "bbbbbbbbbbbb", lambda setup: replace(setup, onnx="b" * 64)),
    Case("gate-failed", "accuracy", record(hops=(gated(PLAN_INT8, "fail"),))),
    Case("plan-of-tensorrt-rtx", "tensorrt_rtx", inputs(flavour="tensorrt_rtx")),
    Case("plan-version-unclear", "'11.4.0'", inputs(library_version="11.4.0")),
    Case("other-tensorrt", "11.4.0.107", inputs(library_version="11.4.0.107")),
    Case("newer-tensorrt", "11.11.0.1", inputs(library_version="11.11.0.1"), base=compatible),
    Case("unsupported-major-step", "8.6.1.6", inputs(library_version="8.6.1.6"), base=compatible),
    Case("version-compatible-off", "code", target(version_compatible=False), base=compatible),
    Case("other-compute-capability", "8.6 (NVIDIA A10)", BUILT_ON_A10),
    Case("other-gpu-model", "NVIDIA L40S", target(gpu=L40S)),
    Case("gpu-before-ampere", "Tesla T4 has 7.5", target(gpu=T4), base=ampere),
    Case("profile-missing", "no profile 2", config(profiles=(0, 1, 2)), base=two_profiles),
    Case("input-unknown", "no input age", config(inputs=(*plain(Path()).config.inputs, EXTRA))),
    Case("input-missing", "needs input mask", inputs(profiles=(MANY,))),
    Case("input-rank", "2 axes", images(span(1, 32, 8, 8))),
    Case("input-shape", "(1, 8, 9)", images(span(1, 32, 1, 8, 9))),
    Case("batch-above-profile", "up to 16", images(span(1, 16, *IMAGE))),
    Case("batch-between-profiles", "batch of 1 ", images(span(2, 32, *IMAGE))),
    Case("warmup-outside-profiles", "image (1, 1, 8, 9)", config(inputs=(WARM,))),
    Case("graph-batch", "64", config(cuda_graph_batches=(1, 64))),
]


OTHER_CASES = [
    Case("config-unreadable", "'zero'", spoil=edit(CONFIG, 'profile: "0"', 'profile: "zero"')),
    Case("config-unreadable", "not ours", spoil=edit(CONFIG, "TYPE_FP32", "TYPE_BF16")),
    Case("config-unreadable", "no instance_group", spoil=edit(CONFIG, GROUP, "")),
    Case("plan-unregistered", "'other.plan'", record(plan_name="other.plan")),
    Case("plan-missing", "8.9", config(versions=(2, 3)), put("3", None), hint="on a machine with"),
    # Registered, only not named: nothing needs to be built.
    Case("no-plan", "none at all", LEFT_OUT, hint="one is registered, clickclean promote digits 2"),
    # Builds stop at a damaged plan, so it has to go first; a version never has to.
    Case(
        "plan-altered", "499 bytes, recorded were 500", spoil=CUT, hint="copy it again, or rm -r "
    ),
    Case(
        "plan-unregistered", "no record.json", LEFT_OUT, STRAY, hint="on a machine with NVIDIA L4"
    ),
]


def broken(case: Case, root: Path) -> Setup:
    setup = case.change(case.base(root))
    setup.write()
    case.spoil(setup)
    return setup


@pytest.mark.parametrize("base", [plain, ampere, same_capability, compatible, two_profiles])
def test_a_good_setup_has_no_mismatch(base: Callable[[Path], Setup], tmp_path: Path) -> None:
    setup = base(tmp_path)
    setup.write()
    assert setup.examine() == ()
    enforce(setup.examine())


@pytest.mark.parametrize("case", CASES + OTHER_CASES, ids=lambda case: case.code)
def test_one_change_is_one_mismatch(case: Case, tmp_path: Path) -> None:
    (found,) = broken(case, tmp_path).examine()
    assert found.code == case.code
    assert case.says in found.problem
    assert found.hint.startswith(case.hint)
    assert "\n" not in found.sentence
    # A path, model/version, the model, or the target: never a bare sentence.
    assert re.match(rf"({tmp_path}|digits|server|NVIDIA L4)", found.where)
    assert re.search(r"clickclean (engine build|promote|publish) |--\w|ls -", found.hint)


def test_every_rule_has_its_case_its_code_and_its_sentence(tmp_path: Path) -> None:
    source = "".join(Path(str(m.__file__)).read_text() for m in (preflight, preflight_rules))
    assert set(re.findall(r'(?:Mismatch\(|yield \(?)\s*"([a-z-]+)",', source)) == {
        case.code for case in CASES
    }
    assert len({case.code for case in CASES}) == len(CASES)
    problems = [broken(case, tmp_path / case.code).examine()[0].problem for case in CASES]
    assert len(set(problems)) == len(CASES)


def test_enforce_says_the_first_and_counts_the_rest(tmp_path: Path) -> None:
    setup = config(max_batch=64)(inputs(library_version="11.3.0.9")(plain(tmp_path)))
    setup.write()
    found = setup.examine()
    assert [item.code for item in found] == ["other-tensorrt", "batch-above-profile"]
    with pytest.raises(IncompatibleError) as caught:
        enforce(found)
    assert caught.value.exit_code == 4
    assert str(caught.value) == f"{found[0].sentence} (1 more)"
    assert caught.value.hint == found[0].hint
    assert "clickclean engine build digits:2" in found[0].hint
    with pytest.raises(IncompatibleError, match=r"max_batch_size 64$"):
        enforce(found[1:])


def test_a_config_is_examined_before_it_is_written(tmp_path: Path) -> None:
    setup = plain(tmp_path)
    setup.write()
    (setup.model_dir / "config.pbtxt").unlink()
    assert examine_config(setup.config, setup.model_dir, setup.target) == ()
    (found,) = examine_config(replace(setup.config, fleet="cpu"), setup.model_dir, setup.target)
    assert found.code == "config-not-gpu"


TOKENS = config(inputs=(TensorConfig("tokens", "int64", (-1,), (24,)),))
RENAMED = config(inputs=(TensorConfig("img", "float32", IMAGE, IMAGE),))
GAP = images(span(1, 4, *IMAGE), span(8, 32, *IMAGE))
FLAG = target(version_compatible=True)
SIDEWAYS = options(hardware_compatibility="same_compute_capability")


@pytest.mark.parametrize(
    ("base", "changes", "codes"),
    [
        (ampere, [target(gpu=A100)], []),
        (ampere, [target(gpu=A10)], []),
        (ampere, [target(gpu=Gpu("NVIDIA B200", "10.0"))], []),
        (plain, [target(gpu=Gpu("L4", "8.9"))], []),
        (plain, [SIDEWAYS, BUILT_ON_A10], ["other-compute-capability"]),
        (plain, [FLAG], []),
        (plain, [versions(TENSORRT, "11.4.1.2"), FLAG], ["other-tensorrt"]),
        (plain, [options(version_compatible=True)], ["version-compatible-off"]),
        (two_profiles, [GAP, config(max_batch=4, cuda_graph_batches=())], []),
        (compatible, [versions("11.9.0.1", "11.10.0.1")], []),
        (compatible, [versions("10.14.1.48", "11.4.0.106")], []),
        (compatible, [versions("8.6.1.6", "10.14.1.48+cuda13.0")], []),
        (compatible, [versions("8.6.1.6", "11.4.0.106")], ["unsupported-major-step"]),
        (compatible, [versions("11.4.0.107", "11.4.0.106")], ["newer-tensorrt"]),
        (two_profiles, [GAP], ["batch-between-profiles"]),
        (plain, [TOKENS, inputs(profiles=({"tokens": Range((1, 8), (9, 24), (32, 64))},))], []),
        (plain, [RENAMED], ["input-unknown", "input-missing"]),
        (plain, [record(plan_name="other.plan")], ["plan-unregistered"]),
        (plain, [inputs(profiles=())], ["record-unreadable"]),
        (plain, [inputs(profiles=({},))], ["record-unreadable"]),
        (plain, [images(Range((), (), ()))], ["record-unreadable"]),
        (plain, [images(Range((1, 8), (1,), (1, 8)))], ["record-unreadable"]),
        (plain, [inputs(profiles=(MANY, {"mask": span(1, 32, 8)}))], ["record-unreadable"]),
    ],
)
def test_changes_together(
    base: Callable[[Path], Setup], changes: list[Change], codes: list[str], tmp_path: Path
) -> None:
    setup = base(tmp_path)
    for change in changes:
        setup = change(setup)
    setup.write()
    assert [found.code for found in setup.examine()] == codes


BROKEN = [None, b"", b"\xff\xfe\x00", b"{", b"[" * 100_000, b"null", b'{"format": 1}', b"\x00\x00"]


@pytest.mark.parametrize("content", BROKEN, ids=lambda content: repr(content)[:9])
@pytest.mark.parametrize("name", [CONFIG, MANIFEST_FILE, RECORD_FILE, PLAN_FILE])
def test_broken_bytes_are_a_sentence(name: str, content: bytes | None, tmp_path: Path) -> None:
    setup = broken(Case("", "", spoil=put(name, content)), tmp_path)
    (found,) = setup.examine()
    assert found.where == str(setup.model_dir / name)
    assert "\n" not in found.sentence
