"""What an experiment says now: counts, the difference, the alarms, and one decision."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from clickclean_export.experiment import notes
from clickclean_export.experiment.guardrails import Guardrail, check_guardrails
from clickclean_export.experiment.log_reader import ExperimentLog, read_log
from clickclean_export.experiment.plan import ExperimentPlan, SplitChange, check_changes
from clickclean_export.experiment.sample_ratio import SampleRatio, check_sample_ratio
from clickclean_export.experiment.sequential import confidence_sequence
from clickclean_export.experiment.shadow import Latency, ShadowSummary, latency_of, summary_of
from clickclean_export.experiment.units import Units, units_of

RUNNING: Final = "running"
BETTER: Final = "challenger better"
WORSE: Final = "challenger worse"
GUARDRAIL: Final = "stop: guardrail"
INVALID: Final = "invalid: sample ratio"
POINTS_MAX = 400


@dataclass(frozen=True)
class ArmCounts:
    """One arm in numbers.

    Attributes:
        version: Of the model.
        units: Keys that count.
        units_with_outcome: Those with an outcome that counts.
        exposures: Calls.
        outcomes: Values of the metric, repeated ones too.
        errors: Calls that this arm failed.
        fallbacks: Calls of the challenger that the champion answered.
        mean: Of the first outcomes; NaN without any.
        latency: Of the calls that this arm answered.
    """

    version: int
    units: int
    units_with_outcome: int
    exposures: int
    outcomes: int
    errors: int
    fallbacks: int
    mean: float
    latency: Latency


@dataclass(frozen=True, eq=False)
class Difference:
    """The metric, challenger minus champion.

    Attributes:
        estimate: Weighted over the epochs; NaN as long as there is none.
        low: End of the interval that holds at every look; -inf as long as nothing can be said.
        high: The other end.
        p_value: Always valid.
        first: Sign of the difference when the interval first excluded 0 (-1 or 1); 0 if never.
        first_us: When that was, microseconds since 1970; None if never.
    """

    estimate: float
    low: float
    high: float
    p_value: float
    first: int
    first_us: int | None


@dataclass(frozen=True, eq=False)
class Course:
    """The difference over time, at up to some hundred looks; all arrays are [looks]."""

    time_us: NDArray[np.int64]
    units: NDArray[np.int64]
    difference: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Judgement:
    """Everything that is known about an experiment.

    Attributes:
        plan: Its rules.
        decision: "running", "challenger better", "challenger worse", "invalid: sample ratio", or
            "stop: guardrail" with the names of those that were breached.
        sentence: Why, in words.
        champion: Numbers of this arm.
        challenger: Numbers of this arm.
        difference: Of the metric.
        sample_ratio: Keys against the split.
        guardrails: Errors, latency.
        shadow: Mirrored calls.
        notes: What a reader must know besides, a sentence each.
        changes: The split over time.
        course: For a plot.
        unit_times_us: int64[keys], first calls, for a plot of the sample ratio.
    """

    plan: ExperimentPlan
    decision: str
    sentence: str
    champion: ArmCounts
    challenger: ArmCounts
    difference: Difference
    sample_ratio: SampleRatio
    guardrails: tuple[Guardrail, ...]
    shadow: ShadowSummary
    notes: tuple[str, ...]
    changes: tuple[SplitChange, ...]
    course: Course
    unit_times_us: NDArray[np.int64]

    @property
    def must_stop(self) -> bool:
        """Whether a guardrail is breached: no more calls should go to the challenger."""
        return any(guardrail.breached for guardrail in self.guardrails)

    def as_tree(self) -> dict[str, Any]:
        """Return the judgement as JSON-ready values; what is unknown is null."""
        from clickclean_export.experiment.judgement_text import judgement_as_tree

        return judgement_as_tree(self)

    def as_text(self) -> str:
        """Return the judgement as lines for people."""
        from clickclean_export.experiment.judgement_text import judgement_as_text

        return judgement_as_text(self)


def judge(plan: ExperimentPlan, log_folder: Path, changes: Sequence[SplitChange]) -> Judgement:
    """Read the logs and say what they say. Any number of looks is free.

    Args:
        plan: The rules.
        log_folder: With ``exposures/``, ``outcomes/``, ``shadows/``.
        changes: Every change of the split, the start included; in any order.

    Raises:
        LogError: the folder is absent, or nothing in it can be read.
        PlanError: the changes contradict each other.
        MissingExtraError: pyarrow is not installed.
    """
    epochs = check_changes(changes)
    log = read_log(log_folder, plan.experiment, plan.metric)
    units = units_of(log, epochs)
    difference, course = _difference(plan, units)
    ratio = check_sample_ratio(units.challenger, units.epoch, epochs, alpha=plan.sample_ratio_alpha)
    guardrails = check_guardrails(plan, log.exposures)
    champion = _arm(log, units, plan.champion, challenger=False)
    challenger = _arm(log, units, plan.challenger, challenger=True)
    heard = min(champion.units_with_outcome, challenger.units_with_outcome)
    decision, sentence = _decide(plan, difference, ratio, guardrails, heard)
    return Judgement(
        plan,
        decision,
        sentence,
        champion,
        challenger,
        difference,
        ratio,
        guardrails,
        summary_of(log.shadows),
        notes.notes_on(plan, log, units, epochs, ratio),
        epochs,
        course,
        units.time_us,
    )


def moment(time_us: int) -> datetime:
    """Return microseconds since 1970 as a time in UTC."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)


def _difference(plan: ExperimentPlan, units: Units) -> tuple[Difference, Course]:
    sequence = confidence_sequence(
        units.outcome_value,
        units.outcome_challenger,
        units.outcome_epoch,
        alpha=plan.alpha,
        tuned_units=plan.tuned_units,
        units_min=plan.units_min,
    )
    looks = len(sequence.difference)
    shown = np.unique(np.linspace(0, looks - 1, min(looks, POINTS_MAX)).astype(np.int64))
    course = Course(
        units.outcome_time_us[shown],
        shown + 1,
        sequence.difference[shown],
        sequence.low[shown],
        sequence.high[shown],
    )
    if not looks:
        return Difference(math.nan, -math.inf, math.inf, 1.0, 0, None), course
    first = sequence.crossing(plan.alpha)
    return (
        Difference(
            float(sequence.difference[-1]),
            float(sequence.low[-1]),
            float(sequence.high[-1]),
            float(sequence.p_value[-1]),
            0 if first is None else int(np.sign(sequence.difference[first])),
            None if first is None else int(units.outcome_time_us[first]),
        ),
        course,
    )


def _arm(log: ExperimentLog, units: Units, version: int, *, challenger: bool) -> ArmCounts:
    calls = log.exposures
    mine = calls.challenger == challenger
    values = units.outcome_value[units.outcome_challenger == challenger]
    return ArmCounts(
        version=version,
        units=int((units.challenger == challenger).sum()),
        units_with_outcome=len(values),
        exposures=int(mine.sum()),
        outcomes=int(mine[log.outcomes.call].sum()),
        errors=int((calls.error & mine).sum()),
        fallbacks=int((calls.fallback & mine).sum()),
        mean=float(values.mean()) if len(values) else math.nan,
        latency=latency_of(calls.latency_ms[mine & ~calls.error]),
    )


def _decide(
    plan: ExperimentPlan,
    difference: Difference,
    ratio: SampleRatio,
    guardrails: Sequence[Guardrail],
    heard: int,
) -> tuple[str, str]:
    """Harm first, then whether the numbers can be believed, then what they say.

    Args:
        plan: The rules.
        difference: Of the metric.
        ratio: Keys against the split.
        guardrails: Errors, latency.
        heard: Keys with an outcome in the smaller arm.
    """
    breached = [guardrail for guardrail in guardrails if guardrail.breached]
    if breached:
        names = ", ".join(guardrail.name for guardrail in breached)
        return f"{GUARDRAIL} {names}", " ".join(map(notes.breach, breached))
    if ratio.alarm:
        return INVALID, notes.mismatch(ratio)
    if difference.first:
        better = (difference.first > 0) == (plan.better == "higher")
        return BETTER if better else WORSE, notes.difference(
            plan, difference.estimate, difference.low, difference.high, difference.first
        )
    return RUNNING, notes.waiting(plan, heard, difference.low, difference.high)
