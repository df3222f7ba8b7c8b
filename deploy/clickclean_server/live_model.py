"""What the supervisor knows and does about one model; each step runs in a worker thread."""

import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum

from clickclean_client import ClientError
from clickclean_server.diagnosis import Diagnosis, Verdict
from clickclean_server.errors import ServerError
from clickclean_server.instance import Instance
from clickclean_server.ownership import end, start_time
from clickclean_server.probe import Outcome, Probe
from clickclean_server.repository import Fingerprint, Promoted, Repository

# Triton takes 1 s to find that a model process is dead; a shorter wait would look like overload.
PROBE_TIMEOUT_S = 2.5
# A healthy answer under load may take this many times the one on an idle server.
PATIENCE = 20
HANG_AFTER_S = 5.0


class Step(Enum):
    """What a finished step came to."""

    WELL = "well"
    SUSPECT = "suspect"
    BUSY = "busy"
    DEAD = "dead"
    HUNG = "hung"
    REVIVED = "revived"
    REVIVE_FAILED = "revive-failed"
    PROMOTED = "promoted"
    PROMOTION_FAILED = "promotion-failed"
    CHANGED = "changed"  # somebody with the key loaded another version
    UNLOADED = "unloaded"
    WAITING = "waiting"  # with the config on disk, for a release that is under way
    POSTPONED = "postponed"  # anything else, for the same reason


@dataclass(frozen=True)
class Report:
    """The result of a step; `detail` is for people."""

    step: Step
    detail: str = ""
    versions: tuple[int, ...] = ()


@dataclass
class LiveModel:
    """One served model."""

    serving: Promoted | None  # the last config that was proven; None before the first
    seen: Fingerprint | None  # of the config on disk that was last acted upon
    revival: int = 0
    diagnoses: dict[int, Diagnosis] = field(default_factory=dict)
    timeout_s: float = PROBE_TIMEOUT_S
    pids: dict[int, set[int]] = field(default_factory=dict)  # by version
    task: "Future[Report] | None" = None
    promoting: bool = False  # what `task` does
    attempts: int = 0  # to promote the config that was seen
    next_at: float = 0.0  # when to look again, on the monotonic clock
    trouble: bool = False  # a fault was reported and is not over
    failures: int = 0  # revivals in a row that did not help

    def bring_up(self, instance: Instance, promoted: Promoted) -> None:
        """Loads and proves a config, then adopts it; raises VersionBrokenError."""
        took_s = instance.bring_up(promoted, self.revival)
        self._adopt(instance, promoted, max(took_s.values()))

    def _adopt(self, instance: Instance, promoted: Promoted, slowest_s: float) -> None:
        self.serving = promoted
        self.pids = instance.pids(promoted)
        self.timeout_s = max(PROBE_TIMEOUT_S, PATIENCE * slowest_s)
        hang_after_s = max(HANG_AFTER_S, 2 * self.timeout_s)
        self.diagnoses = {version: Diagnosis(hang_after_s) for version in promoted.versions}
        self.trouble = False
        self.failures = 0

    def start(self, instance: Instance) -> None:
        """Loads what should serve into a new server; raises VersionBrokenError."""
        if self.serving is not None:
            self.bring_up(instance, self.serving)

    def dead(self) -> tuple[int, ...]:
        """Versions whose every process has ended."""
        return tuple(
            version
            for version, pids in self.pids.items()
            if pids and all(start_time(pid) is None for pid in pids)
        )

    def just_died(self) -> bool:
        """Whether to act at once; after a revival that failed, waiting is right."""
        return not self.failures and bool(self.dead())

    def look(self, instance: Instance, repository: Repository) -> Report:
        """One golden request to each version; the worst verdict counts."""
        found: list[tuple[Verdict, Probe]] = []
        if self.serving is None:
            return Report(Step.WELL)
        if dead := self.dead():
            changed = self._changed(instance, repository, self.serving)
            return changed or Report(Step.DEAD, "its process has ended", dead)
        for version, diagnosis in self.diagnoses.items():
            started = time.monotonic()
            probe = instance.prober.probe(
                self.serving.model, version, self.serving.pulse(version), self.timeout_s
            )
            verdict = diagnosis.judge(probe, started=started, now=time.monotonic())
            found.append((verdict, probe))
        if any(probe.outcome is Outcome.GONE for _, probe in found):
            changed = self._changed(instance, repository, self.serving)
            if changed is not None:
                for diagnosis in self.diagnoses.values():
                    diagnosis.faults = 0
                return changed
        order = list(Verdict)
        verdict, probe = max(found, key=lambda item: order.index(item[0]))
        return Report(Step(verdict.value), probe.reason, (probe.version,))

    def _changed(
        self, instance: Instance, repository: Repository, serving: Promoted
    ) -> Report | None:
        """What an operator changed over the wire, adopted; None when the server denies a change.

        A release acts on all servers first and writes the repository last. In between the server
        is right and the disk is not.
        """
        try:
            states = instance.states(serving.model)
        except ClientError as exc:
            return Report(Step.BUSY, str(exc), tuple(serving.versions))
        ready = sorted(version for version, (state, _) in states.items() if state == "READY")
        if set(serving.versions) <= set(ready):
            return self._recognise(instance.pids(serving))
        if ready:
            return self._follow(instance, repository, serving, ready)
        if any(state == "LOADING" for state, _ in states.values()):
            return Report(Step.BUSY, "it is being loaded", tuple(serving.versions))
        if any(reason != "unloaded" for _, reason in states.values()):
            return None
        self._forget()
        return Report(Step.UNLOADED, "", tuple(serving.versions))

    def _recognise(self, pids: dict[int, set[int]]) -> Report | None:
        """What was changed and changed back since the last look: other processes run it now.

        None where the old ones have died and nothing has taken their place.
        """
        if any(self.pids.get(version) and not found for version, found in pids.items()):
            return None
        self.pids = pids
        return Report(Step.WELL) if pids and not self.dead() else None

    def _follow(
        self, instance: Instance, repository: Repository, serving: Promoted, ready: list[int]
    ) -> Report | None:
        try:
            config = instance.admin.config(serving.model)
            adopted = repository.as_served(serving.model, config, ready, serving.fingerprint)
        except ClientError:
            return None
        except ServerError as exc:
            # A version that did not come from a publisher has nothing to be asked by.
            self._forget()
            return Report(Step.CHANGED, f"not watched: {exc}", tuple(ready))
        self._adopt(instance, adopted, self.timeout_s / PATIENCE)
        return Report(Step.CHANGED, "", tuple(ready))

    def _forget(self) -> None:
        self.serving, self.pids, self.diagnoses = None, {}, {}

    def unload(self, instance: Instance, repository: Repository, model: str) -> Report:
        """Takes a slot whose folder is gone out of service."""
        if repository.releasing(model) or repository.fingerprint(model) is not None:
            return Report(Step.POSTPONED)
        versions = tuple(self.serving.versions) if self.serving else ()
        self._forget()
        try:
            instance.admin.unload(model)
        except ClientError as exc:
            return Report(Step.UNLOADED, str(exc), versions)
        return Report(Step.UNLOADED, "", versions)

    @property
    def suspects(self) -> set[int]:
        """Processes of the versions that failed."""
        failed = {version for version, found in self.diagnoses.items() if found.faults}
        return {pid for version in failed for pid in self.pids.get(version, ())}

    def revive(self, instance: Instance, repository: Repository) -> Report:
        """New model processes for the versions that serve, unless a release has changed them."""
        if self.serving is None:
            return Report(Step.WELL)
        if repository.releasing(self.serving.model):
            return Report(Step.POSTPONED)
        changed = self._changed(instance, repository, self.serving)
        if changed is not None and changed.step is not Step.WELL:
            return changed
        self.revival += 1
        versions = tuple(self.serving.versions)
        # A model process that was frozen and goes on later crashes the server (seen 6 times of 6).
        for pid in self.suspects:
            end(pid)
        try:
            self.bring_up(instance, self.serving)
        except ServerError as exc:
            return Report(Step.REVIVE_FAILED, str(exc), versions)
        return Report(Step.REVIVED, "", versions)

    def promote(self, instance: Instance, repository: Repository, model: str) -> Report:
        """Follows the config on disk; when that fails, what served before serves on."""
        if repository.releasing(model):
            return Report(Step.WAITING)
        try:
            wanted = repository.promoted(model)
        except (ServerError, OSError) as exc:
            return Report(Step.PROMOTION_FAILED, str(exc))
        if wanted is None:
            return Report(Step.PROMOTION_FAILED, f"No version of model {model!r} is promoted.")
        try:
            if instance.serves(wanted):
                self._adopt(instance, wanted, max(instance.prove(wanted).values()))
            else:
                self.bring_up(instance, wanted)
        except ServerError as exc:
            later = repository.fingerprint(model) != wanted.fingerprint
            if later or repository.releasing(model):
                return Report(Step.WAITING)  # overtaken; what was loaded since is not ours to undo
            return self._back(instance, str(exc), tuple(wanted.versions))
        return Report(Step.PROMOTED, "", tuple(wanted.versions))

    def _back(self, instance: Instance, reason: str, versions: tuple[int, ...]) -> Report:
        # A load that Triton refused changed nothing; one that it accepted has to be taken back.
        # The same call does for both, and costs nothing for the first.
        if self.serving is not None:
            try:
                self.bring_up(instance, self.serving)
            except ServerError as exc:
                return Report(Step.REVIVE_FAILED, f"{reason} {exc}", versions)
        return Report(Step.PROMOTION_FAILED, reason, versions)
