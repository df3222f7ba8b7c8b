"""One golden request to a running server, and what its outcome says about the model."""

from dataclasses import dataclass
from enum import Enum

from clickclean_client import (
    Admin,
    Client,
    ClientError,
    DeadlineExceeded,
    Golden,
    ModelNotFound,
    Overloaded,
)


class Outcome(Enum):
    """What a golden request found."""

    RIGHT = "right"
    FAULT = "fault"  # an error, or a wrong answer
    LATE = "late"  # no answer in time, or refused by the queue policy
    GONE = "gone"  # the server says that it does not serve this version


@dataclass(frozen=True)
class Probe:
    """The result for one version."""

    version: int
    outcome: Outcome
    reason: str
    executions: int | None  # batches that the version ran so far; None if the server cannot tell


@dataclass(frozen=True)
class Prober:
    """Asks one server."""

    client: Client
    admin: Admin

    def probe(self, model: str, version: int, golden: Golden, timeout_s: float) -> Probe:
        """Never raises for what the server does."""
        try:
            check = golden.check(self.client, model, version=version, timeout_s=timeout_s)
        except (DeadlineExceeded, Overloaded) as exc:
            executions = self.executions(model, version, timeout_s)
            return Probe(version, Outcome.LATE, str(exc), executions)
        except ClientError as exc:
            outcome = Outcome.GONE if isinstance(exc, ModelNotFound) else Outcome.FAULT
            return Probe(version, outcome, str(exc), None)
        outcome = Outcome.RIGHT if check.ok else Outcome.FAULT
        return Probe(version, outcome, check.reason, None)

    def executions(self, model: str, version: int, timeout_s: float) -> int | None:
        """How many batches the version has run, None when the server does not say."""
        try:
            statistics = self.admin.statistics(model, version, timeout_s=timeout_s)
        except ClientError:
            return None
        return sum(entry.execution_count for entry in statistics)
