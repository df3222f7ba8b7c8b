"""Options that several verbs share, so that they are spelled and explained once."""

import re
from pathlib import Path
from typing import Annotated

import typer

from clickclean_client import ClickCleanError

RepositoryOption = Annotated[
    Path, typer.Option("--repository", "-r", help="The Triton model repository.")
]
ServerOption = Annotated[
    str,
    typer.Option(
        "--server", "-s", envvar="CLICKCLEAN_SERVER", help="gRPC address of a server, host:port."
    ),
]
ServersOption = Annotated[
    list[str] | None,
    typer.Option(
        "--server",
        "-s",
        envvar="CLICKCLEAN_SERVERS",
        help="gRPC address host:port, @FILE, or dns:NAME:PORT; repeatable. Default: the running"
        " clickclean serve of this repository.",
    ),
]
KeyFileOption = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        help="File with the key of the servers' restricted protocols; else $CLICKCLEAN_ADMIN_KEY.",
    ),
]
WhyOption = Annotated[str, typer.Option("--why", "-m", help="For the history.")]
TrustedOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--trusted-key",
        help="Public key, or folder of them; one must have signed the version. Repeatable; else"
        " $CLICKCLEAN_TRUSTED_KEYS.",
    ),
]
VersionOption = Annotated[
    int | None, typer.Option("--version", help="A version number; without it, see above.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Data as JSON on stdout.")]
FleetGpuOption = Annotated[
    list[str] | None,
    typer.Option(
        "--gpu", help="A GPU type of the fleet, 'NVIDIA L4=8.9' (compute capability); repeatable."
    ),
]
TensorrtVersionOption = Annotated[
    str | None, typer.Option(help="TensorRT of the GPU servers; in the Triton image $TRT_VERSION.")
]
VersionCompatibleOption = Annotated[
    bool,
    typer.Option(
        "--version-compatible",
        help="The servers run with --backend-config=tensorrt,version-compatible=true.",
    ),
]
Model = Annotated[str, typer.Argument(help="Name of the model.")]

REPOSITORY = Path("model_repository")
SERVER = "127.0.0.1:8001"

_VERSION = re.compile(r"0*[1-9][0-9]{0,18}")  # Triton's are int64
_SHOWN = 60


class SubjectError(ClickCleanError):
    """A MODEL[:VERSION] that cannot be read."""

    exit_code = 2


def split_version(subject: str) -> tuple[str, int | None]:
    """Split ``MODEL[:VERSION]``.

    Raises:
        SubjectError: the version is no number (exit 2).
    """
    model, colon, version = subject.partition(":")
    if not colon:
        return model, None
    if not _VERSION.fullmatch(version) or not model:
        shown = subject if len(subject) <= _SHOWN else f"{subject[:_SHOWN]}..."
        raise SubjectError(
            f"'{shown}' is no MODEL:VERSION", hint="a version is a number from 1: digits:3"
        )
    return model, int(version)
