"""Options that several verbs share, so that they are spelled and explained once."""

from pathlib import Path
from typing import Annotated

import typer

RepositoryOption = Annotated[
    Path, typer.Option("--repository", "-r", help="The Triton model repository.")
]
ServerOption = Annotated[
    str,
    typer.Option(
        "--server", "-s", envvar="CLICKCLEAN_SERVER", help="gRPC address of a server, host:port."
    ),
]
VersionOption = Annotated[
    int | None, typer.Option("--version", help="A version number; without it, see above.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Data as JSON on stdout.")]
Model = Annotated[str, typer.Argument(help="Name of the model.")]

REPOSITORY = Path("model_repository")
SERVER = "127.0.0.1:8001"
