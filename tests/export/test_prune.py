"""Old versions go; what serves, served last or takes part in an experiment stays."""

import json
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from clickclean_export.disk import locked
from clickclean_export.errors import RepositoryError, VersionNotFoundError
from clickclean_export.prune import prunable, prune
from clickclean_export.release.errors import BusyError
from clickclean_export.repository import NUMBERS, Repository
from tests.export.bare_version import MODEL, bare_version, set_promoted


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Eight versions, the sixth promoted."""
    root = tmp_path / "repository"
    for _ in range(8):
        bare_version(root)
    set_promoted(root, 6)
    return Repository(root)


def slot(repository: Repository, name: str, version: int) -> Path:
    folder = repository.root / f"{MODEL}.{name}"
    folder.mkdir(exist_ok=True)
    (folder / str(version)).symlink_to(Path("..") / MODEL / str(version))
    return folder


@pytest.mark.parametrize(
    ("keep", "in_use", "newer", "gone"),
    [
        (3, set(), False, [1, 2, 3]),
        (1, set(), False, [1, 2, 3, 4, 5]),
        (0, set(), False, [1, 2, 3, 4, 5]),
        (99, set(), False, []),
        (3, {2, 5, 77}, False, [1, 3]),
        (3, set(), True, [1, 2, 3, 4, 5]),
        (0, {8}, True, [1, 2, 3, 4, 5, 7]),
    ],
)
def test_what_goes(
    repository: Repository, keep: int, in_use: set[int], newer: bool, gone: list[int]
) -> None:
    assert prunable(repository, MODEL, keep, in_use, newer=newer) == tuple(gone)
    pruned = prune(repository, MODEL, keep=keep, in_use=in_use, newer=newer)
    assert pruned.removed == tuple(gone)
    left = [n for n in range(1, 9) if n not in gone]
    assert repository.versions(MODEL) == list(pruned.kept) == left
    assert (pruned.freed_bytes > 0) == bool(gone)
    assert prune(repository, MODEL, keep=keep, in_use=in_use, newer=newer).removed == ()


def test_why_each_other_stays(repository: Repository) -> None:
    slot(repository, "challenger", 2)
    kept = prune(repository, MODEL, keep=2, in_use={3}).kept
    assert kept == {
        2: "in tiny.challenger",
        3: "in use",
        5: "one of the newest 2",
        6: "promoted",
        7: "newer than the promoted",
        8: "newer than the promoted",
    }


def test_a_dry_run_changes_nothing(repository: Repository) -> None:
    slot(repository, "v9", 9)
    before = sorted(repository.root.rglob("*"))
    pruned = prune(repository, MODEL, keep=1, dry_run=True)
    assert (pruned.removed, pruned.slots) == ((1, 2, 3, 4, 5), ("tiny.v9",))
    assert sorted(repository.root.rglob("*")) == before


def test_where_nothing_is_promoted_nothing_is_old(repository: Repository) -> None:
    shutil.rmtree(repository.root / MODEL / "configs")
    pruned = prune(repository, MODEL, keep=1)
    assert pruned.removed == ()
    assert set(pruned.kept.values()) == {"not promoted yet"}
    assert prune(repository, MODEL, keep=1, newer=True).removed == (1, 2, 3, 4, 5, 6, 7)


def test_a_broken_config_stops_everything(repository: Repository) -> None:
    """Without knowing what is promoted, anything might be."""
    (repository.root / MODEL / "configs" / "cpu.pbtxt").write_text("name: 'tiny'")
    with pytest.raises(RepositoryError, match="names no version"):
        prune(repository, MODEL, keep=0, newer=True)
    assert len(repository.versions(MODEL)) == 8


@pytest.mark.parametrize("name", ["challenger", "v1"])
def test_what_a_slot_leads_to_stays(repository: Repository, name: str) -> None:
    folder = slot(repository, name, 1)
    assert prune(repository, MODEL, keep=0).removed == (2, 3, 4, 5)
    assert (folder / "1" / "manifest.json").is_file()


def test_slots_that_lead_nowhere_are_swept_and_others_are_not(repository: Repository) -> None:
    swept = [slot(repository, "v99", 99), slot(repository, "challenger", 98)]
    (swept[0] / "config.pbtxt").write_text("")
    (repository.root / "tiny.v3").mkdir()
    foreign = slot(repository, "v97", 97)
    (foreign / "notes.txt").write_text("mine")
    (repository.root / "other.v5").mkdir()
    pruned = prune(repository, MODEL)
    assert pruned.slots == ("tiny.challenger", "tiny.v3", "tiny.v99")
    assert sorted(p.name for p in repository.root.iterdir()) == ["other.v5", "tiny", "tiny.v97"]


@pytest.mark.parametrize("newer", [False, True])
def test_a_number_is_never_given_again(repository: Repository, newer: bool) -> None:
    if newer:
        set_promoted(repository.root, 1)
    pruned = prune(repository, MODEL, keep=0, newer=newer)
    assert (8 in pruned.removed) == newer
    assert repository.next_version(MODEL) == 9
    assert bare_version(repository.root).name == "9"
    with repository.staging(MODEL) as staged:
        (staged / "version").mkdir()
        assert not repository.add(MODEL, pruned.removed[-1], staged / "version")
    assert repository.versions(MODEL) == [*pruned.kept, 9]


def test_a_publisher_that_chose_a_number_which_came_and_went(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the record and the rename, another's version 9 is pruned."""
    seen = iter([0, 9])
    monkeypatch.setattr(repository, "highest_pruned", lambda _model: next(seen))
    with repository.staging(MODEL) as staged:
        (staged / "version").mkdir()
        assert not repository.add(MODEL, 9, staged / "version")
        assert (staged / "version").is_dir()
    assert repository.versions(MODEL)[-1] == 8


@pytest.mark.parametrize("text", ["", "7", "{}", '{"highest_pruned": "7"}', "[7]", "\x00"])
def test_a_damaged_record_of_numbers_is_said(repository: Repository, text: str) -> None:
    (repository.root / MODEL / NUMBERS).write_text(text)
    for use in (
        lambda: repository.next_version(MODEL),
        lambda: prune(repository, MODEL, keep=1),
    ):
        with pytest.raises(RepositoryError, match=r"numbers\.json") as caught:
            use()
        assert "highest_pruned" in caught.value.hint
    assert len(repository.versions(MODEL)) == 8


def test_a_lower_number_does_not_replace_a_higher(repository: Repository) -> None:
    repository.retire(MODEL, 20)
    prune(repository, MODEL)
    assert json.loads((repository.root / MODEL / NUMBERS).read_text()) == {"highest_pruned": 20}
    assert repository.next_version(MODEL) == 21


def test_a_release_that_goes_on_is_not_disturbed(repository: Repository) -> None:
    with locked(repository.root / MODEL), pytest.raises(BusyError):
        prune(repository, MODEL)
    assert len(repository.versions(MODEL)) == 8


def test_no_such_model_and_a_slot(repository: Repository) -> None:
    slot(repository, "v2", 2)
    for name in ("none", "tiny.v2"):
        with pytest.raises(VersionNotFoundError):
            prune(repository, name, keep=0, newer=True)


def test_of_a_version_that_is_a_link_only_the_link_goes(
    repository: Repository, tmp_path: Path
) -> None:
    one = repository.version_dir(MODEL, 1)
    shutil.move(one, tmp_path / "elsewhere")
    one.symlink_to(tmp_path / "elsewhere")
    assert 1 in prune(repository, MODEL).removed
    assert not one.is_symlink()
    assert (tmp_path / "elsewhere" / "model.onnx").is_file()


CHILD = """
    import os, signal, sys
    from pathlib import Path
    from clickclean_export.prune import prune
    from clickclean_export.repository import Repository

    count = int(sys.argv[2])
    rename = Path.rename
    def deadly(self, target):
        global count
        if count == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        count -= 1
        rename(self, target)
    Path.rename = deadly
    import shutil
    shutil.rmtree = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
    prune(Repository(Path(sys.argv[1])), "tiny")
"""


@pytest.mark.parametrize(("renames", "left"), [(0, 8), (2, 6), (99, 5)])
def test_a_prune_killed_at_any_point(repository: Repository, renames: int, left: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(repository.root), str(renames)],
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    versions = repository.versions(MODEL)
    assert len(versions) == left
    for number in versions:
        assert len(list(repository.version_dir(MODEL, number).iterdir())) == 5, "whole or gone"
    assert repository.next_version(MODEL) == 9
    rest = [p.name for p in (repository.root / MODEL).glob(".staging-*")]
    assert len(rest) == 1
    if renames:
        bare_version(repository.root)
    prune(repository, MODEL)
    assert not list((repository.root / MODEL).glob(".staging-*")), "swept by whoever comes next"
    assert repository.versions(MODEL)[:3] == [4, 5, 6]


def test_slots_are_no_models(repository: Repository) -> None:
    slot(repository, "v6", 6)
    slot(repository, "challenger", 5)
    bare_version(repository.root, model="alone")
    (repository.root / "gone.v2" / "1").mkdir(parents=True)
    assert repository.models() == ["alone", "gone.v2", MODEL]


def test_a_folder_that_is_closed_to_us_hides_no_model(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As root is not stopped by permission bits, the refusal is played."""
    (repository.root / "lost+found").mkdir()
    listing = Path.iterdir

    def refuse(path: Path) -> Iterator[Path]:
        if path.name == "lost+found":
            raise PermissionError(13, "Permission denied", str(path))
        return listing(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert repository.models() == [MODEL]
    with pytest.raises(RepositoryError, match="Permission denied"):
        repository.versions("lost+found")
