"""What is decided before an experiment starts, so that no look at the data can decide it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from clickclean_export.experiment.errors import PlanError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

WHOLE = 100_000
"""Buckets of the assignment: a percent has three decimals."""
UNITS_MIN_LEAST = 20


@dataclass(frozen=True)
class ExperimentPlan:
    """The rules of one experiment; immutable once it runs.

    Attributes:
        experiment: Identifier, as in the logs.
        model: Name of the model.
        champion: Promoted version, the arm that is compared with.
        challenger: Version under trial.
        salt: Of the assignment; a new salt deals the keys anew.
        started: ISO 8601 with an offset.
        metric: Name of the outcome in the logs.
        better: Whether a higher or a lower mean of the metric is better.
        alpha: Largest probability that the metric is called different although it is not.
        units_min: Units with an outcome that each arm must have before the metric may decide.
        tuned_units: Effective units (champion x challenger / (champion + challenger)) at which
            the interval is as narrow as it can be; it stays valid at every other number. 10,000
            against 10,000 are 5,000.
        error_rate_margin: How far the challenger's error rate may lie above the champion's,
            0 <= margin < 1 (0.01 is one point).
        latency_ratio_max: How many times as long the challenger may take, above 0.
        guardrail_alpha: Largest probability that a guardrail stops a challenger that keeps it.
        sample_ratio_alpha: The same for the alarm of the sample ratio.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    experiment: str
    model: str
    champion: int
    challenger: int
    salt: str
    started: str
    metric: str = "reward"
    better: Literal["higher", "lower"] = "higher"
    alpha: float = 0.05
    units_min: int = 100
    tuned_units: int = 5_000
    error_rate_margin: float = 0.01
    latency_ratio_max: float = 1.5
    guardrail_alpha: float = 0.01
    sample_ratio_alpha: float = 0.001

    def __post_init__(self) -> None:
        for name in ("experiment", "model", "salt", "metric"):
            if not str(getattr(self, name)).strip():
                raise PlanError(name, "is empty")
        for name in ("champion", "challenger"):
            if getattr(self, name) < 1:
                raise PlanError(name, f"is {getattr(self, name)}; versions begin at 1")
        if self.champion == self.challenger:
            raise PlanError("challenger", f"is version {self.challenger}, as the champion")
        if self.better not in {"higher", "lower"}:
            raise PlanError("better", f"is '{self.better}'", hint="use 'higher' or 'lower'")
        for name in ("alpha", "guardrail_alpha", "sample_ratio_alpha"):
            value = getattr(self, name)
            if not 0 < value <= 0.5:  # noqa: PLR2004 - written "not": NaN is refused as well
                raise PlanError(name, f"is {value}; it lies above 0 and is at most 0.5")
        if self.units_min < UNITS_MIN_LEAST:
            raise PlanError("units_min", f"is {self.units_min}; at least {UNITS_MIN_LEAST} needed")
        if self.tuned_units < UNITS_MIN_LEAST:
            raise PlanError(
                "tuned_units", f"is {self.tuned_units}; at least {UNITS_MIN_LEAST} needed"
            )
        if not 0 <= self.error_rate_margin < 1:
            raise PlanError(
                "error_rate_margin",
                f"is {self.error_rate_margin}; it lies from 0 to below 1",
                hint="0.01 allows one point more errors",
            )
        if not 0 < self.latency_ratio_max < math.inf:
            raise PlanError("latency_ratio_max", f"is {self.latency_ratio_max}; it lies above 0")
        _moment(self.started)

    @property
    def start(self) -> datetime:
        """When it started, with a time zone."""
        return _moment(self.started)


@dataclass(frozen=True)
class SplitChange:
    """From ``time`` on, ``percent`` of the keys go to the challenger.

    Attributes:
        time: With a time zone; what clients saw a few seconds later.
        percent: 0..100, at most three decimals.
    """

    time: datetime
    percent: float

    def __post_init__(self) -> None:
        if self.time.tzinfo is None:
            raise PlanError("change of the split", "has a time without a time zone")
        if not 0 <= self.percent <= 100:  # noqa: PLR2004
            raise PlanError("percent", f"is {self.percent}; it lies from 0 to 100")
        if abs(self.percent * 1000 - round(self.percent * 1000)) > 1e-6:  # noqa: PLR2004
            raise PlanError("percent", f"is {self.percent}; it has at most three decimals")

    @property
    def share(self) -> float:
        """Share of keys that the assignment sends to the challenger, 0..1, exactly."""
        return round(self.percent * 1000) / WHOLE

    @property
    def time_us(self) -> int:
        """Microseconds since 1970, UTC."""
        return (self.time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def check_changes(changes: Sequence[SplitChange]) -> tuple[SplitChange, ...]:
    """Put the changes of a split in the order of time and join equal neighbours.

    Raises:
        PlanError: there is none, or two have the same time.
    """
    if not changes:
        raise PlanError("history of the split", "is empty", hint="the start is its first entry")
    ordered = sorted(changes, key=lambda change: change.time)
    joined = [ordered[0]]
    for change in ordered[1:]:
        if change.time == joined[-1].time:
            raise PlanError("history of the split", f"has two entries at {change.time}")
        if change.share != joined[-1].share:
            joined.append(change)
    return tuple(joined)


def plan_as_json(plan: ExperimentPlan) -> bytes:
    """Return the plan as JSON text (UTF-8), ending in a newline."""
    return _adapter().dump_json(plan, indent=1) + b"\n"


def plan_from_json(text: bytes | str) -> ExperimentPlan:
    """Read a plan; unknown keys and wrong types are refused.

    Raises:
        PlanError: it is not a plan, or asks for something impossible.
    """
    from pydantic import ValidationError

    try:
        return _adapter().validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        spot = ".".join(map(str, first["loc"])) or "the whole"
        raise PlanError("plan", f"cannot be read ({spot}: {first['msg']})") from None


@cache
def _adapter() -> "TypeAdapter[ExperimentPlan]":
    from pydantic import TypeAdapter

    return TypeAdapter(ExperimentPlan)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise PlanError("started", f"is '{text}', not a time in ISO 8601") from None
    if moment.tzinfo is None:
        raise PlanError("started", f"is '{text}', without a time zone", hint="add +00:00 for UTC")
    return moment
