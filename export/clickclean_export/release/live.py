"""Promote and roll back: the lock, the servers, the history and the repository around a rollout."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from clickclean_export.engine.preflight import Target
from clickclean_export.experiment.store import ExperimentStore
from clickclean_export.progress import Progress, Silence
from clickclean_export.promote import Prepared, commit, prepare
from clickclean_export.release.all_servers import connected
from clickclean_export.release.errors import (
    ExperimentRunsError,
    NothingToRollBackError,
    ReleaseError,
    ReleaseRefused,
)
from clickclean_export.release.history import Entry, History, Verdict
from clickclean_export.release.lock import alone_with
from clickclean_export.release.rollout import Phase, PhaseFailed, Rollout, Settings
from clickclean_export.release.server import Address, hint_for, reason
from clickclean_export.repository import Repository


@dataclass(frozen=True)
class Released:
    """What a release changed.

    Attributes:
        model: Name.
        version: Now live.
        previous: Promoted before; None at the first time.
        servers: Addresses that answer with it; empty when only the repository was written.
        still_asked: Servers on which callers still name the old version, so it stays there.
    """

    model: str
    version: int
    previous: int | None
    servers: tuple[str, ...]
    still_asked: tuple[str, ...] = ()


def release(
    repository: Repository,
    model: str,
    version: int | None = None,
    *,
    servers: Sequence[Address] = (),
    fleet: Sequence[Target] = (),
    without_plans: bool = False,
    trusted: Sequence[Path] = (),
    why: str = "",
    action: str = "promote",
    settings: Settings | None = None,
    progress: Progress | None = None,
    during_experiment: bool = False,
) -> Released:
    """Make a version live on all servers and in the repository, or nowhere.

    Args:
        repository: That the servers read too.
        model: Name.
        version: Number; the newest without it.
        servers: To act on; with none the repository alone is changed.
        fleet: As for ``prepare``.
        without_plans: As for ``prepare``.
        trusted: As for ``prepare``.
        why: For the history.
        action: For the history.
        settings: Of the rollout.
        progress: Is told the phases.
        during_experiment: Although an experiment compares with the version that is live.

    Raises:
        BusyError: another command changes the same model (exit 1).
        ExperimentRunsError: an experiment runs (exit 2).
        ReleaseError: a server failed; all were taken back (exit 1).
        ReleaseRefused: a server did not prove the version; all were taken back (exit 3).
        ExportError: as ``prepare`` and ``commit``.
    """
    number, _ = repository.find(model, version)
    with alone_with(repository, model):
        if not during_experiment and ExperimentStore(repository, model).running() is not None:
            raise ExperimentRunsError(model)
        history = History(repository, model)
        began = history.began(
            action,
            before=repository.promoted(model),
            after=number,
            why=why,
            servers=tuple(address.endpoint for address in servers),
        )
        try:
            prepared = prepare(
                repository, model, number, fleet=fleet, without_plans=without_plans, trusted=trusted
            )
        except BaseException as error:
            history.ended(began, "refused", str(error))
            raise
        return _release(prepared, servers, began, settings or Settings(), progress or Silence())


def roll_back(
    repository: Repository,
    model: str,
    *,
    servers: Sequence[Address] = (),
    trusted: Sequence[Path] = (),
    without_plans: bool = False,
    why: str = "",
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Released:
    """Make the version live again that was live before, without loading it twice.

    It was proven on these servers when it was promoted, so the switch is one call for each.

    Raises:
        NothingToRollBackError: the history names no other version (exit 2).
        ExportError: as ``release``.
    """
    repository.find(model)
    live = repository.promoted(model)
    history = History(repository, model)
    unfinished = history.unfinished()
    target = history.previous_live(live)
    if unfinished is not None and unfinished.after != unfinished.before:
        # Servers may be ahead of the repository. A rollback that was killed goes on; anything else
        # is undone, and back is what the repository says.
        target = unfinished.after if unfinished.action == "rollback" else live
    if target is None:
        raise NothingToRollBackError(model, live)
    return release(
        repository,
        model,
        target,
        servers=servers,
        without_plans=without_plans,
        trusted=trusted,
        why=why,
        action="rollback",
        settings=replace(settings or Settings(hold=False), prove_alone=False),
        progress=progress,
        # Going back must not wait for anything; `ab status` says that the champion has changed.
        during_experiment=True,
    )


def _release(
    prepared: Prepared,
    addresses: Sequence[Address],
    began: Entry,
    settings: Settings,
    progress: Progress,
) -> Released:
    history = History(prepared.repository, prepared.model)
    with ExitStack() as stack:
        try:
            servers = stack.enter_context(connected(addresses, settings.load_timeout_s))
            rollout = Rollout(prepared, servers, settings, progress)
        except BaseException as error:
            history.ended(began, "refused", _detail(error))
            raise
        try:
            still_asked = rollout.run() if servers else ()
            commit(prepared)
        except BaseException as error:
            stuck = rollout.take_back() if servers else []
            verdict: Verdict = "not taken back" if stuck else "taken back"
            if isinstance(error, PhaseFailed) and error.phase is Phase.PREFLIGHT:
                verdict = "refused"  # nothing was touched
            history.ended(began, verdict, "; ".join([_detail(error), *stuck]))
            if isinstance(error, PhaseFailed):
                raise _worded(error, prepared, rollout.still, stuck) from error
            raise
    history.ended(began, "done", fingerprint=prepared.proof.fingerprint)
    model, version, previous = prepared.model, prepared.version, prepared.previous
    return Released(model, version, previous, began.servers, still_asked)


def _detail(error: BaseException) -> str:
    if isinstance(error, PhaseFailed):
        shown = "; ".join(f"{server}: {reason(why)}" for server, why in error.failures.items())
        return f"{error.phase.value}: {shown}"
    return f"{type(error).__name__}: {error}".rstrip(": ")


def _worded(
    error: PhaseFailed, prepared: Prepared, still: str, stuck: Sequence[str]
) -> ReleaseError:
    kind = ReleaseRefused if error.refused else ReleaseError
    return kind(
        f"version {prepared.version} of '{prepared.model}' was not promoted: it failed",
        error.phase.value,
        {server: reason(why) for server, why in error.failures.items()},
        still=still,
        stuck=stuck,
        hint=hint_for(error.failures.values()),
    )
