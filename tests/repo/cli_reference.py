"""docs/cli.md, made from the command line itself: `python -m tests.repo.cli_reference`."""

from typing import Any

import typer

from clickclean.app import app
from tests.repo.sources import ROOT

PAGE = ROOT / "docs" / "cli.md"
WIDTH = 88
HEAD = """\
# The command `clickclean`

This page is the program's own `--help`, written by `python -m tests.repo.cli_reference` and checked
by `tests/repo/test_docs.py`. Do not edit it.

Data goes to stdout, progress and logs to stderr. `--json` gives data for programs. A mistake gives
one sentence (`error: ...`), mostly a `hint: ...`, and an exit code; see
[exit codes](architecture.md#exit-codes).
"""


def command() -> Any:
    """The click command behind the Typer app."""
    return typer.main.get_command(app)


def verbs() -> list[str]:
    """The verbs in their order, those of a group with the group's name before them."""
    return [name for name, _ in _verbs(command())]


def page() -> str:
    """The text of docs/cli.md."""
    root = command()
    sections = [("clickclean", _help(root, "clickclean"))]
    for name, verb in _verbs(root):
        sections.append((f"clickclean {name}", _help(verb, f"clickclean {name}")))
    bodies = [f"## `{title}`\n\n```text\n{text}\n```\n" for title, text in sections]
    return "\n".join([HEAD, *bodies])


def _verbs(group: Any) -> list[tuple[str, Any]]:
    found = []
    for name, verb in group.commands.items():
        found.append((name, verb))
        if hasattr(verb, "commands"):
            found += [(f"{name} {below}", one) for below, one in _verbs(verb)]
    return found


def _help(verb: Any, name: str) -> str:
    with verb.context_class(verb, info_name=name, terminal_width=WIDTH) as context:
        text: str = verb.get_help(context)
    return "\n".join(line.rstrip() for line in text.splitlines()).strip()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
