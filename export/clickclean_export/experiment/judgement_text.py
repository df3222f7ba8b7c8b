"""A judgement as JSON and as lines for a terminal."""

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from clickclean_export.experiment.guardrails import Guardrail
from clickclean_export.experiment.sample_ratio import SampleRatio
from clickclean_export.experiment.shadow import Latency, ShadowSummary

if TYPE_CHECKING:
    from clickclean_export.experiment.judgement import ArmCounts, Judgement


def judgement_as_tree(judgement: "Judgement") -> dict[str, Any]:
    """Return JSON-ready values; infinite and unknown numbers are null."""
    from clickclean_export.experiment.judgement import moment

    ratio, difference = judgement.sample_ratio, judgement.difference
    tree = {
        "experiment": judgement.plan.experiment,
        "model": judgement.plan.model,
        "decision": judgement.decision,
        "sentence": judgement.sentence,
        "plan": asdict(judgement.plan),
        "split": [
            {"time": change.time.isoformat(), "percent": change.percent}
            for change in judgement.changes
        ],
        "champion": asdict(judgement.champion),
        "challenger": asdict(judgement.challenger),
        "difference": {
            "estimate": difference.estimate,
            "low": difference.low,
            "high": difference.high,
            "always_valid_p": difference.p_value,
            "found": None
            if difference.first_us is None
            else moment(difference.first_us).isoformat(),
        },
        "sample_ratio": {
            "epochs": [
                {**asdict(epoch), "observed_percent": epoch.observed_percent}
                for epoch in ratio.epochs
            ],
            "chi_square": ratio.chi_square,
            "chi_square_p": ratio.chi_square_p,
            "always_valid_p": ratio.p_value,
            "alarm": ratio.alarm,
        },
        "guardrails": {
            guardrail.name: {
                "limit": guardrail.limit,
                "champion": guardrail.champion,
                "challenger": guardrail.challenger,
                "at_least": guardrail.at_least,
                "always_valid_p": guardrail.p_value,
                "breached": guardrail.breached,
                "breached_at": None
                if guardrail.breached_us is None
                else moment(guardrail.breached_us).isoformat(),
                "calls": guardrail.calls,
            }
            for guardrail in judgement.guardrails
        },
        "shadow": asdict(judgement.shadow),
        "notes": list(judgement.notes),
    }
    finite: dict[str, Any] = _finite(tree)
    return finite


def judgement_as_text(judgement: "Judgement") -> str:
    """Return lines for people, without a trailing newline."""
    plan = judgement.plan
    champion, challenger = judgement.champion, judgement.challenger
    rows = [
        ("", f"champion {champion.version}", f"challenger {challenger.version}"),
        ("keys", f"{champion.units}", f"{challenger.units}"),
        ("keys with outcome", f"{champion.units_with_outcome}", f"{challenger.units_with_outcome}"),
        ("calls", f"{champion.exposures}", f"{challenger.exposures}"),
        ("errors", _errors(champion), _errors(challenger)),
        ("fallbacks", f"{champion.fallbacks}", f"{challenger.fallbacks}"),
        ("latency p50/p95/p99", _latency(champion.latency), _latency(challenger.latency)),
        (f"mean {plan.metric}", _number(champion.mean), _number(challenger.mean)),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        f"{plan.experiment}: {judgement.decision}",
        judgement.sentence,
        "",
        *(
            f"{name:<{widths[0]}}  {ours:>{widths[1]}}  {theirs:>{widths[2]}}".rstrip()
            for name, ours, theirs in rows
        ),
        "",
        f"difference    {_difference(judgement)}",
        f"sample ratio  {_ratio(judgement.sample_ratio)}",
        *(f"{guardrail.name:<12}  {_guardrail(guardrail)}" for guardrail in judgement.guardrails),
    ]
    if judgement.shadow.mirrored:
        lines.append(f"shadow        {_shadow(judgement.shadow)}")
    lines.extend(f"note: {note}" for note in judgement.notes)
    return "\n".join(lines)


def _difference(judgement: "Judgement") -> str:
    difference, plan = judgement.difference, judgement.plan
    if not math.isfinite(difference.low):
        return "too early to say"
    return (
        f"{difference.estimate:+.4g}  [{difference.low:+.4g}, {difference.high:+.4g}]  "
        f"always-valid p {difference.p_value:.2g} (decides at {plan.alpha:g})"
    )


def _ratio(ratio: SampleRatio) -> str:
    parts = [
        f"{epoch.observed_percent:.2f} % of {epoch.champion + epoch.challenger} keys "
        f"(wanted {epoch.percent:g} %)"
        for epoch in ratio.epochs
        if epoch.champion + epoch.challenger
    ]
    state = "ALARM" if ratio.alarm else "as wanted"
    return (
        f"{', '.join(parts) or 'no keys'}; chi-square p {ratio.chi_square_p:.2g}, always-valid p "
        f"{ratio.p_value:.2g}: {state}"
    )


def _guardrail(guardrail: Guardrail) -> str:
    state = "BREACHED" if guardrail.breached else "kept"
    tail = f"always-valid p {guardrail.p_value:.2g}: {state}"
    if guardrail.name == "errors":
        return (
            f"{_points(guardrail.challenger)} against {_points(guardrail.champion)}, limit "
            f"+{guardrail.limit * 100:g} points; {tail}"
        )
    surely = f", surely {guardrail.at_least:.2f} times or more" if guardrail.at_least else ""
    return (
        f"median {_number(guardrail.challenger)} ms against {_number(guardrail.champion)} ms"
        f"{surely}, limit {guardrail.limit:g} times; {tail}"
    )


def _shadow(shadow: ShadowSummary) -> str:
    agreement = "-" if math.isnan(shadow.agreement) else f"{shadow.agreement:.2%}"
    return (
        f"{shadow.mirrored} calls mirrored, {shadow.errors} failed, {agreement} agree, largest "
        f"difference {_number(shadow.max_difference)}; p50/p95/p99 champion "
        f"{_latency(shadow.champion)}, challenger {_latency(shadow.challenger)}"
    )


def _errors(arm: "ArmCounts") -> str:
    return f"{arm.errors} ({arm.errors / arm.exposures:.2%})" if arm.exposures else "0"


def _latency(latency: Latency) -> str:
    if math.isnan(latency.p50_ms):
        return "-"
    return f"{latency.p50_ms:.1f}/{latency.p95_ms:.1f}/{latency.p99_ms:.1f} ms"


def _points(rate: float) -> str:
    return "-" if math.isnan(rate) else f"{rate:.2%}"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4g}"


def _finite(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _finite(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_finite(value) for value in tree]
    if isinstance(tree, float) and not math.isfinite(tree):
        return None
    return tree
