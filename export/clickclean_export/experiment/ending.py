"""Take a challenger off all servers. Nothing may keep an experiment from ending."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from clickclean_client import ClickCleanError, ClientError, Split, slots
from clickclean_client.slots import SPLIT
from clickclean_export.errors import RepositoryError
from clickclean_export.experiment.store import ExperimentStore, Share, Stored
from clickclean_export.progress import Progress
from clickclean_export.release.all_servers import connected, on_all
from clickclean_export.release.errors import ReleaseError
from clickclean_export.release.history import History
from clickclean_export.release.rollout import Settings
from clickclean_export.release.server import Address, LiveServer, reason, servers_text
from clickclean_export.release.slot_folders import close_slot
from clickclean_export.repository import CPU_CONFIG, GPU_CONFIG, Repository

_POLL_S = 0.2
# Clients read the split about every 2 s.
_QUIET_S = 3.0
_DRAIN_S = 15.0


def stands_somewhere(repository: Repository, model: str, servers: Sequence[Address]) -> bool:
    """Return whether a challenger has a folder, or a server that can be asked has it loaded."""
    name = slots.challenger(model)
    if (repository.root / name).is_dir():
        return True
    for address in servers:
        with suppress(ClickCleanError), LiveServer(address) as server:
            if server.standing(name).versions:
                return True
    return False


def end_everywhere(
    repository: Repository,
    model: str,
    stored: Stored | None,
    servers: Sequence[Address],
    *,
    settings: Settings,
    progress: Progress,
    why: str,
) -> None:
    """Send nobody any more, wait until nobody asks, unload, and say that it has ended.

    The version itself is not looked at: one that was altered or removed must be stoppable too. What
    a server refuses does not keep the others from being cleared. The caller holds the lock.

    Args:
        repository: The model repository.
        model: Name.
        stored: The experiment; None clears what one left that is not known any more.
        servers: To act on.
        settings: Bounds of loads.
        progress: Is told the steps.
        why: For the history.

    Raises:
        ReleaseError: it still stands on a server (exit 1).
        RepositoryError: the file system refuses (exit 1).
    """
    name = slots.challenger(model)
    store, history = ExperimentStore(repository, model), History(repository, model)
    promoted = repository.promoted(model)
    began = history.began(
        "ab stop",
        before=promoted,
        after=promoted,
        why=why or (stored.plan.experiment if stored else f"clear {name}"),
        servers=tuple(address.endpoint for address in servers),
    )
    # First what a server reads that starts again now, and what the next command reads.
    _forget_configs(repository, name)
    if stored is not None:
        store.change(stored.plan.experiment, Share(0.0), ended=True)
    with connected(servers, settings.load_timeout_s) as live:
        progress.begin("share 0")
        on_all(live, lambda server: _send_nobody(server, name), _endpoint)
        progress.end(servers_text(len(live)))
        progress.begin("drain")
        on_all(live, lambda server: _drain(server, name), _endpoint)
        progress.end(servers_text(len(live)))
        progress.begin("unload")
        failures = on_all(live, lambda server: _unload(server, name), _endpoint)
        progress.end(f"failed on {', '.join(failures)}" if failures else servers_text(len(live)))
    close_slot(repository, name)
    problems = {server: reason(error) for server, error in failures.items()}
    if not problems:
        history.ended(began, "done")
        return
    history.ended(began, "not taken back", "; ".join(f"{s}: {w}" for s, w in problems.items()))
    raise ReleaseError(
        "the experiment has ended, and its challenger could not be unloaded: it failed",
        "unload",
        problems,
        still=f"version {promoted} answers everybody who names none",
        hint=f"clickclean ab stop {model} again, once the server can be asked",
    )


def _endpoint(server: LiveServer) -> str:
    return server.endpoint


def _forget_configs(repository: Repository, name: str) -> None:
    for path in (GPU_CONFIG, CPU_CONFIG):
        try:
            (repository.root / name / path).unlink(missing_ok=True)
        except OSError as error:
            raise RepositoryError(repository.root / name / path, str(error)) from error


def _send_nobody(server: LiveServer, name: str) -> None:
    config = server.config(name)
    split = Split.from_config(config) if config is not None else None
    if config is None or split is None:
        return
    nobody = replace(split, percent=0.0, shadow_percent=0.0)
    config.parameters[SPLIT].string_value = nobody.to_json()
    # A version that does not load any more is unloaded all the same.
    with suppress(ClientError):
        server.load_message(config)


def _drain(server: LiveServer, name: str) -> None:
    began = since = time.monotonic()
    count = server.requests(name)
    while count and time.monotonic() - since < _QUIET_S and time.monotonic() - began < _DRAIN_S:
        time.sleep(_POLL_S)
        now = server.requests(name)
        if now != count:
            count, since = now, time.monotonic()


def _unload(server: LiveServer, name: str) -> None:
    if server.standing(name).versions:
        server.unload(name)
