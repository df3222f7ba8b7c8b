from pathlib import Path

import pytest

from clickclean.files import NotWrittenError, replacing


def test_the_file_changes_at_the_end_of_the_block_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "result.json"
    with replacing(path) as stream:
        stream.write(b"first")
        assert not path.exists()
    assert path.read_bytes() == b"first"

    def fail() -> None:
        with replacing(path) as stream:
            stream.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_bytes() == b"first"
    assert [p.name for p in path.parent.iterdir()] == ["result.json"]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")
    for path in (tmp_path / "file" / "below", Path("/proc/result.json")):
        with pytest.raises(NotWrittenError, match="cannot be written"), replacing(path):
            pytest.fail("the block ran")
