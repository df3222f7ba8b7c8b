"""INT8 against float in the CPU engine, in turn, so that a drifting machine cancels out."""

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np

from clickclean_export.dataset import Feed
from clickclean_export.manifest import Speed
from clickclean_export.runners import OpenVinoRunner, Runner

_ROUNDS = 9
_SECONDS_PER_ROUND = 0.05


def compare_speed(float_model: Path, int8_model: Path, feed: Feed, *, threads: int) -> Speed:
    """Time one batch through both models, alternating.

    Args:
        float_model: Float ONNX, run with INFERENCE_PRECISION_HINT=f32.
        int8_model: INT8 Q/DQ ONNX.
        feed: One real batch.
        threads: CPU threads for each.
    """
    runners = [OpenVinoRunner(path, threads=threads) for path in (float_model, int8_model)]
    rounds = time_in_turn(runners, feed)
    return Speed(
        batch=len(next(iter(feed.values()))),
        float_ms=median(pair[0] for pair in rounds) * 1e3,
        int8_ms=median(pair[1] for pair in rounds) * 1e3,
        ratio=float(np.median([pair[0] / pair[1] for pair in rounds])),
    )


def time_in_turn(runners: Sequence[Runner], feed: Feed) -> list[list[float]]:
    """Time one batch through several forms of a model, one after the other, round by round.

    Returns:
        For every round the seconds of a call, in the order of ``runners``.
    """
    calls = [_calls_per_round(runner, feed) for runner in runners]
    return [
        [
            _seconds(runner, feed, count) / count
            for runner, count in zip(runners, calls, strict=True)
        ]
        for _ in range(_ROUNDS)
    ]


def _calls_per_round(runner: Runner, feed: Feed) -> int:
    runner.infer(feed)
    once = min(_seconds(runner, feed, 1) for _ in range(3))
    return max(1, round(_SECONDS_PER_ROUND / once))


def _seconds(runner: Runner, feed: Feed, count: int) -> float:
    started = time.perf_counter()
    for _ in range(count):
        runner.infer(feed)
    return time.perf_counter() - started
