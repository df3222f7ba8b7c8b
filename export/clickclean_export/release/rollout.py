"""One version onto all servers, or onto none.

Preflight, load beside the old version, golden requests, hold the old version for callers that name
it, switch, drain, unload. The new version first stands under a name of its own (`digits.v3`), where
no caller gets it and where a load that hangs blocks nothing but itself. Only what gave its golden
answer there is loaded as `digits`, in one call: Triton goes on answering with the old version until
the new one is ready, then with the new one, and ends the old one after its last request. Each phase
ends on all servers before the next begins, and until the last one every server can be taken back.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from clickclean_client import ClickCleanError, ClientError, Golden, slots
from clickclean_export.engine.register import gpu_config
from clickclean_export.progress import Progress
from clickclean_export.promote import Prepared, cpu_config
from clickclean_export.release.all_servers import on_all
from clickclean_export.release.errors import ServersError
from clickclean_export.release.server import (
    LiveServer,
    NotProvenError,
    Standing,
    reason,
    servers_text,
)
from clickclean_export.release.slot_folders import close_slot, open_slot, open_slots
from clickclean_export.repository import Repository
from clickclean_export.triton_config import Fleet, TritonConfig

_POLL_S = 0.1


class Phase(Enum):
    """What a rollout does, in this order."""

    PREFLIGHT = "preflight"
    LOAD = "load"
    GOLDEN = "golden requests"
    HOLD = "hold the old version"
    SWITCH = "switch"
    DRAIN = "drain"
    UNLOAD = "unload"


@dataclass(frozen=True)
class Settings:
    """How a rollout goes about it.

    Attributes:
        load_timeout_s: For each load call.
        golden_timeout_s: For each golden request.
        prove_alone: Load and ask the version under its own name first. Without it the switch is
            one call; meant for a version that was live before.
        hold: Keep the old version under its own name for callers that name it.
        quiet_s: It is unloaded when nobody has asked it for so long.
        drain_s: How long to wait for that; a version that is still asked then stays.
        fleet: Which config servers take that have not loaded anything; None: they must tell.
    """

    load_timeout_s: float = 120.0
    golden_timeout_s: float = 30.0
    prove_alone: bool = True
    hold: bool = True
    quiet_s: float = 1.0
    drain_s: float = 10.0
    fleet: Fleet | None = None


class PhaseFailed(Exception):  # noqa: N818 - carries what happened; the caller words it
    """A phase failed on some servers."""

    def __init__(self, phase: Phase, failures: dict[str, Exception]) -> None:
        super().__init__(phase.value)
        self.phase = phase
        self.failures = failures

    @property
    def refused(self) -> bool:
        """Whether a server refused the version itself, not the connection."""
        return self.phase in {Phase.LOAD, Phase.GOLDEN, Phase.SWITCH} and any(
            isinstance(error, NotProvenError) or getattr(error, "code", "") in _SERVERS_NO
            for error in self.failures.values()
        )


_SERVERS_NO = {"INTERNAL", "INVALID_ARGUMENT", "NOT_FOUND", "UNKNOWN"}


@dataclass
class _Seat:
    """One server during a rollout."""

    server: LiveServer
    before: Any | None = None  # model_config_pb2.ModelConfig that was served
    standing: Standing | None = None
    fleet: Fleet = "cpu"
    switching: bool = False
    loaded: set[str] = field(default_factory=set)  # slots that this rollout loaded, or may have
    there: set[str] = field(default_factory=set)  # every name that was ready before
    asides: list[str] = field(default_factory=list)  # old versions under their own names
    kept: set[str] = field(default_factory=set)  # of these, what callers still name

    @property
    def old(self) -> int | None:
        """The version that was live."""
        return self.standing.versions[-1] if self.standing and self.standing.versions else None


class Rollout:
    """One attempt. ``run`` leaves the new version live everywhere, or raises PhaseFailed."""

    def __init__(
        self,
        prepared: Prepared,
        servers: Sequence[LiveServer],
        settings: Settings,
        progress: Progress,
    ) -> None:
        self._prepared = prepared
        self._seats = [_Seat(server) for server in servers]
        self._settings = settings
        self._progress = progress
        self._golden = Golden.load(prepared.directory / "golden.npz")
        self._slot = slots.alone(prepared.model, prepared.version)
        self._opened: set[str] = set()

    def run(self) -> tuple[str, ...]:
        """Go through the phases; returns the servers on which the old version is still asked."""
        settings, model = self._settings, self._prepared.model
        self._phase(Phase.PREFLIGHT, self._look)
        if settings.prove_alone:
            open_slot(self._prepared.repository, model, self._slot, self._prepared.version)
            self._opened.add(self._slot)
            self._phase(Phase.LOAD, self._load_alone)
            self._phase(Phase.GOLDEN, self._prove_alone)
        if settings.hold:
            held = {seat.old for seat in self._seats if seat.old is not None and self._holds(seat)}
            for old in sorted(held):
                name = slots.alone(model, old)
                open_slot(self._prepared.repository, model, name, old)
                self._opened.add(name)
            self._phase(Phase.HOLD, self._hold)
        self._phase(Phase.SWITCH, self._switch)
        if settings.hold:
            self._phase(Phase.DRAIN, self._drain)
        self._phase(Phase.UNLOAD, self._unload)
        kept = {name for seat in self._seats for name in seat.kept}
        for name in {*self._opened, *(name for seat in self._seats for name in seat.asides)} - kept:
            close_slot(self._prepared.repository, name)
        return tuple(seat.server.endpoint for seat in self._seats if seat.kept)

    def take_back(self) -> list[str]:
        """Make every server what it was; returns a sentence for each that would not."""
        self._progress.begin("take back")
        failures = self._everywhere(self._restore)
        stuck = [f"{server}: {reason(error)}" for server, error in failures.items()]
        if not failures:
            for name in self._opened - {name for seat in self._seats for name in seat.there}:
                close_slot(self._prepared.repository, name)
        self._progress.end("; ".join(stuck) or f"{servers_text(len(self._seats))} as before")
        return stuck

    @property
    def still(self) -> str:
        """What is live where nothing changed, in words."""
        told = [seat for seat in self._seats if seat.standing is not None]
        if not told:
            return "nothing was changed"
        old = sorted({seat.old for seat in told}, key=lambda number: number or 0)
        shown = ", ".join(f"version {number}" if number else "no version" for number in old)
        if len(self._seats) == 1:
            return f"{shown} is live there"
        every = f"all {len(told)}" if len(told) == len(self._seats) else f"the {len(told)} reached"
        return f"{shown} is live on {every} servers"

    def _look(self, seat: _Seat) -> None:
        model = self._prepared.model
        seat.standing = seat.server.standing(model)
        seat.before = seat.server.config(model) if seat.standing.versions else None
        seat.there = set(seat.server.names())
        # What is loaded under this name tells; else what the user says; else what else is loaded.
        fleet = (
            seat.server.fleet([model])
            or self._settings.fleet
            or seat.server.fleet(sorted(seat.there))
        )
        if fleet is None:
            raise ServersError(
                "it has loaded nothing, so whether it takes the CPU or the GPU config is not known",
                hint="add --fleet cpu or --fleet gpu",
            )
        seat.fleet = fleet

    def _load_alone(self, seat: _Seat) -> None:
        self._load(seat, self._named(seat, self._slot))

    def _prove_alone(self, seat: _Seat) -> None:
        self._prove(seat, self._slot, named=True)

    def _holds(self, seat: _Seat) -> bool:
        repository, model = self._prepared.repository, self._prepared.model
        return (
            seat.old is not None
            and seat.old != self._prepared.version
            and repository.version_dir(model, seat.old).is_dir()
        )

    def _hold(self, seat: _Seat) -> None:
        repository, model = self._prepared.repository, self._prepared.model
        # What an earlier release left because callers still named it, or because it was killed.
        left = set(open_slots(repository, model)) - {self._slot, slots.challenger(model)}
        seat.asides = sorted(left & set(seat.server.names()))
        if not self._holds(seat) or seat.old is None:
            return
        name = slots.alone(model, seat.old)
        config = config_for(repository, model, seat.old, seat.fleet)
        self._load(seat, replace(config, model=name))
        seat.asides = sorted({*seat.asides, name})

    def _switch(self, seat: _Seat) -> None:
        if not self._settings.hold and self._settings.prove_alone:
            # Nobody is held, so the memory of the proof is free for the switch.
            seat.server.unload(self._slot)
        seat.switching = True
        seat.server.load(self._prepared.config(seat.fleet))
        self._prove(seat, self._prepared.model, named=False)

    def _drain(self, seat: _Seat) -> None:
        began = time.monotonic()
        counts = {name: seat.server.requests(name) for name in seat.asides}
        changed = dict.fromkeys(seat.asides, began)
        seat.kept = set(seat.asides)
        while seat.kept and time.monotonic() - began < self._settings.drain_s:
            time.sleep(_POLL_S)
            for name in seat.kept:
                count = seat.server.requests(name)
                if count != counts[name]:
                    counts[name], changed[name] = count, time.monotonic()
            quiet_since = time.monotonic() - self._settings.quiet_s
            seat.kept = {name for name in seat.kept if changed[name] > quiet_since}

    def _unload(self, seat: _Seat) -> None:
        if self._settings.prove_alone:
            seat.server.unload(self._slot)
        for name in seat.asides:
            if name not in seat.kept:
                seat.server.unload(name)
        # A server that started again meanwhile has read the repository, which names the old one.
        self._prove(seat, self._prepared.model, named=False)

    def _restore(self, seat: _Seat) -> None:
        if seat.standing is None:
            return  # it was never reached, so nothing was changed there
        errors: list[Exception] = []

        def attempt(step: Callable[[], None]) -> None:
            try:
                step()
            except (ClickCleanError, OSError) as error:
                errors.append(error)

        if seat.switching:
            attempt(lambda: self._switch_back(seat))
        # A version that callers named before stays for them.
        for name in seat.loaded - seat.there:
            attempt(lambda name=name: seat.server.unload(name))  # type: ignore[misc]
        if errors:
            raise errors[0]

    def _switch_back(self, seat: _Seat) -> None:
        if seat.before is None or seat.old is None:
            seat.server.unload(self._prepared.model)
            return
        seat.server.load_message(seat.before)
        if seat.server.standing(self._prepared.model).versions[-1:] != (seat.old,):
            raise NotProvenError(f"version {seat.old} did not come back")

    def _load(self, seat: _Seat, config: TritonConfig) -> None:
        try:
            seat.server.load(config)
        except ClientError as error:
            # What the server refused is not there; what it did not answer may yet come.
            if error.code not in _SERVERS_NO:
                seat.loaded.add(config.model)
            raise
        seat.loaded.add(config.model)

    def _named(self, seat: _Seat, name: str) -> TritonConfig:
        return replace(self._prepared.config(seat.fleet), model=name)

    def _prove(self, seat: _Seat, name: str, *, named: bool) -> None:
        wanted = self._prepared.proof.fingerprint
        got = seat.server.fingerprint(name)
        if got != wanted:
            raise NotProvenError(
                f"it serves '{name}' with the fingerprint {got[:12] or 'none'}, not {wanted[:12]}"
            )
        seat.server.prove(
            name, self._prepared.version, self._golden, self._settings.golden_timeout_s, named=named
        )

    def _phase(self, phase: Phase, step: Callable[[_Seat], None]) -> None:
        self._progress.begin(phase.value)
        failures = self._everywhere(step)
        if failures:
            self._progress.end(f"failed on {', '.join(failures)}")
            raise PhaseFailed(phase, failures)
        kept = sum(bool(seat.kept) for seat in self._seats)
        still = f", still asked by name on {kept}" if phase is Phase.DRAIN and kept else ""
        self._progress.end(f"{servers_text(len(self._seats))}{still}")

    def _everywhere(self, step: Callable[[_Seat], None]) -> dict[str, Exception]:
        return on_all(self._seats, step, lambda seat: seat.server.endpoint)


def config_for(repository: Repository, model: str, version: int, fleet: Fleet) -> TritonConfig:
    """Return the config with which a fleet serves a version.

    Raises:
        IntegrityError: its manifest cannot be read, or a plan is not what was registered (exit 3).
    """
    if fleet == "gpu":
        return gpu_config(repository, model, version)
    return cpu_config(repository, model, version)
