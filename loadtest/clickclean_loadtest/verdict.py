"""From numbers to a verdict: meet, miss, inconclusive or generator-bound, with the reasons."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clickclean_loadtest.intervals import (
    MEAN_SAMPLES_MIN,
    interval_of_mean,
    interval_of_share,
    percentile,
    tries_without_hit,
)
from clickclean_loadtest.target import Target

LAG_SHARE_MAX = 0.1  # of a latency limit: more would blur the very thing that is measured
LATE_SHARE_MAX = 0.01  # of requests that found no free user, before too few users are blamed
TAIL_SHARE = 0.01  # p99


class Verdict(StrEnum):
    """Whether the service meets its target at this load."""

    MEET = "meet"
    MISS = "miss"
    INCONCLUSIVE = "inconclusive"
    GENERATOR_BOUND = "generator-bound"

    @property
    def exit_code(self) -> int:
        """The exit code of `clickclean loadtest`."""
        return {"meet": 0, "miss": 10, "inconclusive": 11, "generator-bound": 12}[self.value]


@dataclass(frozen=True, eq=False)
class Evidence:
    """The counted part of a run (without the warm-up).

    Attributes:
        rate: intended requests per second.
        requests: finished requests.
        errors: failed ones among them.
        latency_ms: float64[n] corrected latencies in the order of the schedule.
        lag_ms: float64[m] lateness of the generator itself.
        late_share: share (0..1) of requests that found no free user when they were due.
        users: Locust users.
        unfinished: requests under way when the run was stopped before its end.
        complete: the run was not stopped before its end.
        accuracy: share (0..1) of labelled rows answered with the label; None = no labels.
        accuracy_min: its limit, if any.
    """

    rate: float
    requests: int
    errors: int
    latency_ms: NDArray[np.float64]
    lag_ms: NDArray[np.float64]
    late_share: float
    users: int
    unfinished: int = 0
    complete: bool = True
    accuracy: float | None = None
    accuracy_min: float | None = None


class Finding(NamedTuple):
    """One thing that was looked at, and what it means for the verdict."""

    verdict: Verdict
    why: str


def judge(evidence: Evidence, target: Target) -> tuple[Verdict, tuple[str, ...]]:
    """The verdict and one sentence for each thing that was looked at, the decisive ones first.

    Lateness of the generator counts as latency, so a target that is met is met in spite of it.
    When it is not met, nobody can tell whose fault that is: generator-bound comes before a miss,
    and a miss before not enough to say.
    """
    service, generator = _service(evidence, target), _generator(evidence, target)
    if all(found.verdict is Verdict.MEET for found in service):
        return Verdict.MEET, tuple(found.why for found in service + generator)
    findings = generator + service
    verdict = next(
        verdict
        for verdict in (Verdict.GENERATOR_BOUND, Verdict.MISS, Verdict.INCONCLUSIVE)
        if any(found.verdict is verdict for found in findings)
    )
    # A stable sort: the sentences that decided first.
    findings.sort(key=lambda found: found.verdict is not verdict)
    return verdict, tuple(found.why for found in findings)


def _generator(evidence: Evidence, target: Target) -> list[Finding]:
    found: list[Finding] = []
    lag = evidence.lag_ms
    mean_ms = float(lag.mean()) if lag.size else 0.0
    limits = (("mean", target.mean_ms, mean_ms), ("p99", target.p99_ms, percentile(lag, 99)))
    for name, limit_ms, lag_ms in limits:
        if limit_ms is not None and lag_ms > LAG_SHARE_MAX * limit_ms:
            found.append(
                Finding(
                    Verdict.GENERATOR_BOUND,
                    f"the generator itself ran late: {name} lag {lag_ms:.1f} ms is more than"
                    f" {LAG_SHARE_MAX:.0%} of the {limit_ms:g} ms target; use a machine with more"
                    " free CPU or a lower rate",
                )
            )
    fastest_ms = min((limit for _, limit, _ in limits if limit is not None), default=0.0)
    busy_ms = evidence.users / evidence.rate * 1000
    if evidence.late_share > LATE_SHARE_MAX and busy_ms < fastest_ms:
        found.append(
            Finding(
                Verdict.GENERATOR_BOUND,
                f"too few users: {evidence.users} are all busy when answers take {busy_ms:.0f} ms,"
                f" less than the {fastest_ms:g} ms target; {evidence.late_share:.1%} of the"
                " requests found no free one",
            )
        )
    return found


def _service(evidence: Evidence, target: Target) -> list[Finding]:
    if evidence.requests == 0:
        return [Finding(Verdict.INCONCLUSIVE, "no request was counted")]
    found = [_errors(evidence, target)]
    if target.mean_ms is not None:
        found.append(_mean(evidence.latency_ms, target.mean_ms))
    if target.p99_ms is not None:
        found.append(_tail(evidence.latency_ms, target.p99_ms))
    if evidence.accuracy is not None and evidence.accuracy_min is not None:
        found.append(_accuracy(evidence.accuracy, evidence.accuracy_min))
    if not evidence.complete:
        found.append(
            Finding(
                Verdict.INCONCLUSIVE,
                f"the run was stopped before its end, {evidence.unfinished} requests under way"
                " are left out",
            )
        )
    return found


def _errors(evidence: Evidence, target: Target) -> Finding:
    share = evidence.errors / evidence.requests
    said = f"{evidence.errors} of {evidence.requests} requests failed ({share:.2%})"
    limit = f"the limit of {target.error_rate_max:.2%}"
    if share > target.error_rate_max:
        return Finding(Verdict.MISS, f"{said}, over {limit}")
    return Finding(Verdict.MEET, f"{said}, within {limit}")


def _mean(latency_ms: NDArray[np.float64], limit_ms: float) -> Finding:
    if latency_ms.size < MEAN_SAMPLES_MIN:
        return Finding(
            Verdict.INCONCLUSIVE,
            f"{latency_ms.size} latencies are too few to judge a mean, which needs"
            f" {MEAN_SAMPLES_MIN}; run longer",
        )
    low, high = interval_of_mean(latency_ms)
    said = f"mean {latency_ms.mean():.1f} ms (95 % interval {max(low, 0.0):.1f} to {high:.1f})"
    if low > limit_ms:
        return Finding(Verdict.MISS, f"{said} is over the target of {limit_ms:g} ms")
    if high <= limit_ms:
        return Finding(Verdict.MEET, f"{said} is within the target of {limit_ms:g} ms")
    return Finding(
        Verdict.INCONCLUSIVE, f"{said} straddles the target of {limit_ms:g} ms; run longer"
    )


def _tail(latency_ms: NDArray[np.float64], limit_ms: float) -> Finding:
    over = int(np.count_nonzero(latency_ms > limit_ms))
    low, high = interval_of_share(over, latency_ms.size)
    said = (
        f"p99 {percentile(latency_ms, 99):.1f} ms: {over} of {latency_ms.size} requests took longer"
        f" than {limit_ms:g} ms (95 % interval {low:.2%} to {high:.2%})"
    )
    if low > TAIL_SHARE:
        return Finding(Verdict.MISS, f"{said}, more than 1 %")
    if high <= TAIL_SHARE:
        return Finding(Verdict.MEET, f"{said}, at most 1 %")
    return Finding(
        Verdict.INCONCLUSIVE,
        f"{said}, too few to say whether it is 1 %; run longer (with none over,"
        f" {tries_without_hit(TAIL_SHARE)} are enough)",
    )


def _accuracy(accuracy: float, limit: float) -> Finding:
    if accuracy < limit:
        return Finding(Verdict.MISS, f"accuracy {accuracy:.2%} of the answers is under {limit:.2%}")
    return Finding(Verdict.MEET, f"accuracy {accuracy:.2%} of the answers is at least {limit:.2%}")
