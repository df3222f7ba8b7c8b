"""A challenger on all servers: loaded with its share, changed, unloaded; on all or on none."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace

from clickclean_client import Golden, Split, slots
from clickclean_export.disk import replace_text
from clickclean_export.errors import RepositoryError
from clickclean_export.experiment.errors import NotNowError
from clickclean_export.experiment.plan import ExperimentPlan
from clickclean_export.experiment.store import Share
from clickclean_export.progress import Progress, Silence
from clickclean_export.promote import Prepared
from clickclean_export.release.all_servers import connected, on_all
from clickclean_export.release.errors import ReleaseError
from clickclean_export.release.history import Entry, History, Verdict
from clickclean_export.release.rollout import Settings
from clickclean_export.release.server import Address, LiveServer, reason, servers_text
from clickclean_export.release.slot_folders import close_slot, open_slot
from clickclean_export.repository import CPU_CONFIG, GPU_CONFIG
from clickclean_export.triton_config import Fleet, TritonConfig


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
        opened = connected(self._addresses, self._settings.load_timeout_s)
        self._servers = self._stack.enter_context(opened)
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
            if isinstance(error, StepFailed):
                raise self._worded(error, stuck) from error
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
            raise StepFailed(what, failures)
        self._progress.end(servers_text(len(self._servers)))

    def _worded(self, error: "StepFailed", stuck: Sequence[str]) -> ReleaseError:
        promoted = self._prepared.repository.promoted(self._prepared.model)
        return ReleaseError(
            f"the experiment of '{self._prepared.model}' is not as asked: it failed",
            error.what,
            {server: reason(why) for server, why in error.failures.items()},
            still=f"version {promoted} answers everybody who names none",
            stuck=stuck,
            hint=f"clickclean ab stop {self._prepared.model} clears what is left" if stuck else "",
        )

    def _failures(self, step: Callable[[LiveServer], None]) -> dict[str, Exception]:
        return on_all(self._servers, step, lambda server: server.endpoint)


class StepFailed(Exception):  # noqa: N818 - carries what happened; the caller words it
    """A step failed on some servers."""

    def __init__(self, what: str, failures: dict[str, Exception]) -> None:
        super().__init__(
            f"{what}: " + "; ".join(f"{one}: {reason(why)}" for one, why in failures.items())
        )
        self.what = what
        self.failures = failures
