"""Which plan a config names, and that nobody who serves is left without one."""

import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from clickclean_client.protocol import parse_model_config
from clickclean_export.engine.device import Gpu
from clickclean_export.engine.options import BuildOptions
from clickclean_export.engine.preflight import Target, examine
from clickclean_export.engine.record import EngineRecord
from clickclean_export.engine.register import configure, register
from clickclean_export.errors import IncompatibleError, IntegrityError, RepositoryError
from clickclean_export.promote import promote
from clickclean_export.repository import CPU_CONFIG, GPU_CONFIG, Repository
from tests.conftest import PublishedModels
from tests.models.plans import A100, ANYWHERE, H100, L4, T4, TENSORRT, add_plan

Plans = list[tuple[Gpu, str, BuildOptions | None]]
OLDER = "11.3.0.1"
PORTABLE = BuildOptions(version_compatible=True)


@pytest.fixture
def repository(published: PublishedModels, tmp_path: Path) -> Path:
    """Two versions of the digits, the first promoted."""
    root = published.copy(tmp_path / "repository", "digits")
    two = root / "digits" / "2"
    shutil.copytree(root / "digits" / "1", two)
    manifest = json.loads((two / "manifest.json").read_text())
    (two / "manifest.json").chmod(0o644)
    (two / "manifest.json").write_text(json.dumps({**manifest, "version": 2}))
    return root


def version(root: Path, number: int) -> Path:
    return root / "digits" / str(number)


def named(root: Path) -> dict[str, str]:
    config = parse_model_config((root / "digits" / GPU_CONFIG).read_text())
    return dict(config.cc_model_filenames)


def test_of_two_tensorrt_versions_the_fleets_is_named(repository: Path) -> None:
    """While a fleet changes its image, both plans lie in the version that is to be promoted."""
    older = add_plan(version(repository, 2), L4, tensorrt=OLDER)
    newer = add_plan(version(repository, 2), L4)
    for tensorrt, record in ((OLDER, older), (TENSORRT, newer), (OLDER, older)):
        target = Target(L4, tensorrt)
        promote(repository, "digits", 2, fleet=[target])
        assert named(repository) == {"8.9": record.path_in_version}
        assert examine(repository, "digits", target) == ()


def test_a_fleet_that_no_plan_fits_is_said(repository: Path) -> None:
    add_plan(version(repository, 2), L4)
    with pytest.raises(IncompatibleError, match=r"11\.5\.0\.1"):
        promote(repository, "digits", 2, fleet=[Target(L4, "11.5.0.1")])


LOSSES: dict[str, tuple[Plans, Plans, str]] = {
    "a plan": ([(L4, TENSORRT, None)], [(T4, TENSORRT, None)], r"no plan .* 8\.9"),
    "the default plan": (
        [(A100, TENSORRT, ANYWHERE)],
        [(A100, TENSORRT, None)],
        "no plan .* 8.0 and later",
    ),
    "a GPU before Ampere": (
        [(T4, TENSORRT, None)],
        [(A100, TENSORRT, ANYWHERE)],
        r"no plan .* 7\.5",
    ),
    "the TensorRT that serves": (
        [(L4, OLDER, None)],
        [(L4, TENSORRT, None)],
        r"built by TensorRT 11\.4\.0\.106, the promoted version's by 11\.3\.0\.1",
    ),
}
GAINS: dict[str, tuple[Plans, Plans]] = {
    "one more GPU type": ([(L4, TENSORRT, None)], [(L4, TENSORRT, None), (T4, TENSORRT, None)]),
    "one plan for all": ([(L4, TENSORRT, None)], [(A100, TENSORRT, ANYWHERE)]),
    "a version-compatible plan": ([(L4, TENSORRT, None)], [(L4, OLDER, PORTABLE)]),
}


def add_all(root: Path, number: int, plans: Plans) -> list[EngineRecord]:
    return [
        add_plan(version(root, number), gpu, tensorrt=tensorrt, options=options)
        for gpu, tensorrt, options in plans
    ]


@pytest.mark.parametrize("what", LOSSES)
def test_a_promotion_that_takes_something_away_is_refused(what: str, repository: Path) -> None:
    before, after, words = LOSSES[what]
    add_all(repository, 1, before)
    add_all(repository, 2, after)
    promote(repository, "digits", 1)
    config = (repository / "digits" / GPU_CONFIG).read_text()
    with pytest.raises(IncompatibleError, match=words) as caught:
        promote(repository, "digits", 2)
    assert "--without-plans" in caught.value.hint
    assert (repository / "digits" / GPU_CONFIG).read_text() == config
    assert Repository(repository).promoted("digits") == 1
    promote(repository, "digits", 2, without_plans=True)
    assert Repository(repository).promoted("digits") == 2


@pytest.mark.parametrize("what", GAINS)
def test_a_promotion_that_takes_nothing_away_passes(what: str, repository: Path) -> None:
    before, after = GAINS[what]
    add_all(repository, 1, before)
    add_all(repository, 2, after)
    promote(repository, "digits", 1)
    promote(repository, "digits", 2)
    assert Repository(repository).promoted("digits") == 2


def test_an_image_change_that_the_fleet_names_passes(repository: Path) -> None:
    add_plan(version(repository, 1), L4, tensorrt=OLDER)
    add_plan(version(repository, 2), L4)
    promote(repository, "digits", 1)
    promote(repository, "digits", 2, fleet=[Target(L4, TENSORRT)])
    assert Repository(repository).promoted("digits") == 2


def test_builders_for_several_gpus_lose_nothing(repository: Path) -> None:
    """One Job for each GPU type, all at once, and a promotion in between."""
    records = [add_plan(version(repository, 1), gpu) for gpu in (T4, A100, L4, H100)]
    found = Repository(repository)
    start = threading.Barrier(len(records) + 1)

    def run(record: EngineRecord) -> None:
        start.wait()
        for _ in range(5):
            configure(found, record)

    threads = [threading.Thread(target=run, args=[record]) for record in records]
    for thread in threads:
        thread.start()
    start.wait()
    for _ in range(5):
        promote(repository, "digits", 2, without_plans=True)
        promote(repository, "digits", 1)
    for thread in threads:
        thread.join()
    cpu = parse_model_config((repository / "digits" / CPU_CONFIG).read_text())
    assert list(cpu.version_policy.specific.versions) == [1]
    assert named(repository) == {
        record.inputs.compute_capability: record.path_in_version for record in records
    }


def test_a_plan_that_was_copied_wrong_is_not_registered(repository: Path) -> None:
    record = add_plan(version(repository, 1), L4)
    plan = version(repository, 1) / record.path_in_version
    with pytest.raises(RepositoryError, match="in the way"):
        register(version(repository, 1), record, plan)
    other = replace(record, version=2, plan=replace(record.plan, sha256="0" * 64))
    with pytest.raises(IntegrityError, match="is not the plan that was gated"):
        register(version(repository, 2), other, plan)
    assert not list((version(repository, 2) / "engines").iterdir())
