"""The results of a verification: assembled from what the steps left, written for people too."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from trtexec_output import TrtexecRun

FORMAT = 1
Status = Literal["passed", "failed", "timed out", "skipped"]
# Exit codes of clickclean that say more than "it failed".
_OWN_CODES = {2, 3, 4, 10, 11, 12}
_WHOLE = 1000  # from here on, digits after the point say nothing
_LATENCIES = ("mean_ms", "p50_ms", "p90_ms", "p95_ms", "p99_ms", "max_ms")


@dataclass(frozen=True)
class Outcome:
    """What became of one step.

    Attributes:
        name: Of the step.
        command: Its words; the same line can be typed again.
        status: What became of it.
        code: Exit code; None where it did not end by itself or was never started.
        seconds: How long it ran.
        note: Why it counts as failed or was skipped, in words.
    """

    name: str
    command: tuple[str, ...]
    status: Status
    code: int | None = None
    seconds: float = 0.0
    note: str = ""


@dataclass(frozen=True)
class Measured:
    """One run of trtexec on the plan: a query is a batch of ``batch`` rows."""

    batch: int
    run: TrtexecRun


def assemble(
    *,
    facts: Mapping[str, Mapping[str, str]],
    outcomes: Sequence[Outcome],
    build: Mapping[str, Any] | None,
    loadtest: Mapping[str, Any] | None,
    trtexec: Sequence[Measured],
) -> dict[str, Any]:
    """Return everything that is known, as a tree for results.json.

    Args:
        facts: "device", "image", "versions": texts by name.
        outcomes: In the order of the steps.
        build: What ``clickclean engine build --json`` said, or None.
        loadtest: The file of ``clickclean loadtest --result``, or None.
        trtexec: Runs by batch.
    """
    return {
        "format": FORMAT,
        "complete": exit_code(outcomes) == 0,
        "exit_code": exit_code(outcomes),
        **{name: dict(values) for name, values in facts.items()},
        "steps": [
            {**asdict(outcome), "command": shlex.join(outcome.command)} for outcome in outcomes
        ],
        "engine": None if build is None else dict(build),
        "loadtest": None if loadtest is None else _without_samples(loadtest),
        "trtexec": [asdict(measured) for measured in trtexec],
    }


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """Return 0 when all steps passed, else the first bad one's code where it has a meaning."""
    for outcome in outcomes:
        own = outcome.command[:1] == ("clickclean",)
        if own and outcome.status == "failed" and outcome.code in _OWN_CODES:
            return outcome.code
        if outcome.status != "passed":
            return 1
    return 0 if outcomes else 1


def page(results: Mapping[str, Any]) -> str:
    """Return results.md."""
    parts = [
        "# Verification on a GPU",
        "Every step passed." if results["complete"] else "**Not complete: see the steps.**",
        *(_facts(name, results[name]) for name in ("device", "image", "versions")),
        _steps(results["steps"]),
    ]
    record = (results["engine"] or {}).get("record")
    if record:
        parts += [_speed(record["speed"]), _gates(record["hops"]), _left_out(record)]
    if results["loadtest"]:
        parts.append(_served(results["loadtest"]))
    if results["trtexec"]:
        parts.append(_trtexec(results["trtexec"]))
    return "\n\n".join(part for part in parts if part) + "\n"


def _without_samples(result: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in result.items() if not name.startswith("sample_")}


def _facts(name: str, values: Mapping[str, str]) -> str:
    rows = [(key, value or "not known") for key, value in values.items()]
    return f"## {name.capitalize()}\n\n" + _table(("what", "value"), rows)


def _steps(steps: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            step["name"],
            step["status"],
            "" if step["code"] is None else str(step["code"]),
            f"{step['seconds']:.1f}",
            step["note"],
        )
        for step in steps
    ]
    lines = "\n".join(step["command"] for step in steps)
    return (
        "## Steps\n\n"
        + _table(("step", "outcome", "exit code", "seconds", "note"), rows)
        + f"\n\nTheir commands, in order:\n\n```text\n{lines}\n```"
    )


def _speed(speed: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            str(line["batch"]),
            *(_number(line[key]) for key in ("int8_ms", "fp16_ms", "fp32_ms")),
            *(_times(line[key], line["int8_ms"]) for key in ("fp16_ms", "fp32_ms")),
        )
        for line in speed
    ]
    head = ("batch", "INT8 ms", "FP16 ms", "FP32 ms", "FP16 : INT8", "FP32 : INT8")
    return (
        "## INT8 : FP16 : FP32\n\nMedian of one batch through plans of this GPU, copies to and"
        " from it included.\n\n" + _table(head, rows)
    )


def _gates(hops: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for hop in hops:
        result = hop["result"]
        rows.append(
            (
                result["hop"],
                f"{result['right']} of {result['samples']}",
                f"{result['agreeing']} of {result['samples']}",
                ", ".join(f"{gate['name']}: {gate['outcome']}" for gate in hop["gates"]),
            )
        )
    return "## Accuracy\n\n" + _table(("hop", "right", "as the float model", "gates"), rows)


def _left_out(record: Mapping[str, Any]) -> str:
    lines = [f"- not done: {text}" for text in record["not_done"]]
    lines += [f"- the builder said: {text}" for text in record["warnings"]]
    lines.append(f"- compiled in {record['build_seconds']:.1f} s")
    return "\n".join(lines)


def _served(result: Mapping[str, Any]) -> str:
    rows = [
        ("verdict", result["verdict"]),
        ("requests", str(result["requests"])),
        ("error rate", f"{result['error_rate']:.2%}"),
        ("requests/s, asked", _number(result["rate"])),
        ("requests/s, sent", _number(result["achieved_rate"])),
        *((name.replace("_ms", ", ms"), _number(result["latency"][name])) for name in _LATENCIES),
    ]
    reasons = "\n".join(f"- {reason}" for reason in result["reasons"])
    return f"## Served by Triton\n\n{_table(('what', 'value'), rows)}\n\n{reasons}"


def _trtexec(runs: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    warnings = []
    for measured in runs:
        run, batch = measured["run"], measured["batch"]
        latency = run["latency"]
        rows.append(
            (
                str(batch),
                _number(run["throughput_qps"] * batch),
                *(_number(latency[key]) for key in ("mean_ms", "p90_ms", "p95_ms", "p99_ms")),
                *(_number(run[part]["mean_ms"]) for part in ("h2d", "compute", "d2h")),
            )
        )
        warnings += [f"- batch {batch}: {text}" for text in run["warnings"]]
    head = ("batch", "rows/s", "mean ms", "p90", "p95", "p99", "copy in", "compute", "copy out")
    table = _table(head, rows)
    return "\n\n".join(
        ["## The same plan in trtexec", table, *(["\n".join(warnings)] * bool(warnings))]
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= _WHOLE else f"{value:.4g}"


def _times(slower: float | None, faster: float) -> str:
    return "-" if slower is None or not faster else f"{slower / faster:.2f} x"
