"""The history: what was live before, what never ended, and that no line is changed unseen."""

from pathlib import Path

import pytest

from clickclean_export.errors import RepositoryError
from clickclean_export.release.history import History
from clickclean_export.repository import Repository


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(Repository(tmp_path), "digits")


def change(history: History, action: str, before: int | None, after: int, verdict: str) -> None:
    began = history.began(action, before=before, after=after, why="a\nb\u2028c", servers=("s:1",))
    if verdict:
        history.ended(began, verdict)  # type: ignore[arg-type]


def test_what_was_written_is_read(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLICKCLEAN_WHO", "release-bot")
    assert history.entries() == []
    change(history, "promote", None, 1, "done")
    first, second = history.entries()
    assert (first.phase, second.phase, second.verdict) == ("began", "ended", "done")
    assert first.id == second.id
    assert (second.who, second.why, second.servers) == ("release-bot", "a\nb\u2028c", ("s:1",))
    assert history.unfinished() is None


@pytest.mark.parametrize(
    ("changes", "live", "previous"),
    [
        ([], 1, None),
        ([(None, 1, "done")], 1, None),
        ([(None, 1, "done"), (1, 2, "done")], 2, 1),
        # Back, and back again: where it began.
        ([(None, 1, "done"), (1, 2, "done"), (2, 1, "done")], 1, 2),
        ([(None, 1, "done"), (1, 2, "done"), (2, 3, "done"), (3, 2, "done")], 2, 3),
        # What was refused or taken back was never live.
        ([(None, 1, "done"), (1, 2, "done"), (2, 3, "taken back"), (2, 4, "refused")], 2, 1),
        # The experiments in between change nothing.
        ([(None, 1, "done"), (1, 2, "done"), (2, 2, "done")], 2, 1),
        # Promoted by other means.
        ([(None, 1, "done"), (1, 2, "done")], 7, 2),
    ],
)
def test_what_was_live_before(
    history: History, changes: list[tuple[int | None, int, str]], live: int, previous: int | None
) -> None:
    for before, after, verdict in changes:
        change(history, "promote", before, after, verdict)
    assert history.previous_live(live) == previous


def test_a_command_that_was_killed(history: History) -> None:
    change(history, "promote", None, 1, "done")
    change(history, "promote", 1, 2, "")
    unfinished = history.unfinished()
    assert unfinished is not None
    assert unfinished.after == 2
    change(history, "rollback", 1, 1, "done")
    assert history.unfinished() is None


@pytest.mark.parametrize("damage", ["changed", "taken out", "no json", "no entry"])
def test_damage_shows(history: History, damage: str) -> None:
    for version in (1, 2, 3):
        change(history, "promote", None, version, "done")
    lines = history.path.read_text().splitlines()
    new = {
        "changed": lines[2].replace('"after": 2', '"after": 9'),
        "taken out": None,
        "no json": "{",
        "no entry": '{"a": 1}',
    }[damage]
    assert new != lines[2]
    lines[2:3] = [] if new is None else [new]
    history.path.write_text("\n".join(lines) + "\n")
    with pytest.raises(RepositoryError, match=r"line \d+ ") as caught:
        history.entries()
    assert "restore it from a backup" in caught.value.hint


def test_half_a_line_was_never_an_entry(history: History) -> None:
    change(history, "promote", None, 1, "done")
    with history.path.open("a") as stream:
        stream.write('{"id": "half')
    assert len(history.entries()) == 2
    change(history, "promote", 1, 2, "done")
    assert [entry.after for entry in history.entries()] == [1, 1, 2, 2]
