"""The verb `schema`: what a model takes and gives, as a file that a service pins."""

from pathlib import Path
from typing import Annotated

import typer

from clickclean.options import SERVER, Model, ServerOption, VersionOption
from clickclean_client import ClickCleanError


class SchemaChangedError(ClickCleanError):
    """A server's schema is not the one in a file."""

    def __init__(self, model: str, server: str, file: Path, count: int) -> None:
        super().__init__(
            f"model '{model}' at {server} has another schema than {file}: {count}"
            f" difference{'s' if count > 1 else ''}",
            hint=f"change the callers, then: clickclean schema {model} -s {server} -o {file}",
        )


def schema(
    model: Model,
    server: ServerOption = SERVER,
    version: VersionOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write to this file, not to stdout.")
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(help="Compare with this file; exit with 1 where the server differs."),
    ] = None,
    timeout_s: Annotated[float, typer.Option(min=0.001, help="Deadline in seconds.")] = 5.0,
) -> None:
    """Print a model's schema as JSON; without --version that of the promoted one.

    Names, dtypes, axes with their names and ranges, and the batch limit: what a program sends and
    gets. --check prints one line for each difference and no schema. Versions and fingerprint are
    not compared, and ranges only where the server tells them.
    """
    from clickclean.console import say
    from clickclean.files import replacing
    from clickclean_client import Client, load_schema

    pinned = None if check is None else load_schema(check)
    with Client(server, timeout_s=timeout_s) as client:
        served = client.metadata(model, version=version)
    if out is not None:
        with replacing(out) as stream:
            stream.write(served.to_json().encode())
    if check is None or pinned is None:
        if out is None:
            typer.echo(served.to_json(), nl=False)
        return
    differences = pinned.differences(served)
    for difference in differences:
        typer.echo(difference)
    if differences:
        raise SchemaChangedError(model, server, check, len(differences))
    say(f"the schema of {model} at {server} is that of {check}")
