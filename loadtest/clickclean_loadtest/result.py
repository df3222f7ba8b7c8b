"""The outcome of a run: one value that the CLI prints, the report draws and a file keeps."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

from clickclean_loadtest.errors import BadResultFileError
from clickclean_loadtest.intervals import percentile
from clickclean_loadtest.target import Target
from clickclean_loadtest.verdict import Verdict

FORMAT = 1


@dataclass(frozen=True)
class LatencySummary:
    """Milliseconds; all 0 when nothing was answered."""

    mean_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float

    @classmethod
    def of(cls, values_ms: NDArray[np.float64]) -> Self:
        """The summary of float64[n] milliseconds."""
        return cls(
            mean_ms=float(values_ms.mean()) if values_ms.size else 0.0,
            p50_ms=percentile(values_ms, 50),
            p90_ms=percentile(values_ms, 90),
            p95_ms=percentile(values_ms, 95),
            p99_ms=percentile(values_ms, 99),
            max_ms=float(values_ms.max()) if values_ms.size else 0.0,
        )


@dataclass(frozen=True)
class LoadResult:
    """What one run showed. Everything but `warmup_*` leaves the warm-up out.

    Latency is that of every request which was answered or ran out of time; refused requests are
    errors only.

    Attributes:
        model, endpoint: what was asked, and where.
        versions: answers by the version that gave them.
        started_at: UTC, ISO 8601.
        duration_s: seconds of schedule that were counted.
        warmup_s, warmup_requests: the start that was left out.
        rate, achieved_rate: requests per second, intended and sent.
        users: Locust users.
        requests, errors: finished requests; failed ones by kind (an error class of the client,
            "WrongAnswer", or "NotSent": no user was free before its deadline).
        error_examples: the first message of each kind.
        latency: from the intended start (open loop).
        service_time: from the real start, what a closed loop would report.
        generator_lag_mean_ms, generator_lag_p99_ms: lateness of the generator itself.
        late_share: share (0..1) of requests that found no free user when they were due.
        checked: answers that were compared with golden ones (the warm-up's too).
        accuracy: share (0..1) of labelled rows that were answered with the label, or None.
        target: what it was judged against.
        verdict, reasons: the judgement and its sentences, the decisive ones first.
        sample_at_s, sample_ms: latencies for plots, when they were due and how long; every
            `sample_stride`-th request, at most 100,000.
    """

    model: str
    endpoint: str
    versions: Mapping[str, int]
    started_at: str
    duration_s: float
    warmup_s: float
    warmup_requests: int
    rate: float
    achieved_rate: float
    users: int
    requests: int
    errors: Mapping[str, int]
    error_examples: Mapping[str, str]
    latency: LatencySummary
    service_time: LatencySummary
    generator_lag_mean_ms: float
    generator_lag_p99_ms: float
    late_share: float
    checked: int
    accuracy: float | None
    target: Target
    verdict: Verdict
    reasons: tuple[str, ...]
    sample_stride: int
    sample_at_s: tuple[float, ...]
    sample_ms: tuple[float, ...]

    @property
    def exit_code(self) -> int:
        """0 meet, 10 miss, 11 inconclusive, 12 generator-bound."""
        return self.verdict.exit_code

    @property
    def error_count(self) -> int:
        """Failed requests of all kinds."""
        return sum(self.errors.values())

    @property
    def error_rate(self) -> float:
        """Share (0..1) of requests that failed."""
        return self.error_count / self.requests if self.requests else 0.0

    def to_json(self) -> str:
        """A JSON object with every field, and `format`, `exit_code`, `error_rate`."""
        extra = {"format": FORMAT, "exit_code": self.exit_code, "error_rate": self.error_rate}
        return json.dumps(extra | asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str, *, where: str = "") -> Self:
        """The value that `to_json` wrote.

        Raises:
            BadResultFileError: the text is anything else.
        """
        try:
            tree = json.loads(text)
            if tree["format"] != FORMAT:
                raise BadResultFileError(where, f"format {tree['format']} is not {FORMAT}")
            values = {field.name: tree[field.name] for field in fields(cls)}
            values["latency"] = LatencySummary(**values["latency"])
            values["service_time"] = LatencySummary(**values["service_time"])
            values["target"] = Target(**values["target"])
            values["verdict"] = Verdict(values["verdict"])
            for name in ("reasons", "sample_at_s", "sample_ms"):
                values[name] = tuple(values[name])
            return cls(**values)
        except (ValueError, KeyError, TypeError) as exc:
            raise BadResultFileError(where, f"not a result ({type(exc).__name__}: {exc})") from exc

    def table(self) -> str:
        """A short table for the terminal, numbers right-aligned."""
        rows = _rows(self)
        left = max(len(name) for name, _, _ in rows)
        right = max(len(number) for _, number, _ in rows)
        lines = [
            f"{name:<{left}}  {number:>{right}} {unit}".rstrip() for name, number, unit in rows
        ]
        return "\n".join(
            [*lines, f"verdict: {self.verdict}", *(f"  - {why}" for why in self.reasons)]
        )


def stride_for(count: int, most: int) -> int:
    """Keep every n-th of `count` values so that at most `most` remain."""
    return max(1, math.ceil(count / most))


def _rows(result: LoadResult) -> list[tuple[str, str, str]]:
    latency = result.latency
    versions = ", ".join(result.versions) or "none"
    rows = [
        ("model", result.model, f"version {versions}"),
        ("requests", f"{result.requests:,}", f"(+ {result.warmup_requests:,} warm-up)"),
        ("errors", f"{result.error_count:,}", ""),
        *((f"  {kind}", f"{count:,}", "") for kind, count in result.errors.items()),
        ("rate", f"{result.achieved_rate:.1f}", f"requests/s of {result.rate:g} asked"),
        ("mean", f"{latency.mean_ms:.1f}", "ms"),
        ("p50", f"{latency.p50_ms:.1f}", "ms"),
        ("p90", f"{latency.p90_ms:.1f}", "ms"),
        ("p95", f"{latency.p95_ms:.1f}", "ms"),
        ("p99", f"{latency.p99_ms:.1f}", "ms"),
        ("max", f"{latency.max_ms:.1f}", "ms"),
        ("generator lag p99", f"{result.generator_lag_p99_ms:.1f}", "ms"),
    ]
    if result.accuracy is not None:
        rows.append(("accuracy", f"{result.accuracy:.2%}", "of the labelled rows"))
    return rows
