"""What `trtexec` prints about speed, as values.

The lines are written by ``printEpilog`` in samples/common/sampleReporting.cpp and by
``genTestInfo`` in samples/common/logging.h of https://github.com/NVIDIA/TensorRT, the same from 8.4
to 11.1. Since 11.0 trtexec measures without copies to and from the GPU unless it is told
``--includeDataTransfers``.
"""

import re
from dataclasses import dataclass

_SUMMARY = "=== Performance summary ==="
_PREFIX = r"^(?:\[[^\]]*\] \[I\] )?"
_LINE = re.compile(
    _PREFIX + r"(Throughput|Latency|Enqueue Time|H2D Latency|GPU Compute Time|D2H Latency): (.*)$",
    re.MULTILINE,
)
_NUMBER = r"([0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)"
_QPS = re.compile(_NUMBER + r" qps\s*$")
_TIME = re.compile(r"(min|max|mean|median|percentile\([0-9.]+%\)) = " + _NUMBER + r" ms\b")
_BANNER = re.compile(r"\[TensorRT v([0-9]+)\](?: \[b([0-9]+)\])?")
_FAILED = re.compile(r"^&&&& FAILED ", re.MULTILINE)
_ERROR = re.compile(r"^(?:\[[^\]]*\] )?\[E\] (.*)$", re.MULTILINE)
_SIX_DIGITS = 100_000
_WARNING = re.compile(r"^(?:\[[^\]]*\] )?\[W\] \* (.*?)\s*$", re.MULTILINE)


class TrtexecOutputError(ValueError):
    """The text is not the output of a run that was measured."""


@dataclass(frozen=True)
class Times:
    """Milliseconds over all queries; a percentile is None where trtexec was not asked for it."""

    min_ms: float
    max_ms: float
    mean_ms: float
    median_ms: float
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True)
class TrtexecRun:
    """One measured run.

    Attributes:
        tensorrt_version: Such as "11.0.0.114", "8.4.0" where the build is not told, or empty where
            the banner is missing.
        throughput_qps: Queries per second; a query is a whole batch.
        latency: Copies in, computing, copies out.
        enqueue: Host time to start one query.
        h2d, compute, d2h: Parts of the latency.
        warnings: What trtexec itself says against its figures.
    """

    tensorrt_version: str
    throughput_qps: float
    latency: Times
    enqueue: Times
    h2d: Times
    compute: Times
    d2h: Times
    warnings: tuple[str, ...]


def parse_trtexec(text: str) -> TrtexecRun:
    """Read the whole output of trtexec, or any part with its last performance summary.

    Raises:
        TrtexecOutputError: trtexec failed, measured nothing, or prints in another form.
    """
    if _FAILED.search(text):
        raise TrtexecOutputError(f"trtexec failed{_first_error(text)}")
    _, summary, tail = text.rpartition(_SUMMARY)
    if not summary:
        raise TrtexecOutputError(f"there is no performance summary{_first_error(text)}")
    lines = dict(_LINE.findall(tail))
    throughput = _QPS.match(lines.get("Throughput", ""))
    if throughput is None:
        raise TrtexecOutputError("the performance summary has no throughput")
    return TrtexecRun(
        tensorrt_version=tensorrt_version(text),
        throughput_qps=float(throughput[1]),
        latency=_times(lines, "Latency"),
        enqueue=_times(lines, "Enqueue Time"),
        h2d=_times(lines, "H2D Latency"),
        compute=_times(lines, "GPU Compute Time"),
        d2h=_times(lines, "D2H Latency"),
        warnings=tuple(_WARNING.findall(tail)),
    )


def tensorrt_version(text: str) -> str:
    """Return the version in trtexec's banner, or an empty string.

    ``NV_TENSORRT_VERSION`` is major * 1000 + minor * 100 + patch up to TensorRT 8, and
    major * 10000 + minor * 100 + patch since 10 (include/NvInferRuntimeBase.h).
    """
    banner = _BANNER.search(text)
    if banner is None:
        return ""
    number = int(banner[1])
    major = 10_000 if number >= _SIX_DIGITS else 1_000
    parts = [str(number // major), str(number % major // 100), str(number % 100)]
    return ".".join(parts + ([banner[2]] if banner[2] else []))


def _times(lines: dict[str, str], name: str) -> Times:
    found = {key: float(value) for key, value in _TIME.findall(lines.get(name, ""))}
    missing = [key for key in ("min", "max", "mean", "median") if key not in found]
    if missing:
        raise TrtexecOutputError(f"the line '{name}' has no {', '.join(missing)}")
    return Times(
        min_ms=found["min"],
        max_ms=found["max"],
        mean_ms=found["mean"],
        median_ms=found["median"],
        p90_ms=found.get("percentile(90%)"),
        p95_ms=found.get("percentile(95%)"),
        p99_ms=found.get("percentile(99%)"),
    )


def _first_error(text: str) -> str:
    error = _ERROR.search(text)
    return f": {error[1].strip()}" if error else ""
