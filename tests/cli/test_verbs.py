"""The verbs that need no server."""

from pathlib import Path

from tests.conftest import Command, PublishedModels


def test_publish_says_what_it_did(published: PublishedModels) -> None:
    summary = published.digits
    assert (summary["model"], summary["version"], summary["promoted"]) == ("digits", 1, True)
    assert summary["hops_not_run"] == []
    assert summary["hops"]["served"]["accuracy"] >= 0.95
    assert summary["size_ratio"] < 0.5


def test_versions(clickclean: Command, published: PublishedModels) -> None:
    done = clickclean("versions", "-r", str(published.repository), "--json")
    assert done.json == [
        {"model": "digits", "versions": [1], "promoted": 1},
        {"model": "strokes", "versions": [1], "promoted": 1},
    ]
    assert (
        "digits  versions 1  promoted 1"
        in clickclean("versions", "-r", str(published.repository)).out
    )


def test_report(clickclean: Command, published: PublishedModels, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    done = clickclean("report", "digits", "-r", str(published.repository), "--out", str(page))
    assert done.code == 0, done.err
    assert "accuracy, INT8 (served)" in done.out
    assert page.read_text().startswith("<!doctype html>")


def test_print_command_is_one_line_of_tritonserver(
    clickclean: Command, published: PublishedModels
) -> None:
    done = clickclean("serve", "-r", str(published.repository), "--print-command")
    assert done.code == 0, done.err
    assert "--model-config-name=cpu" in done.out
    assert str(published.repository) in done.out
