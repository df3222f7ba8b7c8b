"""What the pages say is so: links, commands, options, targets, examples."""

import re
import shlex
from pathlib import Path

import click
import pytest

from clickclean_loadtest.options import add_arguments
from clickclean_server import Endpoint
from tests.conftest import Command
from tests.repo import cli_reference
from tests.repo.sources import ROOT, Block, blocks, commands, pages
from tests.repo.test_pins import EXTRAS

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+\s+(.*)$", re.MULTILINE)
TYPED = [
    pytest.param(page, line, id=f"{page.relative_to(ROOT)}: {line}")
    for page in pages()
    for line in commands(page)
]
EXAMPLES = [
    pytest.param(block, id=f"{page.relative_to(ROOT)} {number}")
    for page in pages()
    for number, block in enumerate(blocks(page))
    if block.language == "python"
]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    broken = [link for link in _links(page) if not _leads_somewhere(page, link)]
    assert not broken


def test_the_pages_that_readers_expect_are_there() -> None:
    names = {page.relative_to(ROOT).as_posix() for page in pages()}
    assert {
        *("README.md", "README.ko.md", "CHANGELOG.md", "CONTRIBUTING.md"),
        *("docs/architecture.md", "docs/recipe.md", "docs/cli.md", "model_repository/README.md"),
    } <= names


@pytest.mark.parametrize(("page", "line"), TYPED)
def test_what_a_reader_may_type_exists(page: Path, line: str) -> None:
    words = shlex.split(line, comments=True)
    while words[-1] == "&":
        words.pop()
    checks = {
        ".": _sourced,
        "clickclean": _clickclean,
        "locust": _locust,
        "make": _make,
        "pip": _pip,
        "python": _python,
    }
    checks[words[0]](words[1:])


def test_both_readmes_have_the_same_code_blocks() -> None:
    assert blocks(ROOT / "README.ko.md") == blocks(ROOT / "README.md")


def test_the_readme_begins_with_the_demo() -> None:
    assert commands(ROOT / "README.md")[0] == "make demo"


def test_the_cli_page_is_the_programs_own_help() -> None:
    hint = "run: python -m tests.repo.cli_reference"
    assert cli_reference.PAGE.read_text(encoding="utf-8") == cli_reference.page(), hint


@pytest.mark.parametrize("verb", ["", *cli_reference.verbs()])
def test_help_works(clickclean: Command, verb: str) -> None:
    done = clickclean(*verb.split(), "--help")
    assert done.code == 0
    assert done.out.startswith(f"Usage: clickclean {verb}".rstrip())
    assert done.err == ""


@pytest.mark.parametrize("block", EXAMPLES)
def test_python_examples_run(block: Block, digits: Endpoint) -> None:
    # Theirs is the port that a reader's own server has.
    program = block.text.replace("127.0.0.1:8001", digits.grpc)
    exec(compile(program, "example", "exec"), {"__name__": "__main__"})  # noqa: S102


def _links(page: Path) -> list[str]:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [link for link in _LINK.findall(text) if "://" not in link]


def _leads_somewhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists() or not target.is_relative_to(ROOT):
        return False
    return not anchor or anchor in _anchors(target)


def _anchors(page: Path) -> set[str]:
    headings = _HEADING.findall(page.read_text(encoding="utf-8"))
    plain = (re.sub(r"[^\w\s-]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


def _sourced(words: list[str]) -> None:
    # A virtual environment's activation; `make setup` makes the environment.
    assert words == [".venv/bin/activate"]


def _clickclean(words: list[str]) -> None:
    root = cli_reference.command()
    verb, rest, names = root, words, ["clickclean"]
    while hasattr(verb, "commands"):
        verb, rest, names = verb.commands[rest[0]], rest[1:], [*names, rest[0]]
    # Parses as the program does, and runs nothing.
    with verb.make_context(names[-1], rest, parent=click.Context(root)):
        pass


def _make(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in words:
        assert "=" in target or re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE)


def _pip(words: list[str]) -> None:
    assert words[0] == "install"
    for word in words[1:]:
        extras = re.search(r"\[([\w,]+)\]$", word)
        if extras:
            assert set(extras[1].split(",")) <= set(EXTRAS)
        elif word not in {"-c", "-e", "."}:
            assert (ROOT / word).exists()


def _python(words: list[str]) -> None:
    if words[0] == "-m":
        assert (ROOT / (words[1].replace(".", "/") + ".py")).exists()
    else:
        assert (ROOT / words[0]).is_file()


def _locust(words: list[str]) -> None:
    known: set[str] = {"-f", "--host", "--headless", "--help"}

    class Flags:
        @staticmethod
        def add_argument(flag: str, **_: object) -> None:
            known.add(flag)

    add_arguments(Flags)
    assert {word for word in words if word.startswith("-")} <= known
    assert (ROOT / words[words.index("-f") + 1]).is_file()
