"""The page and the command say what the rules say."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from clickclean.lint_app import lint
from tests.export.repository_lint import lint_page
from tests.export.repository_lint.repositories import CONFIG, ONNX
from tests.export.repository_lint.trees import Tree, put, swap, write

BROKEN = swap(CONFIG, '"net"', '"other"')(ONNX)


@pytest.fixture(scope="module")
def app() -> typer.Typer:
    made = typer.Typer()
    made.command()(lint)
    return made


def test_the_page_has_the_rules_as_they_are() -> None:
    hint = "run: python -m tests.export.repository_lint.lint_page"
    assert lint_page.PAGE.read_text(encoding="utf-8") == lint_page.page(), hint


@pytest.mark.parametrize(
    ("tree", "options", "code"),
    [
        (ONNX, (), 0),
        (BROKEN, (), 2),
        (put("net/02/x", "x")(ONNX), (), 0),
        (put("net/02/x", "x")(ONNX), ("--strict",), 2),
    ],
)
def test_the_exit_code_is_the_verdict(
    app: typer.Typer, tree: Tree, options: tuple[str, ...], code: int, tmp_path: Path
) -> None:
    done = CliRunner().invoke(app, [str(write(tree, tmp_path)), *options])
    assert done.exit_code == code, done.output


def test_findings_are_grouped_by_model(app: typer.Typer, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [str(write(BROKEN, tmp_path)), "net"])
    lines = done.stdout.splitlines()
    assert lines[:2] == ["net", "  error: name-differs  net/config.pbtxt:1"]
    assert lines[3].startswith("    hint: ")
    assert lines[4].startswith("    see: https://")
    assert "1 model: 1 error, 0 warnings" in done.stderr


def test_findings_are_data_on_request(app: typer.Typer, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [str(write(BROKEN, tmp_path)), "--json"])
    (finding,) = json.loads(done.stdout)
    assert finding["code"] == "name-differs"
    assert set(finding) == {
        *("code", "severity", "model", "file", "line", "problem", "hint", "source"),
    }
