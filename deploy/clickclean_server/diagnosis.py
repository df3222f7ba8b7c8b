"""Tells a dead or hung model from a busy one, by its golden requests over time."""

from dataclasses import dataclass
from enum import Enum

from clickclean_server.probe import Outcome, Probe

# One failure may be a swap or a restart by somebody else; two in a row are the model's.
FAULTS_TO_REVIVE = 2


class Verdict(Enum):
    """What the supervisor should do."""

    WELL = "well"
    SUSPECT = "suspect"  # ask again at once
    BUSY = "busy"  # overload: leave it alone
    DEAD = "dead"  # answers wrongly or with errors: bring the model back
    HUNG = "hung"  # nothing is computed any more: only a restart of the server helps


@dataclass
class Diagnosis:
    """The history of one version.

    `hang_after_s`: how long a version may finish no batch, while requests wait for it, before it
    counts as hung. A model frozen for 1.5 s and then resumed has been seen to crash the server, so
    waiting longer saves nothing; it only guards models whose single batch takes long.
    """

    hang_after_s: float
    faults: int = 0
    executions: int | None = None
    stalled_since: float | None = None

    def judge(self, probe: Probe, *, started: float, now: float) -> Verdict:
        """Takes one more probe into account; times are seconds on one monotonic clock."""
        if probe.outcome is Outcome.RIGHT:
            self.faults, self.stalled_since, self.executions = 0, None, None
            return Verdict.WELL
        if probe.outcome in {Outcome.FAULT, Outcome.GONE}:
            self.stalled_since = None
            self.faults += 1
            return Verdict.DEAD if self.faults >= FAULTS_TO_REVIVE else Verdict.SUSPECT
        self.faults = 0
        before, self.executions = self.executions, probe.executions
        if self.stalled_since is None:
            self.stalled_since = started
        if probe.executions is not None and before is not None and probe.executions > before:
            self.stalled_since = now
            return Verdict.BUSY
        if now - self.stalled_since >= self.hang_after_s:
            return Verdict.HUNG
        return Verdict.BUSY if probe.executions is not None else Verdict.SUSPECT
