"""Plots of the release report, as SVG text to be put into the page."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clickclean_export.engine.record import EngineRecord
from clickclean_export.gates import GatedHop

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, GRID, GOOD, BAD, WARN, BLUE = (
    "#1f2933",
    "#d9dee4",
    "#1a7f4e",
    "#b42318",
    "#b25e09",
    "#1f5fbf",
)
_COLOURS = {"pass": GOOD, "fail": BAD, "inconclusive": WARN}


def accuracy_by_hop(hops: Sequence[GatedHop]) -> str:
    """Draw accuracy per hop with its 95 % lower bound and the threshold."""
    figure, axes = _figure(7.2, 0.55 * len(hops) + 1.1)
    low = 1.0
    for position, hop in enumerate(reversed(hops)):
        gate = next(gate for gate in hop.gates if gate.name == "accuracy")
        bound = gate.value if gate.bound is None else gate.bound
        low = min(low, bound, gate.threshold)
        axes.plot([bound, gate.value], [position, position], color=_COLOURS[gate.outcome], lw=3)
        axes.plot(gate.value, position, "o", color=_COLOURS[gate.outcome], ms=8)
        axes.annotate(
            f"{gate.value:.2%}",
            (gate.value, position),
            textcoords="offset points",
            xytext=(0, 8),
            ha="center",
            fontsize=9,
            color=INK,
        )
    threshold = hops[0].gates[1].threshold
    axes.axvline(threshold, color=BAD, lw=1.2, ls="--")
    axes.annotate(
        f"wanted {threshold:.0%}",
        (threshold, len(hops) - 0.55),
        textcoords="offset points",
        xytext=(5, 0),
        fontsize=9,
        color=BAD,
    )
    axes.set_yticks(range(len(hops)), [hop.result.hop for hop in reversed(hops)])
    axes.set_ylim(-0.6, len(hops) - 0.2)
    axes.set_xlim(max(0.0, low - 0.01), 1.005)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}" if value <= 1 else "")
    axes.set_xlabel("accuracy on the evaluation data; the bar reaches down to the 95 % lower bound")
    return _svg(figure)


def latency_distribution(latencies_ms: NDArray[np.float64], mean_target_ms: float) -> str:
    """Draw how many requests took how long (logarithmic), with the target and the percentiles."""
    figure, axes = _figure(7.2, 2.9)
    shown = np.maximum(latencies_ms, 1e-3)
    low = min(float(shown.min()), mean_target_ms) * 0.7
    high = max(float(shown.max()), mean_target_ms) * 1.6
    axes.hist(shown, bins=np.geomspace(low, high, 70).tolist(), color=BLUE, alpha=0.85)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    top = axes.get_ylim()[1]
    marks = [
        (float(latencies_ms.mean()), "mean", INK),
        (float(np.percentile(latencies_ms, 99)), "p99", WARN),
        (mean_target_ms, f"target (mean) {mean_target_ms:g} ms", BAD),
    ]
    for number, (value, name, colour) in enumerate(marks):
        axes.axvline(value, color=colour, lw=1.4, ls="--" if name[0] == "t" else "-")
        axes.annotate(
            name if name[0] == "t" else f"{name} {value:.1f} ms",
            (value, top * (0.97 - 0.13 * number)),
            textcoords="offset points",
            xytext=(-5 if name[0] == "t" else 5, -8),
            ha="right" if name[0] == "t" else "left",
            fontsize=9,
            color=colour,
        )
    axes.set_xlabel("latency from the intended start, ms (logarithmic)")
    axes.set_ylabel("requests")
    return _svg(figure)


def plan_speed(records: Sequence[EngineRecord]) -> str:
    """Draw the median latency of INT8, FP16 and FP32 plans, batch by batch and GPU by GPU."""
    bars = [
        (f"{record.gpu.name}, batch {speed.batch}", speed)
        for record in records
        for speed in record.speed
    ]
    figure, axes = _figure(7.2, 0.75 * len(bars) + 0.9)
    for position, (_, speed) in enumerate(reversed(bars)):
        forms = (("INT8", speed.int8_ms, GOOD), ("FP16", speed.fp16_ms, BLUE))
        for place, (name, ms, colour) in enumerate((*forms, ("FP32", speed.fp32_ms, INK))):
            if ms is None:
                continue
            height = position + 0.26 * (1 - place)
            axes.barh(height, ms, height=0.22, color=colour)
            axes.annotate(
                f"{name} {ms:.3f}",
                (ms, height),
                textcoords="offset points",
                xytext=(4, 0),
                va="center",
                fontsize=8,
                color=INK,
            )
    axes.set_yticks(range(len(bars)), [name for name, _ in reversed(bars)])
    axes.margins(x=0.18)
    axes.set_xlabel("median of a call through the plan, ms, copies to and from the GPU included")
    return _svg(figure)


def is_image(array: NDArray[Any]) -> bool:
    """Tell whether ``[row, channel, height, width]`` can be drawn: 1 or 3 channels."""
    return array.ndim == 4 and array.shape[1] in {1, 3} and min(array.shape[2:]) > 1  # noqa: PLR2004


def image(pixels: NDArray[Any]) -> str:
    """Draw one ``[channel, height, width]`` of any range as a small SVG."""
    figure, axes = _figure(1.1, 1.1)
    values = np.moveaxis(pixels.astype(np.float64), 0, -1)
    span = values.max() - values.min()
    values = (values - values.min()) / (span or 1.0)
    axes.imshow(values.squeeze(), cmap="gray_r", interpolation="nearest")
    axes.set_axis_off()
    return _svg(figure)


def _figure(width: float, height: float) -> tuple["Figure", Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GRID)
    axes.tick_params(colors=INK, labelsize=9, length=0)
    axes.grid(axis="x", color=GRID, lw=0.7)
    axes.set_axisbelow(True)
    return figure, axes


def _svg(figure: "Figure") -> str:
    import matplotlib as mpl

    stream = io.StringIO()
    # Text stays text (searchable, and the page's own font); a fixed salt makes ids repeatable.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "clickclean"}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]
