"""Every error that this package raises on purpose.

ClickCleanError
└── ServerError
    ├── RepositoryError      the path given is not a usable model repository (exit 2)
    ├── UnknownModelError    a model was asked for that the repository does not have (exit 2)
    ├── NothingPromotedError there is no live version to serve (exit 2)
    ├── ConfigBrokenError    a model's config cannot be served as it stands (exit 2)
    ├── VersionBrokenError   a promoted version lacks a file or fails its golden request (exit 1)
    ├── PortInUseError       a given port is taken (exit 1)
    ├── PortInvalidError     a given port cannot be listened on (exit 2)
    ├── PlatformError        wrong Python, NumPy 2, missing wheel or library (exit 4)
    ├── StartTimeoutError    the server was not ready in time (exit 1)
    └── ServerLostError      the server failed again and again, or its supervisor died (exit 1)
"""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import ClassVar

from clickclean_client._exceptions import ClickCleanError


class ServerError(ClickCleanError):
    """Root of this package's errors."""


class RepositoryError(ServerError):
    """The path given is not a usable model repository."""

    exit_code: ClassVar[int] = 2

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(
            f"The model repository {path} {problem}.",
            hint="Publish a model first, or give the folder that holds the model folders.",
        )


class UnknownModelError(ServerError):
    """A model was asked for that the repository does not have."""

    exit_code: ClassVar[int] = 2

    def __init__(self, model: str, repository: Path, known: Sequence[str]) -> None:
        near = get_close_matches(model, known, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"It has: {', '.join(known) or 'none'}."
        super().__init__(f"There is no model {model!r} in {repository}.", hint=hint)


class NothingPromotedError(ServerError):
    """There is no live version to serve."""

    exit_code: ClassVar[int] = 2

    def __init__(self, repository: Path, models: Sequence[str], fleet: str) -> None:
        what = f"of {', '.join(models)} " if models else ""
        super().__init__(
            f"No version {what}in {repository} is promoted for the fleet {fleet!r}.",
            hint="Run `clickclean promote MODEL VERSION`, or publish with --promote.",
        )


class ConfigBrokenError(ServerError):
    """A model's config cannot be served as it stands."""

    exit_code: ClassVar[int] = 2

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(
            f"The config {path} cannot be served: {problem.rstrip('.')}.",
            hint="Promote the version again; that writes the config anew.",
        )


class VersionBrokenError(ServerError):
    """A promoted version lacks a file, does not load, or fails its golden request."""

    def __init__(self, model: str, version: int, problem: str, *, log: Path | None = None) -> None:
        super().__init__(
            f"Version {version} of model {model!r} cannot be served: {problem.rstrip('.')}.",
            hint=f"Promote another version{f'; the server log is {log}' if log else ''}.",
        )


class PortInUseError(ServerError):
    """A given port is taken."""

    def __init__(self, port: int, flag: str) -> None:
        super().__init__(
            f"Port {port} on 127.0.0.1 is in use.",
            hint=f"Give another {flag}, or none to have a free port chosen.",
        )


class PortInvalidError(ServerError):
    """A given port cannot be listened on."""

    exit_code: ClassVar[int] = 2

    def __init__(self, port: int, problem: str) -> None:
        super().__init__(f"Port {port} {problem}.", hint="Give a port from 1024 to 65535.")


class PlatformError(ServerError):
    """Wrong Python, NumPy 2, a missing wheel or a missing library."""

    exit_code: ClassVar[int] = 4

    def __init__(self, problem: str, *, remedy: str) -> None:
        super().__init__(f"{problem}.", hint=f"{remedy}.")


class StartTimeoutError(ServerError):
    """The server was not ready in time."""

    def __init__(self, waited_s: float, what: str, log: Path | None) -> None:
        super().__init__(
            f"{what} was not ready within {waited_s:g} s.",
            hint=f"The server log is {log}." if log else "",
        )


class ServerLostError(ServerError):
    """The server failed again and again, or its supervisor died."""

    def __init__(self, problem: str, log: Path | None) -> None:
        super().__init__(f"{problem.rstrip('.')}.", hint=f"The server log is {log}." if log else "")
