"""A challenger on all servers: loaded with its share, changed, unloaded; on all or on none."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

from clickclean_client import ClickCleanError, Golden, Split, slots
from clickclean_export.disk import replace_text
from clickclean_export.errors import RepositoryError
from clickclean_export.experiment.errors import NotNowError
from clickclean_export.experiment.plan import ExperimentPlan
from clickclean_export.experiment.store import Share
from clickclean_export.progress import Progress, Silence
from clickclean_export.promote import Prepared
from clickclean_export.release.errors import ReleaseError
from clickclean_export.release.history import Entry, History, Verdict
from clickclean_export.release.rollout import Settings
from clickclean_export.release.server import Address, LiveServer, reason
from clickclean_export.release.slot_folders import close_slot, open_slot
from clickclean_export.repository import CPU_CONFIG, GPU_CONFIG
from clickclean_export.triton_config import Fleet, TritonConfig

_POLL_S = 0.2
# Clients read the split about every 2 s.
_QUIET_S = 3.0
_DRAIN_S = 15.0


def split_text(plan: ExperimentPlan, share: Share) -> str:
    """Return the parameter of the challenger's config that clients read."""
    return Split(
        plan.experiment,
        plan.salt,
        share.percent,
        plan.champion,
        plan.challenger,
        shadow_percent=share.shadow_percent,
    ).to_json()


class ChallengerChange:
    """A change of a challenger on all servers."""

    def __init__(
        self,
        prepared: Prepared,
        plan: ExperimentPlan,
        servers: Sequence[Address],
        *,
        settings: Settings | None,
        progress: Progress | None,
        why: str,
    ) -> None:
        self._prepared = prepared
        self._plan = plan
        self._addresses = servers
        self._settings = settings or Settings()
        self._progress = progress or Silence()
        self._why = why
        self._name = slots.challenger(prepared.model)
        self._golden = Golden.load(prepared.directory / "golden.npz")
        self._stack = ExitStack()
        self._servers: list[LiveServer] = []
        self._fleets: dict[str, Fleet] = {}

    def __enter__(self) -> "ChallengerChange":
        for address in self._addresses:
            server = LiveServer(address, load_timeout_s=self._settings.load_timeout_s)
            self._servers.append(self._stack.enter_context(server))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def apply(self, action: str, share: Share, *, back_to: Share | None = None) -> None:
        """Load the challenger with a share everywhere; what fails anywhere is taken back."""
        repository, model = self._prepared.repository, self._prepared.model
        history = History(repository, model)
        began = self._began(history, action, share)
        open_slot(repository, model, self._name, self._prepared.version)
        try:
            self._everywhere(f"load {self._name}", lambda server: self._load(server, share))
            self._everywhere("golden requests", self._prove)
            self._write(share)
        except BaseException as error:
            stuck = self._take_back(back_to)
            verdict: Verdict = "not taken back" if stuck else "taken back"
            history.ended(began, verdict, "; ".join([str(error), *stuck]))
            raise
        history.ended(began, "done", fingerprint=self._prepared.proof.fingerprint)

    def end(self, share: Share) -> None:
        """Send nobody any more, wait until nobody asks, and unload."""
        repository, model = self._prepared.repository, self._prepared.model
        history = History(repository, model)
        began = self._began(history, "ab stop", Share(0.0))
        try:
            if share.percent or share.shadow_percent:
                self._everywhere("share 0", lambda server: self._load(server, Share(0.0)))
                self._write(Share(0.0))
                self._everywhere("drain", self._drain)
            self._everywhere("unload", lambda server: server.unload(self._name))
            close_slot(repository, self._name)
        except BaseException as error:
            # The share is 0 wherever a server could be told so: nobody gains from going back.
            history.ended(began, "not taken back", str(error))
            raise
        history.ended(began, "done", fingerprint=self._prepared.proof.fingerprint)

    def _began(self, history: History, action: str, share: Share) -> Entry:
        promoted = self._prepared.repository.promoted(self._prepared.model)
        return history.began(
            action,
            before=promoted,
            after=promoted,
            why=self._why
            or f"{self._plan.experiment}: {share.percent:g} % to version {self._plan.challenger}"
            + (f", {share.shadow_percent:g} % mirrored" if share.shadow_percent else ""),
            servers=tuple(address.endpoint for address in self._addresses),
        )

    def _config(self, fleet: Fleet, share: Share) -> TritonConfig:
        split = split_text(self._plan, share)
        return replace(self._prepared.config(fleet), model=self._name, split=split)

    def _load(self, server: LiveServer, share: Share) -> None:
        if server.endpoint not in self._fleets:
            known = server.fleet([self._name, self._prepared.model, *server.names()])
            if known is None:
                raise NotNowError("it has loaded nothing, so there is no champion")
            self._fleets[server.endpoint] = known
        server.load(self._config(self._fleets[server.endpoint], share))

    def _prove(self, server: LiveServer) -> None:
        timeout_s = self._settings.golden_timeout_s
        server.prove(self._name, self._plan.challenger, self._golden, timeout_s, named=True)

    def _drain(self, server: LiveServer) -> None:
        began = since = time.monotonic()
        count = server.requests(self._name)
        while time.monotonic() - since < _QUIET_S and time.monotonic() - began < _DRAIN_S:
            time.sleep(_POLL_S)
            now = server.requests(self._name)
            if now != count:
                count, since = now, time.monotonic()

    def _write(self, share: Share) -> None:
        """A server that starts again loads the challenger too, with this share."""
        folder = self._prepared.repository.root / self._name
        try:
            replace_text(folder / GPU_CONFIG, self._config("gpu", share).to_text())
            replace_text(folder / CPU_CONFIG, self._config("cpu", share).to_text())
        except OSError as error:
            raise RepositoryError(folder, str(error)) from error

    def _take_back(self, share: Share | None) -> list[str]:
        def undo(server: LiveServer) -> None:
            if share is None:
                server.unload(self._name)
            else:
                self._load(server, share)

        failures = self._failures(undo)
        if share is None:
            close_slot(self._prepared.repository, self._name)
        else:
            self._write(share)
        return [f"{server}: {reason(error)}" for server, error in failures.items()]

    def _everywhere(self, what: str, step: Callable[[LiveServer], None]) -> None:
        self._progress.begin(what)
        failures = self._failures(step)
        if failures:
            self._progress.end(f"failed on {', '.join(failures)}")
            raise ReleaseError(
                f"the experiment of '{self._prepared.model}' was not changed: it failed",
                what,
                {server: reason(error) for server, error in failures.items()},
                still=f"version {self._plan.champion} answers everybody who names none",
            )
        self._progress.end(f"{len(self._servers)} servers")

    def _failures(self, step: Callable[[LiveServer], None]) -> dict[str, Exception]:
        failures: dict[str, Exception] = {}
        with ThreadPoolExecutor(max(1, min(32, len(self._servers)))) as pool:
            tasks = [(server, pool.submit(step, server)) for server in self._servers]
            for server, task in tasks:
                error = task.exception()
                if isinstance(error, ClickCleanError | OSError):
                    failures[server.endpoint] = error
                elif error is not None:
                    raise error
        return failures
