"""What every server really does with a model, beside what the repository says."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clickclean_client import ClientError, Golden, GoldenError, slots
from clickclean_export.disk import locked
from clickclean_export.errors import IntegrityError, RepositoryError
from clickclean_export.experiment.store import ExperimentStore
from clickclean_export.manifest import fingerprint
from clickclean_export.release.all_servers import ask_all
from clickclean_export.release.history import Entry, History
from clickclean_export.release.server import Address, LiveServer, reason
from clickclean_export.repository import Repository

ASK_S = 5.0


@dataclass(frozen=True)
class SlotStatus:
    """A version that stands beside the live one on a server.

    Attributes:
        name: Such as "digits.v1" or "digits.challenger".
        versions: Ready ones.
        fingerprint: In its served config.
        requests: Since it was loaded.
    """

    name: str
    versions: tuple[int, ...]
    fingerprint: str
    requests: int


@dataclass(frozen=True)
class ServerStatus:
    """One server.

    Attributes:
        endpoint: Address.
        live: The version that an unnamed golden request got; None when there was no answer.
        golden: Whether that answer was the publisher's.
        fingerprint: In the served config; "" for none.
        slots: What stands beside it.
        problem: Why it is not what it should be; "" when it is.
    """

    endpoint: str
    live: int | None
    golden: bool
    fingerprint: str
    slots: tuple[SlotStatus, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class ModelStatus:
    """One model on all servers.

    Attributes:
        model: Name.
        promoted: By the repository; None for none.
        fingerprint: Of the promoted version's manifest.
        servers: What each does.
        unfinished: A change that began and has not ended.
        under_way: Its command is at work; else it was killed.
        problems: Sentences; empty when all is well.
    """

    model: str
    promoted: int | None
    fingerprint: str
    servers: tuple[ServerStatus, ...]
    unfinished: Entry | None = None
    under_way: bool = False
    problems: tuple[str, ...] = field(default=())

    @property
    def degraded(self) -> bool:
        """Whether anything differs from what the repository says."""
        return bool(self.problems)


def status(repository: Repository, model: str, addresses: Sequence[Address]) -> ModelStatus:
    """Ask every server a golden request that names no version, and compare.

    A server is well when the promoted version answers, rightly, from the bytes of its manifest.
    That also finds a model process that is dead or hung while Triton's health says ready.

    Raises:
        VersionNotFoundError: the repository has no such model (exit 1).
        RepositoryError: the repository or the history cannot be read (exit 1).
    """
    repository.find(model)
    promoted = repository.promoted(model)
    problems: list[str] = []
    wanted = ""
    if promoted is not None:
        try:
            wanted = fingerprint(repository.version_dir(model, promoted))
        except IntegrityError as error:
            problems.append(str(error))
    found = ask_all(addresses, lambda one: _server(repository, model, promoted, wanted, one))
    problems += [f"{one.endpoint}: {one.problem}" for one in found if one.problem]
    live = sorted({one.live for one in found if one.live is not None})
    if len(live) > 1:
        problems.append(f"servers differ: versions {', '.join(map(str, live))} are live")
    unfinished = None
    try:
        unfinished = History(repository, model).unfinished()
    except RepositoryError as error:
        problems.append(f"{error} ({error.hint})")
    problems += _experiment_problems(repository, model, found)
    under_way = unfinished is not None and _under_way(repository, model)
    if unfinished is not None and not under_way:
        problems.append(
            f"'{unfinished.action}' from version {unfinished.before or 'none'} to"
            f" {unfinished.after or 'none'} by {unfinished.who} began at {unfinished.at} and never"
            " ended"
        )
    return ModelStatus(model, promoted, wanted, found, unfinished, under_way, tuple(problems))


def _under_way(repository: Repository, model: str) -> bool:
    """Whether somebody holds the lock that every change holds from its first line to its last."""
    try:
        with locked(repository.root / model, wait=False):
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def _experiment_problems(
    repository: Repository, model: str, servers: Sequence[ServerStatus]
) -> list[str]:
    running = ExperimentStore(repository, model).running()
    if running is not None:
        promoted = repository.promoted(model)
        changed = promoted != running.plan.champion
        sentence = (
            f"{running.plan.experiment} still runs, and version {promoted} is promoted, not its"
        )
        return [f"{sentence} champion {running.plan.champion}"] if changed else []
    name = slots.challenger(model)
    return [
        f"{server.endpoint}: {name} stands there without an experiment (clickclean ab stop {model})"
        for server in servers
        if any(slot.name == name for slot in server.slots)
    ]


def _server(
    repository: Repository, model: str, promoted: int | None, wanted: str, address: Address
) -> ServerStatus:
    live, golden, served = None, False, ""
    beside: tuple[SlotStatus, ...] = ()
    with LiveServer(address) as server:
        try:
            standing = server.standing(model)
            beside = _beside(server, model)
            if not standing.versions:
                states = {state for state, _ in standing.states.values()}
                problem = (
                    f"'{model}' is not loaded ({', '.join(sorted(states)) or 'unknown to it'})"
                )
                if promoted is None:
                    problem = ""
                return ServerStatus(address.endpoint, None, golden, "", beside, problem)
            served = server.fingerprint(model)
            pulse = _pulse(repository.version_dir(model, standing.versions[-1]))
            live, golden = server.answering(model, pulse, ASK_S)
        except (ClientError, GoldenError) as error:
            problem = reason(error)
            return ServerStatus(address.endpoint, live, golden, served, beside, problem)
    problem = ""
    if not golden:
        problem = f"version {live} answers, but not what its publisher got"
    elif live != promoted:
        now = f"version {promoted}" if promoted else "nothing"
        problem = f"version {live} is live, the repository says {now}"
    elif served != wanted:
        problem = f"it serves the fingerprint {served[:12] or 'none'}, not {wanted[:12]}"
    return ServerStatus(address.endpoint, live, golden, served, beside, problem)


def _beside(server: LiveServer, model: str) -> tuple[SlotStatus, ...]:
    names = {name for name in server.names() if slots.owner(name) == model}
    return tuple(
        SlotStatus(
            name, server.standing(name).versions, server.fingerprint(name), server.requests(name)
        )
        for name in sorted(names)
    )


def _pulse(directory: Path) -> Golden:
    return Golden.load(directory / "golden.npz").row(0)
