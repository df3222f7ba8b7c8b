"""Versions that must not be removed: what servers have loaded, and what a rollback goes to."""

from collections.abc import Sequence

from clickclean_client import slots
from clickclean_export.experiment.store import ExperimentStore
from clickclean_export.release.history import History
from clickclean_export.release.server import Address, LiveServer
from clickclean_export.repository import Repository


def in_use(repository: Repository, model: str, servers: Sequence[Address]) -> frozenset[int]:
    """Return the numbers of a model's versions that are loaded somewhere, or were live before.

    Raises:
        RepositoryError: the history cannot be read (exit 1).
        ClientError: a server cannot be asked: what it has loaded is not known (exit 1).
    """
    history = History(repository, model)
    live = repository.promoted(model)
    found = {live, history.previous_live(live)}
    unfinished = history.unfinished()
    if unfinished is not None:
        found |= {unfinished.before, unfinished.after}
    running = ExperimentStore(repository, model).running()
    if running is not None:
        found |= {running.plan.champion, running.plan.challenger}
    for address in servers:
        with LiveServer(address) as server:
            for name in server.names():
                if name == model or slots.owner(name) == model:
                    found |= set(server.standing(name).versions)
    return frozenset(number for number in found if number is not None)
