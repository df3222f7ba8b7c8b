"""A plan is built, gated, and added to a version without touching what was published.

TensorRT-RTX compiles in TensorRT's place, and no plan can be asked without a GPU: ONNX Runtime
answers from the file that a plan was built from. Everything around that is the real thing.
"""

import json
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest

from clickclean_client.protocol import parse_model_config
from clickclean_export.dataset import Feed
from clickclean_export.engine.build import Built, build_engine
from clickclean_export.engine.device import Gpu
from clickclean_export.engine.options import Profile
from clickclean_export.engine.preflight import Target, examine
from clickclean_export.engine.record import RECORD, EngineRecord, readable_records
from clickclean_export.engine.register import verify_plan
from clickclean_export.errors import (
    DataError,
    GateRefused,
    IncompatibleError,
    IntegrityError,
    RecipeError,
    RepositoryError,
)
from clickclean_export.manifest import ENGINES, read_manifest, verify_files
from clickclean_export.promote import promote
from clickclean_export.repository import GPU_CONFIG
from clickclean_export.runners import OnnxRuntimeRunner, Outputs, Runner
from tests.conftest import PublishedModels

L4, T4, L40S = Gpu("NVIDIA L4", "8.9"), Gpu("Tesla T4", "7.5"), Gpu("NVIDIA L40S", "8.9")


class Builder:
    """Builds for one repository and counts the plans that were asked."""

    def __init__(self, repository: Path, cache: Path) -> None:
        self.repository = repository
        self.cache = cache
        self.opened = 0

    def __call__(
        self,
        gpu: Gpu = L4,
        *,
        version: int | None = None,
        recipe: Path | None = None,
        wrong: bool = False,
    ) -> Built:
        return build_engine(
            self.repository,
            "digits",
            version,
            gpu=gpu,
            cache=self.cache,
            open_plan=self.stand_in(wrong=wrong),
            recipe_path=recipe,
            flavour="tensorrt_rtx",
        )

    def stand_in(self, *, wrong: bool) -> "Opener":
        return Opener(self, wrong=wrong)

    @property
    def version_dir(self) -> Path:
        return self.repository / "digits" / "1"

    @property
    def config(self) -> str:
        return (self.repository / "digits" / GPU_CONFIG).read_text()


class Opener:
    """Loads, in a plan's place, the version's INT8 file in ONNX Runtime."""

    def __init__(self, builder: Builder, *, wrong: bool) -> None:
        self._builder = builder
        self._wrong = wrong

    def __call__(self, plan: Path, _: Sequence[Profile]) -> AbstractContextManager[Runner]:
        assert plan.stat().st_size > 100_000, "a compiled plan is there"
        return self._open()

    @contextmanager
    def _open(self) -> Iterator[Runner]:
        self._builder.opened += 1
        runner = OnnxRuntimeRunner(self._builder.version_dir / "model.onnx")
        yield Wrong(runner) if self._wrong else runner


class Wrong:
    """A plan that came out wrong: it mixes up the classes."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def infer(self, feed: Feed) -> Outputs:
        return {name: np.roll(a, 1, axis=-1) for name, a in self._runner.infer(feed).items()}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def builder(published: PublishedModels, tmp_path: Path, cache: Path) -> Builder:
    """Of a repository without plans."""
    return Builder(published.copy(tmp_path / "repository", "digits"), cache)


@pytest.fixture(scope="module")
def two_plans(
    published: PublishedModels, tmp_path_factory: pytest.TempPathFactory, cache: Path
) -> Path:
    """A repository whose version has been built for two GPU types."""
    builder = Builder(published.copy(tmp_path_factory.mktemp("built"), "digits"), cache)
    builder(L4)
    builder(T4)
    return builder.repository


@pytest.fixture
def built(two_plans: Path, tmp_path: Path, cache: Path) -> Builder:
    """Of a repository with two plans, to be changed."""
    return Builder(shutil.copytree(two_plans, tmp_path / "repository"), cache)


def record_for(builder: Builder, gpu: Gpu) -> EngineRecord:
    return next(r for r in readable_records(builder.version_dir)[0] if r.gpu == gpu)


def named(builder: Builder) -> dict[str, str]:
    return dict(parse_model_config(builder.config).cc_model_filenames)


def add_version_2(builder: Builder) -> None:
    two = builder.repository / "digits" / "2"
    shutil.copytree(builder.version_dir, two, ignore=shutil.ignore_patterns(ENGINES))
    manifest = json.loads((two / "manifest.json").read_text())
    (two / "manifest.json").chmod(0o644)
    (two / "manifest.json").write_text(json.dumps({**manifest, "version": 2}))


def test_a_plan_is_registered_beside_what_was_published(
    built: Builder, published: PublishedModels
) -> None:
    before = {p.name: p.read_bytes() for p in (published.repository / "digits" / "1").iterdir()}
    assert {n: (built.version_dir / n).read_bytes() for n in before} == before
    verify_files(built.version_dir, read_manifest(built.version_dir).files)
    record = record_for(built, L4)
    path = built.version_dir / record.path_in_version
    assert path.name == "model.8.9.plan"
    assert not stat.S_IMODE(path.stat().st_mode) & 0o222
    verify_plan(built.version_dir, record)
    assert [hop.result.hop for hop in record.hops] == ["int8 plan", "fp32 plan", "fp16 plan"]
    assert record.hops[0].result.accuracy > 0.9
    assert [speed.batch for speed in record.speed] == [1, 32]
    assert all(speed.int8_ms > 0 and speed.fp16_ms for speed in record.speed)
    assert record.data.rows == 64
    assert "--recipe" in record.not_done[0]


def test_the_config_names_the_plans_of_all_gpu_types(built: Builder) -> None:
    assert named(built) == {
        gpu.compute_capability: record_for(built, gpu).path_in_version for gpu in (T4, L4)
    }
    for gpu in (L4, T4):
        found = examine(built.repository, "digits", Target(gpu, "1.7.1.116"))
        # The one thing wrong with these plans is who compiled them.
        assert [mismatch.code for mismatch in found] == ["plan-of-tensorrt-rtx"]


def test_the_same_again_compiles_and_asks_nothing(built: Builder) -> None:
    again = built(L4)
    assert again.from_cache
    assert again.record == record_for(built, L4)
    assert built.opened == 0


def test_a_second_gpu_type_of_the_same_capability_takes_the_place(built: Builder) -> None:
    """Triton tells GPUs apart by compute capability alone."""
    first, second = record_for(built, L4), built(L40S).record
    assert first.id != second.id
    assert named(built)["8.9"] == second.path_in_version, "the latest"
    promote(built.repository, "digits", 1)
    assert named(built)["8.9"] == second.path_in_version
    built(L4)
    assert named(built)["8.9"] == first.path_in_version, "the one that was asked for last"
    promote(built.repository, "digits", 1)
    assert named(built)["8.9"] == first.path_in_version


def test_another_version_of_the_same_file_comes_from_the_cache(built: Builder) -> None:
    add_version_2(built)
    before = built.config
    second = built(L4, version=2)
    assert second.from_cache
    assert second.record.version == 2
    assert second.path.is_relative_to(built.repository / "digits" / "2")
    assert built.config == before, "version 1 is promoted"


def test_the_whole_evaluation_data_can_be_asked(builder: Builder, digits_folder: Path) -> None:
    few = builder().record
    with pytest.raises(RecipeError, match="no such file"):
        builder(recipe=digits_folder / "none.toml")
    record = builder(recipe=digits_folder / "recipe.toml").record
    assert record.inputs == few.inputs
    assert record.id != few.id
    assert named(builder) == {"8.9": record.path_in_version}
    assert builder().record == record, "the one that was asked more"
    assert record.data == read_manifest(builder.version_dir).data["evaluation"]
    assert record.hops[0].result.samples == record.data.rows == 500
    assert not any("golden" in sentence for sentence in record.not_done)


def test_other_evaluation_data_are_refused(
    builder: Builder, digits_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "other"
    shutil.copytree(digits_folder, folder)
    data = folder / "data.py"
    data.write_text(data.read_text().replace("/ 16", "/ 15"))
    with pytest.raises(DataError, match="not the evaluation data of digits version 1"):
        builder(recipe=folder / "recipe.toml")
    assert not (builder.version_dir / ENGINES).exists()


def test_a_plan_that_fails_its_gate_is_not_registered(builder: Builder) -> None:
    before = builder.config
    with pytest.raises(GateRefused, match="int8 plan"):
        builder(wrong=True)
    assert readable_records(builder.version_dir) == ((), ())
    assert builder.config == before


def test_a_registered_plan_that_changed_is_refused(built: Builder) -> None:
    path = built.version_dir / record_for(built, L4).path_in_version
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-9])
    for use in (lambda: promote(built.repository, "digits", 1), built):
        with pytest.raises(IntegrityError, match=r"model\.8\.9\.plan") as caught:
            use()
        assert str(path.parent) in caught.value.hint


def test_a_damaged_record_counts_as_none_and_hides_no_other(built: Builder) -> None:
    record = record_for(built, L4)
    path = (built.version_dir / record.path_in_version).with_name(RECORD)
    path.chmod(0o644)
    path.write_text("{")
    readable, damaged = readable_records(built.version_dir)
    assert [r.gpu for r in readable] == [T4]
    assert [error.path for error in damaged] == [path]
    # The promoted version serves an L4 with that plan.
    with pytest.raises(IncompatibleError, match=r"no plan .* 8\.9"):
        promote(built.repository, "digits", 1)
    promote(built.repository, "digits", 1, without_plans=True)
    assert list(named(built)) == ["7.5"]
    with pytest.raises(RepositoryError, match="in the way, and is damaged"):
        built(L4)
    shutil.rmtree(path.parent)
    built(L4)
    assert sorted(named(built)) == ["7.5", "8.9"]


def test_a_damaged_half_precision_model_is_made_anew(builder: Builder, tmp_path: Path) -> None:
    builder.cache = shutil.copytree(builder.cache, tmp_path / "cache")
    for path in (builder.cache / "fp16").iterdir():
        path.write_bytes(b"junk")
    record = builder().record
    assert [hop.result.hop for hop in record.hops] == ["int8 plan", "fp32 plan", "fp16 plan"]


def test_a_changed_onnx_is_refused_before_anything_is_built(
    builder: Builder, tmp_path: Path
) -> None:
    path = builder.version_dir / "model.onnx"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b"\0")
    builder.cache = tmp_path / "cache"
    with pytest.raises(IntegrityError, match=r"model\.onnx"):
        builder()
    assert not builder.cache.exists()


def test_promoting_names_all_plans_of_the_version(built: Builder) -> None:
    before = built.config
    (built.repository / "digits" / GPU_CONFIG).unlink()
    promote(built.repository, "digits", 1)
    assert built.config == before


def test_a_version_without_the_plan_of_a_serving_gpu_is_not_promoted(built: Builder) -> None:
    add_version_2(built)
    before = built.config
    with pytest.raises(IncompatibleError, match=r"digits:2 has no plan .* 7\.5, 8\.9") as caught:
        promote(built.repository, "digits", 2)
    assert caught.value.exit_code == 4
    assert "clickclean engine build digits:2" in caught.value.hint
    assert built.config == before
    promote(built.repository, "digits", 2, without_plans=True)
    assert not named(built)


def test_a_fleet_that_cannot_load_a_version_stops_its_promotion(builder: Builder) -> None:
    before = builder.config
    with pytest.raises(IncompatibleError, match=r"8\.9"):
        promote(builder.repository, "digits", 1, fleet=[Target(L4, "11.4.0.106")])
    assert builder.config == before
