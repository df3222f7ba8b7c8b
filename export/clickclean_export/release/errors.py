"""Errors of releases."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from clickclean_export.errors import ExportError

_SHOWN = 3


class ServersError(ExportError):
    """The servers of a release cannot be used as named."""

    exit_code: ClassVar[int] = 2


class BusyError(ExportError):
    """Another command changes the same model."""

    def __init__(self, model: str) -> None:
        super().__init__(
            f"another command is changing '{model}'",
            hint="wait until it has ended; a lock that nobody holds is free at once",
        )


class ReleaseError(ExportError):
    """A release failed; the old version is live on every server that could be asked."""

    def __init__(
        self,
        what: str,
        phase: str,
        failures: Mapping[str, str],
        *,
        still: str,
        stuck: Sequence[str] = (),
        hint: str = "",
    ) -> None:
        shown = [f"{server}: {why}" for server, why in list(failures.items())[:_SHOWN]]
        if len(failures) > _SHOWN:
            shown.append(f"and {len(failures) - _SHOWN} more servers")
        left = f"; not taken back: {'; '.join(stuck)}" if stuck else ""
        super().__init__(
            f"{what} in phase '{phase}': {'; '.join(shown)}; {still}{left}",
            hint=hint
            or ("clickclean status tells what each server does" if stuck else "")
            or "the server's log says more",
        )
        self.phase = phase
        self.failures = dict(failures)
        self.stuck = tuple(stuck)


class ReleaseRefused(ReleaseError):  # noqa: N818 - "refused" is the outcome, not a malfunction
    """A server did not prove the version: it does not load there, or answers wrongly."""

    exit_code: ClassVar[int] = 3


class NothingToRollBackError(ExportError):
    """No version was live before this one."""

    exit_code: ClassVar[int] = 2

    def __init__(self, model: str, live: int | None) -> None:
        now = f"version {live} is" if live else "nothing is"
        super().__init__(
            f"there is no version of '{model}' to go back to: {now} live, and the history names no"
            " other",
            hint=f"clickclean promote {model} VERSION",
        )


class ExperimentRunsError(ExportError):
    """An experiment compares a challenger with the version that is live."""

    exit_code: ClassVar[int] = 2

    def __init__(self, model: str) -> None:
        super().__init__(
            f"an experiment of '{model}' runs; promoting would change what it compares with",
            hint=f"clickclean ab stop {model}, or ab stop {model} --promote",
        )
