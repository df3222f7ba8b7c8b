"""From samples to figures: medians over the rounds, ratios within a round, and the table."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from closed_loop import Sample


@dataclass(frozen=True)
class Line:
    """One contestant at one number of callers; all figures are medians over the rounds.

    Attributes:
        name, callers: Who, and how many ask at once.
        rounds: How many samples.
        rate, rate_min, rate_max: Answers per second.
        p50_ms, p99_ms: Latency of answers.
        cpu_us: CPU time of the generator's process per call, microseconds.
        cores: Cores that this process kept busy.
        errors: Calls without an answer, in all rounds together.
    """

    name: str
    callers: int
    rounds: int
    rate: float
    rate_min: float
    rate_max: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    cores: float
    errors: int


@dataclass(frozen=True)
class Ratio:
    """Answers per second of one contestant as a multiple of another's, paired by round."""

    over: str
    under: str
    callers: int
    median: float
    low: float
    high: float


def line_of(name: str, samples: Sequence[Sample]) -> Line:
    """Summarise the rounds of one contestant at one number of callers."""
    rates = [sample.rate for sample in samples]
    return Line(
        name=name,
        callers=samples[0].callers,
        rounds=len(samples),
        rate=median(rates),
        rate_min=min(rates),
        rate_max=max(rates),
        p50_ms=median(sample.percentile_ms(50) for sample in samples),
        p99_ms=median(sample.percentile_ms(99) for sample in samples),
        cpu_us=median(sample.cpu_us for sample in samples),
        cores=median(sample.cores for sample in samples),
        errors=sum(sample.errors for sample in samples),
    )


def ratio_of(over: str, under: str, rounds: Mapping[str, Sequence[Sample]]) -> Ratio | None:
    """Compare two contestants that took turns; None where one of them never answered."""
    pairs = zip(rounds[over], rounds[under], strict=True)
    ratios = [a.rate / b.rate for a, b in pairs if len(a.latency_ms) and len(b.latency_ms)]
    if not ratios:
        return None
    return Ratio(over, under, rounds[over][0].callers, median(ratios), min(ratios), max(ratios))


def as_table(lines: Sequence[Line], ratios: Sequence[Ratio], ceilings: Sequence[str]) -> str:
    """Word the figures as an aligned table."""
    width = max(len(line.name) for line in lines)
    out = []
    for callers in sorted({line.callers for line in lines}):
        title = f"{callers} caller{'s' if callers > 1 else ''}"
        head = f"{title:<{width}}  requests/s  (min - max)        p50 ms   p99 ms  caller's CPU"
        out += [head, "-" * (len(head) + 10)]
        rows = [line for line in lines if line.callers == callers]
        for line in sorted(rows, key=lambda row: row.name in ceilings):
            span = f"({line.rate_min:,.0f} - {line.rate_max:,.0f})"
            failed = f"  {line.errors} errors" if line.errors else ""
            out.append(
                f"{line.name:<{width}}  {line.rate:>10,.0f}  {span:<17}  {line.p50_ms:>6.2f}"
                f"   {line.p99_ms:>6.2f}  {line.cpu_us:>5.0f} us, {line.cores:.2f} cores{failed}"
            )
        for ratio in ratios:
            if ratio.callers == callers:
                out.append(
                    f"  {ratio.over} : {ratio.under} = {ratio.median:.2f}"
                    f"  (rounds {ratio.low:.2f} - {ratio.high:.2f})"
                )
        out.append("")
    return "\n".join(out)


def as_tree(lines: Sequence[Line], ratios: Sequence[Ratio]) -> dict[str, Any]:
    """Return the figures JSON-ready."""
    return {
        "lines": [asdict(line) for line in lines],
        "ratios": [asdict(ratio) for ratio in ratios],
    }
