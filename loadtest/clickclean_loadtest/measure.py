"""From the record of a run to its result."""

from datetime import datetime

import numpy as np

from clickclean_loadtest.arrivals import Beats
from clickclean_loadtest.intervals import percentile
from clickclean_loadtest.plan import Plan
from clickclean_loadtest.record import Record
from clickclean_loadtest.result import LatencySummary, LoadResult, stride_for
from clickclean_loadtest.verdict import Evidence, judge

WARMUP_MAX_S = 2.0
WARMUP_SHARE_MAX = 0.1
SAMPLES_MAX = 100_000


def warmup_of(duration_s: float) -> float:
    """Seconds left out at the start: 2 s or a tenth of the run, whichever is less."""
    return min(WARMUP_MAX_S, WARMUP_SHARE_MAX * duration_s)


def result_of(
    plan: Plan,
    record: Record,
    beats: Beats,
    *,
    started_at: datetime,
    duration_s: float,
    unfinished: int,
    complete: bool,
    users: int,
) -> LoadResult:
    """Leave out the warm-up, summarise, and judge.

    Args:
        plan: what was run.
        record: what happened to every request.
        beats: the generator's own lateness.
        started_at: with time zone.
        duration_s: seconds of schedule that were run.
        unfinished: requests under way at the end of a run that was stopped.
        complete: whether the whole schedule was run.
        users: Locust users that there were.
    """
    spec = plan.spec
    warmup_s = warmup_of(duration_s)
    everything = record.rows()
    rows = everything.since(warmup_s)
    beat_lag_ms = np.array(beats.lags_s[int(warmup_s / beats.interval_s) :], dtype=np.float64) * 1e3
    lag_ms = np.concatenate([rows.lag_ms, beat_lag_ms])
    latency_ms = rows.latency_ms
    errors = {kind: rows.kind.count(kind) for kind in sorted(set(rows.kind) - {""})}
    labelled = record.labelled_rows
    evidence = Evidence(
        rate=spec.rate,
        requests=len(rows),
        errors=sum(errors.values()),
        latency_ms=latency_ms,
        lag_ms=lag_ms,
        late_share=float(1 - rows.on_time.mean()) if len(rows) else 0.0,
        users=users,
        unfinished=unfinished,
        complete=complete,
        accuracy=record.right_rows / labelled if labelled else None,
        accuracy_min=spec.accuracy_min,
    )
    verdict, reasons = judge(evidence, plan.target)
    counted_s = duration_s - warmup_s
    sent_in_time = np.array([kind != "NotSent" for kind in rows.kind], dtype=np.bool_) & (
        rows.sent_s <= duration_s
    )
    stride = stride_for(latency_ms.size, SAMPLES_MAX)
    due_s = rows.due_s[rows.timed]
    return LoadResult(
        model=spec.model,
        endpoint=spec.endpoint,
        versions=dict(record.versions),
        started_at=started_at.isoformat(timespec="milliseconds"),
        duration_s=counted_s,
        warmup_s=warmup_s,
        warmup_requests=len(everything) - len(rows),
        rate=spec.rate,
        achieved_rate=int(sent_in_time.sum()) / counted_s if counted_s > 0 else 0.0,
        users=users,
        requests=len(rows),
        errors=errors,
        error_examples=dict(record.examples),
        latency=LatencySummary.of(latency_ms),
        service_time=LatencySummary.of(rows.service_ms),
        generator_lag_mean_ms=float(lag_ms.mean()) if lag_ms.size else 0.0,
        generator_lag_p99_ms=percentile(lag_ms, 99),
        late_share=evidence.late_share,
        checked=record.checked,
        accuracy=evidence.accuracy,
        target=plan.target,
        verdict=verdict,
        reasons=(*reasons, *_remarks(plan, record, warmup_s, len(everything) - len(rows))),
        sample_stride=stride,
        sample_at_s=tuple(np.round(due_s[::stride], 4).tolist()),
        sample_ms=tuple(np.round(latency_ms[::stride], 3).tolist()),
    )


def _remarks(plan: Plan, record: Record, warmup_s: float, warmup_requests: int) -> list[str]:
    said = [f"the first {warmup_s:.2g} s ({warmup_requests} requests) are warm-up and left out"]
    unchecked = [version for version in record.versions if not plan.answers.can_check(version)]
    if unchecked:
        said.append(
            f"answers of version {', '.join(unchecked)} were not compared: no golden outputs for"
            " the rows that were sent"
        )
    if len(record.versions) > 1:
        said.append(f"{len(record.versions)} versions answered: {', '.join(record.versions)}")
    return said
