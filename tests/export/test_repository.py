"""Publishing into a folder that others write to, die in, and misuse."""

import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clickclean_export.disk import replace_text
from clickclean_export.errors import RepositoryError, VersionNotFoundError
from clickclean_export.repository import Repository


def stage(staging: Path, content: str = "bytes") -> Path:
    folder = staging / "version"
    folder.mkdir()
    (folder / "model.onnx").write_text(content)
    return folder


def publish(repository: Repository, content: str = "bytes", model: str = "m") -> int:
    with repository.staging(model) as staging:
        folder = stage(staging, content)
        while True:
            version = repository.next_version(model)
            if repository.add(model, version, folder):
                return version


def leftovers(repository: Repository, model: str = "m") -> list[str]:
    folder = repository.root / model
    return [p.name for p in folder.iterdir() if not p.name.isdigit()] if folder.exists() else []


def test_versions_count_up_and_nothing_else_stays(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "new" / "repository")
    assert [publish(repository, f"{n}") for n in range(3)] == [1, 2, 3]
    assert repository.models() == ["m"]
    assert repository.versions("m") == [1, 2, 3]
    assert (repository.version_dir("m", 2) / "model.onnx").read_text() == "1"
    assert leftovers(repository) == []


def test_a_failure_leaves_not_even_a_folder(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")

    def fail() -> None:
        with repository.staging("m") as staging:
            stage(staging)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not (repository.root / "m").exists()


def test_many_publishers_at_once_get_a_version_each(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda n: publish(repository, str(n)), range(24)))
    assert sorted(numbers) == list(range(1, 25))
    texts = {
        (repository.version_dir("m", n) / "model.onnx").read_text()
        for n in repository.versions("m")
    }
    assert texts == {str(n) for n in range(24)}
    assert leftovers(repository) == []


def test_a_number_that_is_taken_is_never_overwritten(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    publish(repository, "first")
    (tmp_path / "m" / "2").mkdir()
    (tmp_path / "m" / "3").write_text("a file in the way")
    with repository.staging("m") as staging:
        folder = stage(staging)
        assert not repository.add("m", 1, folder)
        assert not repository.add("m", 2, folder), "rename(2) would replace an empty folder"
        assert not repository.add("m", 3, folder)
    assert publish(repository) == 4
    assert (tmp_path / "m" / "1" / "model.onnx").read_text() == "first"


def test_foreign_entries_are_neither_versions_nor_touched(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    publish(repository)
    for name in ("README.md", "007a", "backup", ".hidden", "1.old"):
        (tmp_path / "m" / name).write_text("mine")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "empty model").mkdir()
    assert publish(repository) == 2
    assert repository.models() == ["m"]
    assert repository.versions("m") == [1, 2]
    assert len(leftovers(repository)) == 5


CHILD = """
    import os, signal, sys
    from pathlib import Path
    from clickclean_export.repository import Repository

    repository, moment = Repository(Path(sys.argv[1])), sys.argv[2]

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    rename = Path.rename
    def deadly(self, target):
        if moment == "before the rename":
            die()
        rename(self, target)
        die()
    Path.rename = deadly

    with repository.staging("m") as staging:
        if moment == "in staging":
            die()
        folder = staging / "version"
        folder.mkdir()
        (folder / "model.onnx").write_text("bytes")
        repository.add("m", repository.next_version("m"), folder)
"""


@pytest.mark.parametrize(
    ("moment", "versions"),
    [("in staging", []), ("before the rename", []), ("after the rename", [1])],
)
def test_a_publisher_killed_at_any_point(tmp_path: Path, moment: str, versions: list[int]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(tmp_path), moment], check=False
    )
    assert done.returncode == -signal.SIGKILL
    repository = Repository(tmp_path)
    assert repository.versions("m") == versions
    assert len(leftovers(repository)) == 1, "the kernel cannot remove what the dead one staged"
    assert publish(repository) == len(versions) + 1
    assert leftovers(repository) == [], "the next publisher sweeps it"


def test_a_living_publisher_is_not_swept(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    with repository.staging("m") as slow:
        folder = stage(slow, "slow")
        assert publish(repository, "quick") == 1
        assert folder.exists()
        assert repository.add("m", repository.next_version("m"), folder)
    assert (repository.version_dir("m", 2) / "model.onnx").read_text() == "slow"


@pytest.mark.parametrize("kind", ["a file", "below a file", "not writable"])
def test_a_place_that_cannot_be_a_repository(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    # The tests may run as root, whom permission bits do not stop; /proc stops everyone.
    root = {"a file": file, "below a file": file / "x", "not writable": Path("/proc/repository")}
    repository = Repository(root[kind])
    with pytest.raises(RepositoryError) as caught, repository.staging("m"):
        pytest.fail("a staging folder was made")
    assert caught.value.exit_code == 1
    assert file.read_text() == "not a folder"


def test_asking_for_what_is_not_there(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    with pytest.raises(VersionNotFoundError) as caught:
        repository.find("m")
    assert "publish one first" in caught.value.hint
    publish(repository)
    with pytest.raises(VersionNotFoundError, match="version 7 of model 'm'") as caught:
        repository.find("m", 7)
    assert "published versions: 1" in caught.value.hint
    with pytest.raises(RepositoryError, match="No such file"):
        Repository(tmp_path / "nowhere").models()


def test_replacing_a_text_is_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "configs" / "cpu.pbtxt"
    replace_text(path, "old")
    replace_text(path, "new")
    assert path.read_text() == "new"
    assert [p.name for p in path.parent.iterdir()] == ["cpu.pbtxt"]
    with pytest.raises(FileExistsError):
        replace_text(path / "below", "text")
    assert path.read_text() == "new"
