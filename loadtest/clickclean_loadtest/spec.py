"""What to run: the settings of one load test, checked at birth."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clickclean_loadtest.errors import BadLoadError
from clickclean_loadtest.target import Target

RATE_MAX = 5000.0  # one generator process is its own bottleneck well before that
DURATION_MAX_S = 3600.0
ARRIVALS_MAX = 2_000_000  # about 100 MB of records
USERS_MAX = 1000
TIMEOUT_MAX_S = 300.0
BATCH_MAX = 1024

Progress = Callable[[int, int, int, float], None]
"""Called about once a second: (requests done, requests in all, errors, p50 in ms so far)."""

_MODEL = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class LoadSpec:
    """One open-loop run at a constant rate.

    Attributes:
        model: name on the server.
        rate: intended requests per second, at most 5000.
        duration_s: seconds during which requests are due, at most 3600.
        endpoint: gRPC `host:port`.
        version: None = the one the server gives to callers that name none.
        repository: model repository on disk, for real inputs, expected answers and the target.
        inputs: an `.npz` with one array per input (and `label`), instead of the golden request.
        batch: rows per request.
        timeout_s: deadline of a request, counted from its *intended* start.
        users: Locust users, the most requests under way at once; None = enough for the target.
        mean_ms, p99_ms, error_rate_max: replace the recipe's target.
        accuracy_min: share (0..1) of answers that must agree with the labels; None = not judged.
        locust_args: further arguments for Locust itself, such as `--csv` or `--html`.
    """

    model: str
    rate: float
    duration_s: float
    endpoint: str = "127.0.0.1:8001"
    version: str | None = None
    repository: Path = Path("model_repository")
    inputs: Path | None = None
    batch: int = 1
    timeout_s: float = 5.0
    users: int | None = None
    mean_ms: float | None = None
    p99_ms: float | None = None
    error_rate_max: float | None = None
    accuracy_min: float | None = None
    locust_args: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _MODEL.fullmatch(self.model):
            raise BadLoadError("model", repr(self.model), "the name of a model on the server")
        if not 0 < self.rate <= RATE_MAX:
            raise BadLoadError(
                "rate", self.rate, f"more than 0 and at most {RATE_MAX:g} requests/s"
            )
        if not 0 < self.duration_s <= DURATION_MAX_S:
            raise BadLoadError(
                "duration", self.duration_s, f"more than 0 and at most {DURATION_MAX_S:g} s"
            )
        if not 1 <= self.arrivals <= ARRIVALS_MAX:
            raise BadLoadError(
                "rate x duration", self.arrivals, f"from 1 to {ARRIVALS_MAX:,} requests"
            )
        if not 0 < self.timeout_s <= TIMEOUT_MAX_S:
            raise BadLoadError(
                "timeout", self.timeout_s, f"more than 0 and at most {TIMEOUT_MAX_S:g} s"
            )
        if not 1 <= self.batch <= BATCH_MAX:
            raise BadLoadError("batch", self.batch, f"from 1 to {BATCH_MAX} rows")
        if self.users is not None and not 1 <= self.users <= USERS_MAX:
            raise BadLoadError("users", self.users, f"from 1 to {USERS_MAX}")
        if self.accuracy_min is not None and not 0 <= self.accuracy_min <= 1:
            raise BadLoadError("accuracy_min", self.accuracy_min, "a share from 0 to 1")
        Target().overridden(
            mean_ms=self.mean_ms, p99_ms=self.p99_ms, error_rate_max=self.error_rate_max
        )

    @property
    def arrivals(self) -> int:
        """Requests in the whole run."""
        return round(self.rate * self.duration_s)

    def users_for(self, target: Target) -> int:
        """Locust users: those asked for, or enough for the target."""
        return self.users if self.users is not None else users_for(self.rate, target)


def users_for(rate: float, target: Target) -> int:
    """Users that a service just missing its target would keep busy, three times over.

    By Little's law `rate` x latency requests are under way at once
    (https://en.wikipedia.org/wiki/Little%27s_law).
    """
    slowest_ms = max(target.mean_ms or 0.0, target.p99_ms or 0.0, 200.0)
    return min(USERS_MAX, max(10, math.ceil(rate * 3 * slowest_ms / 1000)))
