"""The lines of the client's bench: both figures, their ratio, and whether it meets the target."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from pairs import Block, Pairs, Ratio, ratio_of

OURS, RAW = "ours", "tritonclient"


@dataclass(frozen=True)
class Target:
    """What a ratio should be: at most, or at least, a limit."""

    limit: float
    at_most: bool

    def verdict(self, ratio: Ratio) -> str:
        """Word whether the median meets it, and whether the interval leaves a doubt."""
        met = ratio.median <= self.limit if self.at_most else ratio.median >= self.limit
        doubt = ratio.low < self.limit < ratio.high
        sign = "<=" if self.at_most else ">="
        words = f"{sign} {self.limit:.2f} {'met' if met else 'missed'}"
        return words + (", but the interval spans it" if doubt else "")


@dataclass(frozen=True)
class Figure:
    """What is read from a block, and what its ratio should be."""

    of: Callable[[Block], float]
    unit: str
    target: Target | None


LATENCY = Figure(lambda block: block.p50_ms, "ms", Target(1.05, at_most=True))
RATE = Figure(lambda block: block.rate, "/s", Target(1.0, at_most=False))
CPU = Figure(lambda block: block.cpu_us, "us", None)
IMPORT = Target(1.3, at_most=True)


@dataclass(frozen=True)
class Line:
    """One line of the table: a figure of both, its ratio ours : tritonclient, and the verdict.

    ``errors`` are the calls of both that were not answered.
    """

    server: str
    what: str
    unit: str
    ours: float
    raw: float
    ratio: Ratio
    verdict: str
    errors: int = 0
    first_error: str = ""


def line_of(where: tuple[str, str], figure: Figure, pairs: Pairs, *, targets: bool) -> Line:
    """Summarise a figure of the turns; ``where`` is the server, and the line's name."""
    ratio = ratio_of([(figure.of(ours), figure.of(raw)) for ours, raw in pairs])
    ours, raw = (median(figure.of(pair[side]) for pair in pairs) for side in (0, 1))
    verdict = figure.target.verdict(ratio) if targets and figure.target else ""
    return Line(*where, figure.unit, ours, raw, ratio, verdict, *_errors_of(pairs))


def _errors_of(pairs: Pairs) -> tuple[int, str]:
    blocks = [block for pair in pairs for block in pair]
    first = next((block.first_error for block in blocks if block.errors), "")
    return sum(block.errors for block in blocks), first


def as_table(lines: Sequence[Line]) -> str:
    """Word the figures as an aligned table."""
    width = max(len(line.what) for line in lines)
    out = []
    server = ""
    for line in lines:
        if line.server != server:
            server = line.server
            out += ["", f"{server:<{width}}  {OURS:>9}  {RAW:>12}       ratio  95 % interval"]
            out += ["-" * (width + 55)]
        digits = 2 if line.unit == "ms" and line.raw < 10 else 0  # noqa: PLR2004 - of milliseconds
        ours, raw = (f"{figure:,.{digits}f}" for figure in (line.ours, line.raw))
        ratio = line.ratio
        out.append(
            f"{line.what:<{width}}  {ours:>9}  {raw:>12} {line.unit:<2}"
            f"  {ratio.median:>6.3f}  {ratio.low:.3f} - {ratio.high:.3f}  {line.verdict}".rstrip()
        )
        if line.errors and line.unit != CPU.unit:
            out.append(f"  {line.errors} calls were not answered, the first: {line.first_error}")
    return "\n".join(out)


def as_tree(lines: Sequence[Line], where: Mapping[str, str]) -> dict[str, object]:
    """Return the figures JSON-ready."""
    return {"surroundings": dict(where), "lines": [asdict(line) for line in lines]}
