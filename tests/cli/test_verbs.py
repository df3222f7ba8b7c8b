"""The verbs that need no server."""

import json
from pathlib import Path

from tests.conftest import Command, PublishedModels
from tests.models.plans import H100, L4, add_plan


def test_publish_says_what_it_did(published: PublishedModels) -> None:
    summary = published.digits
    assert (summary["model"], summary["version"], summary["promoted"]) == ("digits", 1, True)
    assert summary["hops_not_run"] == []
    assert summary["hops"]["served"]["accuracy"] >= 0.95
    assert summary["size_ratio"] < 0.5


def test_versions(clickclean: Command, published: PublishedModels) -> None:
    done = clickclean("versions", "-r", str(published.repository), "--json")
    assert done.json == [
        {"model": model, "versions": [1], "promoted": 1, "plans": {}, "damaged": {}}
        for model in ("digits", "strokes")
    ]
    assert (
        "digits  versions 1  promoted 1"
        in clickclean("versions", "-r", str(published.repository)).out
    )


def test_versions_with_plans_of_which_one_is_damaged(
    clickclean: Command, published: PublishedModels, tmp_path: Path
) -> None:
    repository = published.copy(tmp_path / "repository")
    good, bad = (add_plan(repository / "digits" / "1", gpu) for gpu in (L4, H100))
    folder = repository / "digits" / "1" / "engines" / bad.id
    record = json.loads((folder / "record.json").read_bytes())
    (folder / "record.json").chmod(0o644)
    (folder / "record.json").write_text(json.dumps({**record, "version": "one"}))
    done = clickclean("versions", "-r", str(repository))
    assert done.code == 0, done.err
    digits, strokes = done.out.splitlines()
    assert digits.startswith(f"digits  versions 1 (plans 8.9; plans damaged: {folder}/record.json")
    assert f"(rm -r {folder}, then clickclean engine build again))  promoted 1" in digits
    assert strokes == "strokes  versions 1  promoted 1"
    (row, _) = clickclean("versions", "-r", str(repository), "--json").json
    assert row["plans"] == {"1": [good.inputs.compute_capability]}
    assert [list(row["damaged"]), len(row["damaged"]["1"])] == [["1"], 1]
    assert "version: " in row["damaged"]["1"][0]


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
