"""Locks and whole-or-nothing folders, where a file system has its own rules."""

import errno
import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from clickclean_export.disk import locked, rename_whole, replace_bytes, staging


def test_a_lock_is_held_and_given_back(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(BlockingIOError), locked(tmp_path, wait=False):
        pass
    with locked(tmp_path, wait=False):
        pass


@pytest.mark.parametrize("folder", [True, False])
def test_a_file_system_that_wants_a_descriptor_for_writing(
    folder: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS, as flock(2) describes it; a stand-in refuses as NFS would, for there is none here."""
    real = fcntl.flock

    def like_nfs(handle: int, how: int) -> Any:
        writable = fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
        if not writable:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return real(handle, how)

    monkeypatch.setattr(fcntl, "flock", like_nfs)
    path = tmp_path if folder else tmp_path / "file"
    (tmp_path / "file").touch()
    with locked(path), pytest.raises(BlockingIOError), locked(path, wait=False):
        pass


def test_a_missing_place_is_the_callers_to_say(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), locked(tmp_path / "none"):
        pass


def test_staging_sweeps_what_the_dead_left_and_spares_the_living(tmp_path: Path) -> None:
    dead = tmp_path / ".s-dead"
    dead.mkdir()
    (dead / "half").write_text("half")
    with staging(tmp_path, ".s-") as mine:
        assert not dead.exists()
        with staging(tmp_path, ".s-") as other:
            assert mine.is_dir()
            assert other != mine
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_taken_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "goal").mkdir()
    staged = tmp_path / "staged"
    staged.mkdir()
    (staged / "file").write_text("new")
    assert not rename_whole(staged, tmp_path / "goal")
    assert (staged / "file").exists()
    assert list((tmp_path / "goal").iterdir()) == []


def test_a_replacement_that_fails_leaves_the_old_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
