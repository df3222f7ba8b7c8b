"""The verb `lint`: what a Triton server would refuse or do unasked, said of its repository."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clickclean.options import REPOSITORY, JsonOption

if TYPE_CHECKING:
    from clickclean_export.repository_lint.finding import LintFinding
    from clickclean_export.repository_lint.run import LintReport


def lint(
    repository: Annotated[Path, typer.Argument(help="Any Triton model repository.")] = REPOSITORY,
    model: Annotated[
        list[str] | None, typer.Argument(help="Look at these models only; default: all.")
    ] = None,
    slo_ms: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            help="Answer time aimed at; default: what the served version was published for, else"
            " 200.",
        ),
    ] = None,
    fleet: Annotated[
        str | None,
        typer.Option(
            help="Only what this fleet's servers read: 'gpu' is config.pbtxt, another name is the"
            " server's --model-config-name. Default: every config."
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 2 for warnings too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare the configs of a model repository with each other, its files and the target.

    It works without a server and on repositories that Click Clean did not write. Each finding has
    a stable code; docs/lint.md lists them with causes and public sources. Exit code: 0 without
    errors, 2 with one.
    """
    from clickclean.console import print_json, say
    from clickclean_export.repository_lint.run import lint_repository

    report = lint_repository(repository, model or (), slo_ms=slo_ms, fleet=fleet)
    if as_json:
        print_json([asdict(finding) for finding in report.findings])
    elif report.findings:
        typer.echo(as_text(report))
    for sentence in report.skipped:
        say(f"note: {sentence}")
    say(_summary(report))
    raise typer.Exit(report.exit_code(strict=strict))


def as_text(report: "LintReport") -> str:
    """Word the findings, one block for each model."""
    blocks = []
    for name in dict.fromkeys(finding.model for finding in report.findings):
        lines = [name]
        for finding in report.findings:
            if finding.model == name:
                lines += _lines(finding)
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _lines(finding: "LintFinding") -> list[str]:
    return [
        f"  {finding.severity}: {finding.code}  {finding.place}",
        f"    {finding.problem}",
        f"    hint: {finding.hint}",
        f"    see: {finding.source}",
    ]


def _summary(report: "LintReport") -> str:
    return (
        f"{_count(len(report.models), 'model')}: {_count(report.errors, 'error')},"
        f" {_count(report.warnings, 'warning')}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
