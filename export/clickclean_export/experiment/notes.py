"""Sentences about an experiment: why it was decided so, and what a reader must know besides."""

import math
from collections.abc import Sequence

import numpy as np

from clickclean_export.experiment.guardrails import LEVELS, Guardrail
from clickclean_export.experiment.log_reader import ExperimentLog
from clickclean_export.experiment.plan import ExperimentPlan, SplitChange
from clickclean_export.experiment.sample_ratio import SampleRatio, check_sample_ratio
from clickclean_export.experiment.units import SETTLE_S, Units

_SEEN_BEFORE_MAX = 0.2  # a ramp that reaches mostly keys that were counted earlier


def breach(guardrail: Guardrail) -> str:
    """Word a breached guardrail."""
    if guardrail.name == "errors":
        return (
            f"The challenger fails {guardrail.challenger:.2%} of its calls, the champion "
            f"{guardrail.champion:.2%}: at least {guardrail.at_least * 100:.1f} points more, "
            f"{guardrail.limit * 100:g} are allowed (found after {guardrail.calls} calls)."
        )
    return (
        f"The challenger takes {guardrail.challenger:.1f} ms at the median, the champion "
        f"{guardrail.champion:.1f} ms: at the median or at p{LEVELS[1] * 100:g} at least "
        f"{guardrail.at_least:.2f} times as long, {guardrail.limit:g} times is allowed "
        f"(found after {guardrail.calls} calls)."
    )


def mismatch(ratio: SampleRatio) -> str:
    """Word an alarm of the sample ratio."""
    parts = ", ".join(
        f"{epoch.observed_percent:.2f} % of {epoch.champion + epoch.challenger} keys where "
        f"{epoch.percent:g} % were wanted"
        for epoch in ratio.epochs
        if epoch.champion + epoch.challenger
    )
    return (
        f"The challenger got {parts} (always-valid p {ratio.p_value:.1g}): keys are lost on one "
        "side, so the arms cannot be compared. Look for clients that do not log, or use another "
        "salt; then start anew."
    )


def difference(plan: ExperimentPlan, estimate: float, low: float, high: float, first: int) -> str:
    """Word a difference that was found."""
    better = (first > 0) == (plan.better == "higher")
    text = (
        f"The challenger's mean {plan.metric} is {'better' if better else 'worse'}: "
        f"{estimate:+.4g}, between {low:+.4g} and {high:+.4g} ({1 - plan.alpha:.0%}, valid at "
        "every look)."
    )
    if low <= 0 <= high:
        text += " The interval holds 0 again: the difference was found earlier, and has shrunk."
    return text


def waiting(plan: ExperimentPlan, units: int, low: float, high: float) -> str:
    """Word an experiment that has found nothing yet."""
    if units < plan.units_min:
        return (
            f"Too early: the smaller arm has {units} keys with an outcome, "
            f"{plan.units_min} are needed."
        )
    if not math.isfinite(low):
        return (
            "Nothing to compare yet: all outcomes are alike, or no time with an unchanged split "
            "has enough keys in both arms."
        )
    return (
        f"No difference found yet: it lies between {low:+.4g} and {high:+.4g} "
        f"({1 - plan.alpha:.0%}, valid at every look)."
    )


def notes_on(
    plan: ExperimentPlan,
    log: ExperimentLog,
    units: Units,
    changes: Sequence[SplitChange],
    ratio: SampleRatio,
) -> tuple[str, ...]:
    """Return what else a reader must know, most important first."""
    aside, calls = log.set_aside, log.exposures
    found: list[str] = []

    def tell(number: int, text: str) -> None:
        if number:
            found.append(f"{number} {text}")

    if not len(calls):
        found.append(f"no call of experiment '{plan.experiment}' is in the log")
    elif not len(log.outcomes):
        found.append(f"no outcome named '{plan.metric}' belongs to a call in the log")
    if not ratio.alarm and _uncovered(plan, units, changes):
        found.append(
            "the arms differ in how many keys have an outcome at all, so those that have one may "
            "differ as well; log the outcome of every prediction, also a 0"
        )
    tell(
        units.in_two_arms,
        "keys were in both arms without a change of the split: not all clients use the same rule",
    )
    for challenger, version in ((False, plan.champion), (True, plan.challenger)):
        mine = (calls.challenger == challenger) & ~calls.fallback & ~calls.error
        other = np.unique(calls.version[mine & (calls.version != version)])
        if len(other):
            arm = "challenger" if challenger else "champion"
            numbers = ", ".join(map(str, other))
            found.append(f"calls of the {arm} were answered by version {numbers}, not {version}")
    present = len(np.unique(calls.unit)) if len(changes) > 1 else 0
    if present and units.seen_before > _SEEN_BEFORE_MAX * present:
        found.append(
            f"{units.seen_before} keys seen since the last change of the split were counted before "
            "it and are not counted again; an experiment with a new salt would count them"
        )
    found.extend(f"skipped: {sentence}" for sentence in aside.files)
    tell(units.unsettled, f"keys first came within {SETTLE_S} s of a change and do not count")
    tell(aside.incomplete_rows, "exposures with an empty column or an unknown arm are left out")
    tell(aside.repeated_predictions, "exposures repeat a prediction id; the earliest counts")
    tell(aside.ambiguous_predictions, "prediction ids belong to several keys; outcomes left out")
    tell(aside.outcomes_without_exposure, "outcomes belong to no call in the log (yet)")
    tell(aside.outcomes_without_number, "outcomes are not finite numbers and are left out")
    return tuple(found)


def _uncovered(plan: ExperimentPlan, units: Units, changes: Sequence[SplitChange]) -> bool:
    """Tell whether keys with an outcome are dealt differently, though keys are dealt right."""
    return check_sample_ratio(
        units.outcome_challenger, units.outcome_epoch, changes, alpha=plan.sample_ratio_alpha
    ).alarm
