"""`clickclean` lines that stand in files, held against the real command."""

import click

from tests.repo.cli_reference import command


def verb_of(words: list[str]) -> str:
    """Parse a line as the program does, run nothing; returns the verb, such as "engine build"."""
    assert words[0] == "clickclean"
    verb, rest, names = command(), words[1:], list[str]()
    while hasattr(verb, "commands"):
        verb, rest, names = verb.commands[rest[0]], rest[1:], [*names, rest[0]]
    with verb.make_context(names[-1], list(rest), parent=click.Context(command())):
        return " ".join(names)
