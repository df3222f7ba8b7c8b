"""The difference with its interval over time, and how near each alarm is."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clickclean_export.experiment.errors import PlotError
from clickclean_export.report_plots import BAD, BLUE, GRID, INK, WARN

if TYPE_CHECKING:
    from clickclean_export.experiment.judgement import Judgement

FORMATS = (".png", ".svg")
_ZOOM = 6.0  # the first, very wide intervals would flatten the rest
_CHALLENGER_VIOLET = "#6b4fbb"


def plot_judgement(judgement: "Judgement", path: Path) -> None:
    """Draw a judgement; the file's suffix, ``.png`` or ``.svg``, is the format.

    Raises:
        PlotError: another suffix, or the file cannot be written.
    """
    if path.suffix.lower() not in FORMATS:
        raise PlotError(path, "has no known format", hint=f"end its name in {' or '.join(FORMATS)}")
    import matplotlib as mpl
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 5.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(5, 3))
    for axes in (above, below):
        _style(axes)
    plan = judgement.plan
    figure.suptitle(
        f"{plan.experiment}: {judgement.decision}", fontsize=11, color=INK, x=0.01, ha="left"
    )
    _draw_difference(above, judgement)
    _draw_alarms(below, judgement)
    _mark_changes((above, below), judgement)
    _time_axis(below, judgement)
    try:
        # Text stays text, and a fixed salt makes ids repeatable.
        with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "clickclean"}):
            metadata = {"Date": None} if path.suffix.lower() == ".svg" else None
            figure.savefig(path, dpi=150, facecolor="white", metadata=metadata)
    except OSError as error:
        raise PlotError(path, f"cannot be written ({error.strerror})") from error


def _draw_difference(axes: Any, judgement: "Judgement") -> None:
    plan, course = judgement.plan, judgement.course
    axes.axhline(0, color=INK, lw=1.2)
    axes.set_ylabel(f"mean {plan.metric},\nchallenger − champion", color=INK, fontsize=9)
    known = np.isfinite(course.low)
    if not known.any():
        axes.set_ylim(-1, 1)
        axes.annotate(
            "too early: no interval yet",
            (0.5, 0.5),
            xycoords="axes fraction",
            ha="center",
            va="bottom",
            fontsize=10,
            color=INK,
        )
        return
    time = _times(course.time_us[known])
    low, middle, high = course.low[known], course.difference[known], course.high[known]
    axes.fill_between(
        time,
        low,
        high,
        color=BLUE,
        alpha=0.22,
        lw=0,
        label=f"{1 - plan.alpha:.0%} interval, valid at every look",
    )
    axes.plot(time, low, color=BLUE, lw=0.8)
    axes.plot(time, high, color=BLUE, lw=0.8)
    axes.plot(time, middle, color=BLUE, lw=1.8, label="difference")
    reach = _ZOOM * float(high[-1] - low[-1]) / 2
    centre = float(middle[-1])
    axes.set_ylim(
        max(float(low.min()), min(centre - reach, 0.0)),
        min(float(high.max()), max(centre + reach, 0.0)),
    )
    better = "above" if plan.better == "higher" else "below"
    axes.annotate(
        f"{better} 0 the challenger is better",
        (1, 0),
        xycoords="axes fraction",
        textcoords="offset points",
        xytext=(-4, 6),
        ha="right",
        fontsize=8,
        color=INK,
    )
    difference = judgement.difference
    if difference.first_us is not None:
        axes.axvline(_times(np.array([difference.first_us]))[0], color=INK, lw=1.2, ls=":")
        axes.annotate(
            "0 excluded",
            (_times(np.array([difference.first_us]))[0], 0),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            xytext=(4, 6),
            fontsize=8,
            color=INK,
        )
    _legend(axes)


def _draw_alarms(axes: Any, judgement: "Judgement") -> None:
    """Draw the logarithm of each evidence as a part of what rings its alarm."""
    ratio = judgement.sample_ratio
    lines = [
        (f"sample ratio (alpha {ratio.alpha:g})", judgement.unit_times_us, ratio.log_evidence,
         ratio.alpha, _CHALLENGER_VIOLET, "-"),
    ]  # fmt: skip
    for guardrail, colour, dash in zip(
        judgement.guardrails, (BAD, WARN), ("--", "-."), strict=True
    ):
        sign = "+" if guardrail.name == "errors" else ""
        limit = f"{sign}{guardrail.limit * 100:g} points" if sign else f"{guardrail.limit:g} times"
        lines.append(
            (f"{guardrail.name} (limit {limit})", guardrail.time_us, guardrail.log_evidence,
             guardrail.alpha, colour, dash)
        )  # fmt: skip
    top = 1.0
    for label, time_us, evidence, alpha, colour, dash in lines:
        part = np.maximum(evidence, 0.0) / -np.log(alpha)
        shown = _some(len(part), part)
        axes.plot(_times(time_us[shown]), part[shown], color=colour, ls=dash, lw=1.5, label=label)
        top = max(top, min(float(part.max(initial=0.0)), 2.0))
    axes.axhline(1, color=INK, lw=1.2)
    axes.annotate(
        "alarm",
        (1, 1),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        xytext=(-4, 3),
        ha="right",
        fontsize=8,
        color=INK,
    )
    axes.set_ylim(-0.04, top * 1.18)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_ylabel("evidence,\n% of an alarm's", color=INK, fontsize=9)
    _legend(axes)


def _mark_changes(panels: tuple[Any, ...], judgement: "Judgement") -> None:
    for number, change in enumerate(judgement.changes):
        time = _times(np.array([change.time_us]))[0]
        if number:
            for axes in panels:
                axes.axvline(time, color="#8a94a0", lw=1.0, ls=(0, (1, 2)))
        panels[0].annotate(
            f"{change.percent:g} %",
            (time, 1),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            xytext=(4, -10),
            fontsize=8,
            color=INK,
        )


def _time_axis(axes: Any, judgement: "Judgement") -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    start, last = judgement.changes[0].time_us, judgement.changes[-1].time_us
    stamps = [judgement.unit_times_us, judgement.course.time_us]
    stamps.extend(guardrail.time_us for guardrail in judgement.guardrails)
    end = max((int(stamp[-1]) for stamp in stamps if len(stamp)), default=start)
    end = max(end, last)
    begin, finish = _times(np.array([start, max(end, start + 1_000_000)]))
    axes.set_xlim(begin, begin + (finish - begin) * 1.02)
    locator = AutoDateLocator(minticks=3, maxticks=8)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.set_xlabel("time (UTC)", color=INK, fontsize=9)


def _times(time_us: NDArray[np.int64]) -> NDArray[np.datetime64]:
    times: NDArray[np.datetime64] = time_us.astype("datetime64[us]")
    return times


def _some(length: int, part: NDArray[np.float64]) -> NDArray[np.int64]:
    """Choose up to some hundred rows, the peak among them."""
    if not length:
        return np.empty(0, np.int64)
    spread = np.linspace(0, length - 1, min(length, 600)).astype(np.int64)
    rows: NDArray[np.int64] = np.unique(np.append(spread, int(part.argmax())))
    return rows


def _legend(axes: Any) -> None:
    """Put the legend above the panel, where no line can run through it."""
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        borderaxespad=0.1,
        ncols=3,
        fontsize=8,
        frameon=False,
        labelcolor=INK,
    )


def _style(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GRID)
    axes.tick_params(colors=INK, labelsize=9, length=0)
    axes.grid(axis="y", color=GRID, lw=0.7)
    axes.set_axisbelow(True)
