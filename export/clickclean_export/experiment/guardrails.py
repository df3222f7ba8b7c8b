"""Harm that stops an experiment by itself: more errors, slower answers.

Guardrails look at calls, not at keys: harm done twice to one key is done twice, and a stop must
come within tens of calls. Both bet (``betting``) on differences within blocks of neighbouring
calls, so that both arms are compared in the same moment and under the same load; neither needs a
model of the latencies or a large number.

Errors. Bet that the challenger's error rate is above the champion's plus the margin. A key counts
up to its first error within an hour: one caller whose input no version can answer would otherwise
stop any challenger alone. Whether a call counts is settled before it is made, which is all that the
bet asks for.

Latency. The limit R holds if the challenger's latency divided by R is nowhere slower than the
champion's. Take any latency q known before a call: P(challenger > R q) <= P(champion > q). Bet
against that at q = the champion's running median and its 95th percentile, half the money on each:
the one notices that everything is slower, the other that the tail is. An estimate of the
percentile that is off costs power, never validity. Means are not used: one stall of a minute would
decide them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from clickclean_export.experiment.betting import (
    at_least,
    block_differences,
    exceeds,
    log_capital,
    pair_up,
)
from clickclean_export.experiment.log_reader import Exposures
from clickclean_export.experiment.plan import ExperimentPlan

HOUR_US = 3_600_000_000
LEVELS = (0.5, 0.95)
"""Percentiles of the champion's latency at which the challenger is compared."""
LATENCIES_MIN = 20
_WINDOW = 2_048  # champion latencies that a percentile is taken of
_STEP = 256  # calls between two estimates of the percentiles
KEYS_MIN = 5
"""Different keys of each arm before latency may stop: slow callers are not a slow version."""
_RATIO_MAX = 100.0
_BISECTIONS = 12  # to 0.3 %


@dataclass(frozen=True, eq=False)
class Guardrail:
    """What one guardrail says.

    Attributes:
        name: "errors" or "latency".
        limit: Largest difference of error rates, or largest ratio of latencies.
        champion: Error rate 0..1, or median latency in milliseconds; NaN without calls.
        challenger: The same.
        at_least: Lower end of the always-valid interval for the difference of error rates (-1
            when nothing is known) or the ratio of latencies (0), at the last call or, after a
            breach, at the call that breached.
        alpha: Largest probability of a false stop.
        p_value: Always valid.
        breached: Whether the interval has ever been wholly beyond the limit.
        calls: Calls of the challenger that were bet on, up to a breach if there is one.
        time_us: int64[blocks], when each block ended.
        log_evidence: float64[blocks], logarithm of the capital after it.
        breached_us: When; None if it is not breached.
    """

    name: Literal["errors", "latency"]
    limit: float
    champion: float
    challenger: float
    at_least: float
    alpha: float
    p_value: float
    breached: bool
    calls: int
    time_us: NDArray[np.int64]
    log_evidence: NDArray[np.float64]
    breached_us: int | None


def check_guardrails(plan: ExperimentPlan, calls: Exposures) -> tuple[Guardrail, Guardrail]:
    """Judge errors and latency; they share the plan's ``guardrail_alpha`` in halves."""
    return check_errors(plan, calls), check_latency(plan, calls)


def check_errors(plan: ExperimentPlan, calls: Exposures) -> Guardrail:
    """Judge the error rate of the challenger against the champion's plus the margin."""
    alpha = plan.guardrail_alpha / 2
    counted = before_first_error(calls)
    arm, error = calls.challenger[counted], calls.error[counted].astype(np.float64)
    edges = pair_up(arm)
    difference = block_differences(error, arm, edges)
    evidence = log_capital(difference, plan.error_rate_margin)
    breach = _first(evidence, alpha)
    upto = difference if breach is None else difference[: breach + 1]
    return _guardrail(
        "errors",
        limit=plan.error_rate_margin,
        champion=_mean(calls.error[~calls.challenger]),
        challenger=_mean(calls.error[calls.challenger]),
        lower=at_least(upto, alpha),
        alpha=alpha,
        breach=breach,
        arm=arm,
        edges=edges,
        time_us=calls.time_us[counted],
        evidence=evidence,
    )


def check_latency(plan: ExperimentPlan, calls: Exposures) -> Guardrail:
    """Judge the latency of the challenger's answers against the champion's times the limit.

    Calls whose arm failed are left to the other guardrail.
    """
    alpha = plan.guardrail_alpha / 2
    answered = ~calls.error & np.isfinite(calls.latency_ms)
    arm, latency = calls.challenger[answered], calls.latency_ms[answered]
    time_us, unit = calls.time_us[answered], calls.unit[answered]
    champion, challenger = _median(latency[~arm]), _median(latency[arm])

    levels = running_percentiles(latency, arm)
    known = np.flatnonzero(np.isfinite(levels[0]))
    begin = max(int(known[0]) if len(known) else len(arm), _enough_keys(unit, arm))
    arm, latency, time_us = arm[begin:], latency[begin:], time_us[begin:]
    levels = levels[:, begin:]
    edges = pair_up(arm)

    def differences(ratio: float) -> Sequence[NDArray[np.float64]]:
        scaled = np.where(arm, latency / ratio, latency)
        return [
            block_differences((scaled > level).astype(np.float64), arm, edges) for level in levels
        ]

    capital = [log_capital(each, 0.0) for each in differences(plan.latency_ratio_max)]
    evidence = np.logaddexp.reduce(capital, axis=0) - np.log(len(LEVELS))
    breach = _first(evidence, alpha)
    end = len(evidence) if breach is None else breach + 1

    def beyond(ratio: float) -> bool:
        share = alpha / len(LEVELS)
        return any(exceeds(each[:end], 0.0, share) for each in differences(ratio))

    return _guardrail(
        "latency",
        limit=plan.latency_ratio_max,
        champion=champion,
        challenger=challenger,
        lower=_largest(beyond) if end else 0.0,
        alpha=alpha,
        breach=breach,
        arm=arm,
        edges=edges,
        time_us=time_us,
        evidence=evidence,
    )


def before_first_error(calls: Exposures) -> NDArray[np.int64]:
    """Return int64[kept]: calls up to the first error of their key, arm and hour, in order."""
    rows = len(calls)
    hour = calls.time_us // HOUR_US
    order = np.lexsort((np.arange(rows), hour, calls.challenger, calls.unit))
    error = calls.error[order].astype(np.int64)
    same = np.ones(rows, np.bool_)
    same[:1] = False
    for column in (calls.unit, calls.challenger, hour):
        same[1:] &= column[order][1:] == column[order][:-1]
    begins = np.maximum.accumulate(np.where(same, 0, np.arange(rows)))
    earlier = np.cumsum(error) - error
    kept: NDArray[np.int64] = np.sort(order[earlier == earlier[begins]])
    return kept


def running_percentiles(
    latency: NDArray[np.float64], challenger: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the champion's percentiles as they were known before each call.

    Args:
        latency: float64[calls], milliseconds, in the order of time.
        challenger: bool[calls].

    Returns:
        float64[levels, calls]; NaN before the champion has answered ``LATENCIES_MIN`` times.
    """
    calls = len(latency)
    levels = np.full((len(LEVELS), calls), np.nan)
    champion = latency[~challenger]
    answered = np.cumsum(~challenger)
    start = int(np.searchsorted(answered, LATENCIES_MIN)) + 1
    step = 2 * LATENCIES_MIN
    while start < calls:
        end = min(calls, start + step)
        known = int(answered[start - 1])
        recent = champion[max(0, known - _WINDOW) : known]
        levels[:, start:end] = np.quantile(recent, LEVELS)[:, None]
        start, step = end, min(2 * step, _STEP)
    return levels


def _enough_keys(unit: NDArray[np.int64], arm: NDArray[np.bool_]) -> int:
    """Return after how many calls both arms have been asked by ``KEYS_MIN`` keys."""
    needed = 0
    for side in (arm, ~arm):
        rows = np.flatnonzero(side)
        _, first = np.unique(unit[rows], return_index=True)
        if len(first) < KEYS_MIN:
            return len(unit)
        needed = max(needed, int(rows[np.sort(first)[KEYS_MIN - 1]]) + 1)
    return needed


def _guardrail(
    name: Literal["errors", "latency"],
    *,
    limit: float,
    champion: float,
    challenger: float,
    lower: float,
    alpha: float,
    breach: int | None,
    arm: NDArray[np.bool_],
    edges: NDArray[np.int64],
    time_us: NDArray[np.int64],
    evidence: NDArray[np.float64],
) -> Guardrail:
    ends = time_us[edges[1:] - 1]
    last = int(edges[-1]) if breach is None else int(edges[breach + 1])
    return Guardrail(
        name,
        limit,
        champion,
        challenger,
        lower,
        alpha,
        float(np.exp(-max(0.0, float(evidence.max(initial=0.0))))),
        breach is not None,
        int(arm[:last].sum()),
        ends,
        evidence,
        None if breach is None else int(ends[breach]),
    )


def _first(evidence: NDArray[np.float64], alpha: float) -> int | None:
    reached = np.flatnonzero(evidence >= -np.log(alpha))
    return int(reached[0]) if len(reached) else None


def _largest(beyond: Callable[[float], bool]) -> float:
    """Return the largest ratio that the latencies are beyond; 0 when they are beyond none."""
    low, high = 1 / _RATIO_MAX, _RATIO_MAX
    if not beyond(low):
        return 0.0
    for _ in range(_BISECTIONS):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if beyond(middle) else (low, middle)
    return low


def _mean(flags: NDArray[np.bool_]) -> float:
    return float(flags.mean()) if len(flags) else float("nan")


def _median(values: NDArray[np.float64]) -> float:
    return float(np.median(values)) if len(values) else float("nan")
