"""Start, change and stop an experiment on running servers: on all of them, or on none.

The challenger stands as ``digits.challenger``, where calls that name no version never reach it. Who
is sent there is a parameter of its config: a change of the split loads that config anew, and the
clients read it within seconds. Nothing about the champion is touched.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clickclean_client import ClickCleanError, Split, slots
from clickclean_export.experiment.change import ChallengerChange
from clickclean_export.experiment.ending import end_everywhere, stands_somewhere
from clickclean_export.experiment.errors import NotNowError, PlanError
from clickclean_export.experiment.plan import ExperimentPlan, SplitChange
from clickclean_export.experiment.store import ExperimentStore, Share, Stored
from clickclean_export.progress import Progress, Silence
from clickclean_export.promote import prepare
from clickclean_export.release.all_servers import ask_all
from clickclean_export.release.errors import ServersError
from clickclean_export.release.live import Released, release
from clickclean_export.release.lock import alone_with
from clickclean_export.release.rollout import Settings
from clickclean_export.release.server import Address, LiveServer, reason
from clickclean_export.repository import Repository


@dataclass(frozen=True)
class ArmOnServer:
    """The challenger on one server.

    Attributes:
        endpoint: Address.
        version: That stands there; None for none.
        percent: In the config that it serves; None for none.
        requests, failures: Since the config was loaded last.
        problem: "" when it is what the repository says.
    """

    endpoint: str
    version: int | None
    percent: float | None
    requests: int
    failures: int
    problem: str


def _need(servers: Sequence[Address]) -> None:
    if not servers:
        raise ServersError(
            "no server was named, and none runs here on this repository",
            hint="add --server host:port, or start clickclean serve",
        )


def start(
    repository: Repository,
    model: str,
    challenger: int,
    share: Share,
    *,
    servers: Sequence[Address],
    choices: dict[str, Any],
    trusted: Sequence[Path] = (),
    why: str = "",
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> ExperimentPlan:
    """Load a challenger beside the promoted version on all servers, and send it its share.

    Args:
        repository: The model repository.
        model: Name.
        challenger: A published version.
        share: Of keys, and of mirrored requests.
        servers: To act on.
        choices: Further fields of ``ExperimentPlan``.
        trusted: Public keys; where there is any, one of them must have signed the challenger.
        why: For the history.
        settings: Bounds of loads and golden requests.
        progress: Is told the steps.

    Raises:
        NotNowError: nothing is promoted, the challenger is, or an experiment runs (exit 2).
        PlanError: a choice is impossible (exit 2).
        ReleaseError: a server failed; the challenger is on none (exit 1).
        ExportError: as ``prepare``.
    """
    repository.find(model, challenger)
    _need(servers)
    with alone_with(repository, model):
        store = ExperimentStore(repository, model)
        champion = _champion(repository, model, challenger, store)
        _check(share)
        now = datetime.now(UTC)
        plan = ExperimentPlan(
            experiment=f"{model}-{challenger}-{now:%Y%m%dT%H%M%S}",
            model=model,
            champion=champion,
            challenger=challenger,
            salt=secrets.token_hex(8),
            started=now.isoformat(timespec="milliseconds"),
            **choices,
        )
        prepared = prepare(repository, model, challenger, without_plans=True, trusted=trusted)
        # Known before a server has it: a command that is killed leaves something to stop.
        store.create(plan, share)
        try:
            with ChallengerChange(
                prepared, plan, servers, settings=settings, progress=progress, why=why
            ) as change:
                change.apply("ab start", share)
        except BaseException as error:
            # Where a challenger stands that could not be taken back, there is something to stop.
            if not getattr(error, "stuck", ()):
                store.change(plan.experiment, Share(0.0), ended=True)
            raise
    return plan


def ramp(
    repository: Repository,
    model: str,
    share: Share,
    *,
    servers: Sequence[Address],
    why: str = "",
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Stored:
    """Change the share of the running experiment, on all servers or on none.

    Raises:
        NotNowError: none runs (exit 2).
        ReleaseError: a server failed; the old share is in force again (exit 1).
    """
    repository.find(model)
    _need(servers)
    with alone_with(repository, model):
        store = ExperimentStore(repository, model)
        stored = _running(store, model)
        promoted = repository.promoted(model)
        if promoted != stored.plan.champion:
            raise NotNowError(
                f"version {promoted} is promoted, and {stored.plan.experiment} compares with"
                f" version {stored.plan.champion}",
                hint=f"clickclean ab stop {model}",
            )
        _check(share)
        prepared = prepare(repository, model, stored.plan.challenger, without_plans=True)
        with ChallengerChange(
            prepared, stored.plan, servers, settings=settings, progress=progress, why=why
        ) as change:
            change.apply("ab ramp", share, back_to=stored.share)
            store.change(stored.plan.experiment, share)
        return store.read(stored.plan.experiment)


def stop(
    repository: Repository,
    model: str,
    *,
    servers: Sequence[Address],
    promote: bool = False,
    trusted: Sequence[Path] = (),
    why: str = "",
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> tuple[Stored | None, Released | None]:
    """End the running experiment; with ``promote`` the challenger becomes the promoted version.

    It is promoted first, so that its callers never lose it. Then the share goes to 0, and when no
    client sends anything any more, the challenger is unloaded. It also clears what a command that
    was killed left of an experiment; what is returned is None then.

    Raises:
        NotNowError: none runs, and nothing is left of one (exit 2).
        ReleaseError: it could not be promoted, and nothing has changed; or a server would not
            unload it (exit 1).
    """
    repository.find(model)
    store = ExperimentStore(repository, model)
    released = None
    if promote:
        stored = _running(store, model)
        released = release(
            repository,
            model,
            stored.plan.challenger,
            servers=servers,
            trusted=trusted,
            why=why or f"winner of {stored.plan.experiment}",
            action="ab stop",
            settings=settings,
            progress=progress,
            during_experiment=True,
        )
    with alone_with(repository, model):
        running = store.running()
        if running is None and not stands_somewhere(repository, model, servers):
            raise _none_runs(model)
        end_everywhere(
            repository,
            model,
            running,
            servers,
            settings=settings or Settings(),
            progress=progress or Silence(),
            why=why,
        )
    return (store.read(running.plan.experiment) if running else None), released


def arms(stored: Stored, servers: Sequence[Address]) -> tuple[ArmOnServer, ...]:
    """Ask each server what it does with the challenger."""
    return ask_all(servers, lambda one: _arm(stored, one))


def _champion(repository: Repository, model: str, challenger: int, store: ExperimentStore) -> int:
    running = store.running()
    if running is not None:
        raise NotNowError(
            f"the experiment {running.plan.experiment} runs already",
            hint=f"clickclean ab ramp {model} --percent N changes it, ab stop {model} ends it",
        )
    champion = repository.promoted(model)
    if champion is None:
        raise NotNowError(
            f"nothing of '{model}' is promoted, so there is no champion",
            hint=f"clickclean promote {model} VERSION",
        )
    if champion == challenger:
        raise NotNowError(
            f"version {challenger} is promoted: it cannot challenge itself",
            hint=f"clickclean versions lists the versions of {model}",
        )
    return champion


def none_yet(model: str) -> NotNowError:
    """Return the error for a model that had no experiment."""
    return NotNowError(
        f"there was no experiment of '{model}' yet",
        hint=f"clickclean ab start {model} --challenger VERSION --percent 10",
    )


def _running(store: ExperimentStore, model: str) -> Stored:
    stored = store.running()
    if stored is None:
        raise _none_runs(model)
    return stored


def _none_runs(model: str) -> NotNowError:
    return NotNowError(
        f"no experiment of '{model}' runs",
        hint=f"clickclean ab start {model} --challenger VERSION --percent 10",
    )


def _check(share: Share) -> None:
    SplitChange(datetime.now(UTC), share.percent)
    try:
        SplitChange(datetime.now(UTC), share.shadow_percent)
    except PlanError as error:
        raise PlanError("shadow", str(error)) from None


def _arm(stored: Stored, address: Address) -> ArmOnServer:
    name = slots.challenger(stored.plan.model)
    with LiveServer(address) as server:
        try:
            standing, config = server.standing(name), server.config(name)
            requests, failures = server.counts(name)
        except ClickCleanError as error:
            return ArmOnServer(address.endpoint, None, None, 0, 0, reason(error))
    version = standing.versions[-1] if standing.versions else None
    percent, problem = None, ""
    split = Split.from_config(config) if config is not None else None
    if split is not None:
        percent = split.percent
        if split.experiment != stored.plan.experiment:
            problem = f"it runs {split.experiment}"
    if not stored.ended and (version != stored.plan.challenger or percent != stored.share.percent):
        problem = problem or "it does not run this experiment as the repository says"
    if stored.ended and version is not None:
        problem = problem or "it still runs a challenger"
    return ArmOnServer(address.endpoint, version, percent, requests, failures, problem)
