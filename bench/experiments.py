"""Whether the statistics of experiments keep their promises: ``python bench/experiments.py``.

Simulated experiments, looked at after every single key or call, which is more often than anybody
does. Seeds are fixed, so every run prints the same figures; they do not depend on the machine.
"""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, norm

from clickclean_client.experiments.assignment import bucket
from clickclean_export.experiment.guardrails import Guardrail, check_errors, check_latency
from clickclean_export.experiment.log_reader import Exposures
from clickclean_export.experiment.plan import ExperimentPlan, SplitChange
from clickclean_export.experiment.sample_ratio import check_sample_ratio
from clickclean_export.experiment.sequential import (
    Sequence,
    confidence_sequence,
    units_needed,
)

Values = NDArray[np.float64]
Arms = NDArray[np.bool_]

EXPERIMENTS = 1_000
KEYS = 10_000
ASSIGNED_KEYS = 1_000_000
SALTS = 10
START = datetime(2026, 1, 1, tzinfo=UTC)
PLAN = ExperimentPlan(
    experiment="simulated",
    model="m",
    champion=1,
    challenger=2,
    salt="s",
    started=START.isoformat(),
)


def draw_binary(mean: float) -> Callable[[np.random.Generator, int], Values]:
    """Return a source of outcomes 0 and 1."""
    return lambda rng, n: (rng.random(n) < mean).astype(np.float64)


OUTCOMES: dict[str, Callable[[np.random.Generator, int], Values]] = {
    "0 or 1, mean 5 %": draw_binary(0.05),
    "0 or 1, mean 50 %": draw_binary(0.5),
    "0 or 1, mean 95 %": draw_binary(0.95),
    "log-normal, sigma 1.5": lambda rng, n: rng.lognormal(0, 1.5, n),
    "Student's t, 3 degrees": lambda rng, n: rng.standard_t(3, n),
}
HALF = 0.5


def main() -> None:
    """Print every figure."""
    began = time.perf_counter()
    for section in (false_alarms, ramps, planted_loss, sample_ratio, guardrails, assignment):
        for line in section():
            print(line, flush=True)
        print(flush=True)
    print(f"{time.perf_counter() - began:.0f} s", file=sys.stderr)


def false_alarms() -> Iterator[str]:
    """A/A experiments: both arms draw from the same distribution."""
    yield f"## A/A: {EXPERIMENTS} experiments of {KEYS} keys, a look after every key, alpha 5 %"
    yield "outcome                  split  tuned to  false alarms (95 % interval)"
    for name, draw in OUTCOMES.items():
        for share in (0.5, 0.1):
            for tuned in (500, PLAN.tuned_units):
                rng = np.random.default_rng(20261123)
                alarms = 0
                for _ in range(EXPERIMENTS):
                    arm = rng.random(KEYS) < share
                    alarms += decides(draw(rng, KEYS), arm, tuned=tuned)
                yield f"{name:<23}  {split(share)}  {tuned:>8}  {of(alarms)}"
    rng = np.random.default_rng(20261123)
    peeking = sum(
        peeked_t_test(OUTCOMES["0 or 1, mean 50 %"](rng, KEYS), rng.random(KEYS) < HALF)
        for _ in range(EXPERIMENTS)
    )
    yield f"an ordinary test at 5 %, a look after every 100 keys: {of(peeking)}"


def ramps() -> Iterator[str]:
    """A/A experiments whose split and whose day change together."""
    yield f"## A/A with a ramp 1 -> 10 -> 50 %, outcomes 95 %, then 90 %, then 85 %: {EXPERIMENTS}"
    rng = np.random.default_rng(7)
    epoch = np.repeat([0, 1, 2], 4_000)
    share, mean = np.array([0.01, 0.1, 0.5])[epoch], np.array([0.95, 0.90, 0.85])[epoch]
    within = across = 0
    for _ in range(EXPERIMENTS):
        arm = rng.random(len(epoch)) < share
        value = (rng.random(len(epoch)) < mean).astype(np.float64)
        within += decides(value, arm, epoch=epoch)
        across += decides(value, arm)
    yield f"compared within epochs: {of(within)}"
    yield f"all keys thrown together: {of(across)}"


def planted_loss() -> Iterator[str]:
    """Two points less, found with the number of keys that ``units_needed`` states."""
    yield f"## A loss of two points, 95 % -> 93 %: {EXPERIMENTS} experiments each"
    yield "split  keys stated for 80 %  tuned to  found  called better  median keys when found"
    for share in (0.5, 0.1):
        keys = units_needed(0.95, -0.02, alpha=PLAN.alpha, power=0.8, share=share)
        for tuned in (round(keys * share * (1 - share)), PLAN.tuned_units):
            rng = np.random.default_rng(11)
            stops: list[int] = []
            wrong = 0
            for _ in range(EXPERIMENTS):
                arm = rng.random(keys) < share
                value = (rng.random(keys) < np.where(arm, 0.93, 0.95)).astype(np.float64)
                course = sequence(value, arm, tuned=tuned)
                row = course.crossing(PLAN.alpha)
                if row is not None:
                    stops.append(row + 1)
                    wrong += bool(course.difference[row] > 0)
            yield (
                f"{split(share)}  {keys:>20}  {tuned:>8}  {len(stops) / EXPERIMENTS:>5.1%}"
                f"  {wrong:>13}  {np.median(stops):>22.0f}"
            )


def sample_ratio() -> Iterator[str]:
    """False alarms of the sample ratio, and a planted mismatch."""
    keys, alpha = 20_000, 0.05
    yield f"## Sample ratio, {EXPERIMENTS} experiments, a look after every key"
    for share in (0.5, 0.1, 0.01):
        rng = np.random.default_rng(13)
        alarms = [ratio_alarm(rng, keys, share, share, alpha) for _ in range(EXPERIMENTS)]
        yield f"right split {split(share)}, alpha {alpha:.0%}: {of(sum(map(bool, alarms)))}"
    rng = np.random.default_rng(13)
    alarms = [ratio_alarm(rng, keys, 0.5, 0.5, PLAN.sample_ratio_alpha) for _ in range(EXPERIMENTS)]
    yield f"right split 50/50, alpha {PLAN.sample_ratio_alpha:.1%}: {of(sum(map(bool, alarms)))}"
    rounds = 300
    for wanted, seen in ((0.5, 0.485), (0.5, 0.47), (0.1, 0.09), (0.5, 0.0)):
        rng = np.random.default_rng(17)
        found = [
            ratio_alarm(rng, 60_000, wanted, seen, PLAN.sample_ratio_alpha) for _ in range(rounds)
        ]
        rung = [row for row in found if row]
        yield (
            f"wanted {wanted:.1%}, seen {seen:.1%}: caught within 60000 keys in {len(rung)} of "
            f"{rounds}, keys median {np.median(rung):.0f}, 95th percentile "
            f"{np.quantile(rung, 0.95):.0f}"
        )


def guardrails() -> Iterator[str]:
    """False stops exactly at the limit, and how many calls harm takes to be found."""
    calls, plan = 5_000, replace(PLAN, guardrail_alpha=0.1)  # each guardrail has half: 5 %
    yield f"## Guardrails: {EXPERIMENTS} experiments of {calls} calls, a look after every call"
    yield "exactly at the limit, alpha 5 % each:"
    for share in (0.5, 0.1):
        rng = np.random.default_rng(19)
        errors = slow = 0
        for _ in range(EXPERIMENTS):
            log = traffic(rng, calls, share, errors=(0.02, 0.03), slower=plan.latency_ratio_max)
            errors += check_errors(plan, log).breached
            slow += check_latency(plan, log).breached
        yield f"errors 2 % and 3 %, limit 1 point, {split(share)}: {of(errors)}"
        yield f"latency 1.5 times as long, limit 1.5, {split(share)}: {of(slow)}"
    rounds = 300
    yield f"harm with the default alpha {PLAN.guardrail_alpha:.0%} for both, split 90/10:"
    for rate in (1.0, 0.5, 0.2, 0.1, 0.05):
        rng = np.random.default_rng(23)
        logs = (traffic(rng, 20_000, 0.1, errors=(0.001, rate)) for _ in range(rounds))
        found = [check_errors(PLAN, log) for log in logs]
        yield f"{rate:.0%} errors instead of 0.1 %: {stopped(found, rounds)}"
    for ratio in (4.0, 2.0, 1.7):
        rng = np.random.default_rng(29)
        logs = (traffic(rng, 20_000, 0.1, slower=ratio) for _ in range(rounds))
        found = [check_latency(PLAN, log) for log in logs]
        yield f"{ratio:g} times as slow, limit {PLAN.latency_ratio_max:g}: {stopped(found, rounds)}"
    rng = np.random.default_rng(31)
    logs = (traffic(rng, 20_000, 0.1, slow_tail=0.2) for _ in range(rounds))
    found = [check_latency(PLAN, log) for log in logs]
    yield f"a fifth of the calls 5 times as slow, the median kept: {stopped(found, rounds)}"


def assignment() -> Iterator[str]:
    """The shares that the hash deals, and whether a ramp moves anybody out."""
    yield f"## Assignment of {ASSIGNED_KEYS} keys, {SALTS} salts"
    yield "percent  deviation in points: median  largest  chance alone (1 sigma)  moved out by ramp"
    percents = np.array([1.0, 5.0, 10.0, 25.0, 50.0])
    limits = np.round(percents * 1000).astype(np.int64)
    shares, moved = np.zeros((SALTS, len(percents))), np.zeros(len(percents), np.int64)
    for salt in range(SALTS):
        buckets = np.fromiter(
            (bucket(f"digits-3-{salt}", f"user-{number}") for number in range(ASSIGNED_KEYS)),
            np.int64,
            ASSIGNED_KEYS,
        )
        challenger = buckets[:, None] < limits
        shares[salt] = challenger.mean(axis=0)
        moved[1:] += (challenger[:, :-1] & ~challenger[:, 1:]).sum(axis=0)
    off = np.abs(100 * shares - percents)
    chance = 100 * np.sqrt(percents / 100 * (1 - percents / 100) / ASSIGNED_KEYS)
    for column, percent in enumerate(percents):
        yield (
            f"{percent:>7g}  {np.median(off[:, column]):>27.3f}  {off[:, column].max():>7.3f}"
            f"  {chance[column]:>22.3f}  {moved[column]:>17}"
        )


def sequence(
    value: Values, arm: Arms, *, tuned: int, epoch: NDArray[np.int64] | None = None
) -> Sequence:
    """Follow one experiment with the rules of the default plan."""
    return confidence_sequence(
        value, arm, epoch, alpha=PLAN.alpha, tuned_units=tuned, units_min=PLAN.units_min
    )


def decides(
    value: Values,
    arm: Arms,
    *,
    tuned: int = PLAN.tuned_units,
    epoch: NDArray[np.int64] | None = None,
) -> bool:
    """Tell whether any look finds a difference."""
    return sequence(value, arm, tuned=tuned, epoch=epoch).crossing(PLAN.alpha) is not None


def peeked_t_test(value: Values, arm: Arms) -> bool:
    """Tell whether a test made for one look finds a difference at one of many."""
    looks = np.arange(2 * PLAN.units_min, len(value), 100)
    n1, n0 = np.cumsum(arm)[looks], np.cumsum(~arm)[looks]
    mean1 = np.cumsum(value * arm)[looks] / n1
    mean0 = np.cumsum(value * ~arm)[looks] / n0
    error = np.sqrt(mean1 * (1 - mean1) / n1 + mean0 * (1 - mean0) / n0)
    return bool((np.abs(mean1 - mean0) / error > norm.ppf(1 - PLAN.alpha / 2)).any())


def ratio_alarm(
    rng: np.random.Generator, keys: int, wanted: float, seen: float, alpha: float
) -> int:
    """Return after how many keys the alarm rings, 0 if it does not."""
    arm = rng.random(keys) < seen
    changes = [SplitChange(START, wanted * 100)]
    row = check_sample_ratio(arm, np.zeros(keys, np.int64), changes, alpha=alpha).alarm_row
    return 0 if row is None else row + 1


def traffic(
    rng: np.random.Generator,
    calls: int,
    share: float,
    *,
    errors: tuple[float, float] = (0.0, 0.0),
    slower: float = 1.0,
    slow_tail: float = 0.0,
) -> Exposures:
    """Draw calls, each of another key: errors of champion and challenger, log-normal latency."""
    arm = rng.random(calls) < share
    latency = rng.lognormal(2.3, 0.5, calls) * np.where(arm, slower, 1.0)
    latency = np.where(arm & (rng.random(calls) < slow_tail), 5 * latency, latency)
    begin = START.timestamp()
    return Exposures(
        time_us=((begin + 0.02 * np.arange(calls)) * 1e6).astype(np.int64),
        challenger=arm,
        version=np.where(arm, 2, 1),
        unit=np.arange(calls),
        latency_ms=latency,
        error=rng.random(calls) < np.where(arm, errors[1], errors[0]),
        fallback=np.zeros(calls, np.bool_),
        units=calls,
    )


def stopped(found: list[Guardrail], rounds: int) -> str:
    """Word how many calls of the challenger a guardrail let through."""
    calls = [guardrail.calls for guardrail in found if guardrail.breached]
    if not calls:
        return f"stopped in 0 of {rounds}"
    return (
        f"stopped in {len(calls)} of {rounds}, challenger's calls median {np.median(calls):.0f}, "
        f"95th percentile {np.quantile(calls, 0.95):.0f}"
    )


def split(share: float) -> str:
    """Word a split as champion/challenger."""
    return f"{100 * (1 - share):.0f}/{100 * share:.0f}"


def of(alarms: int) -> str:
    """Word a share with its exact binomial interval."""
    interval = binomtest(alarms, EXPERIMENTS).proportion_ci()
    return f"{alarms / EXPERIMENTS:.1%} ({interval.low:.1%} to {interval.high:.1%})"


if __name__ == "__main__":
    main()
