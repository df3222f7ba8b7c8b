"""All rules, and their table for the documentation."""

from typing import Final

from clickclean_export.repository_lint import (
    batching,
    ensemble,
    layout,
    onnx_rules,
    placement,
    python_model,
    syntax,
    tensors,
    warmup,
)
from clickclean_export.repository_lint.finding import Rule

GROUPS: Final[dict[str, tuple[Rule, ...]]] = {
    "The config's text": syntax.RULES,
    "Folders and files": layout.RULES,
    "Backend, devices, versions": placement.RULES,
    "Inputs and outputs": tensors.RULES,
    "Against the ONNX file": onnx_rules.RULES,
    "Batching, queues, the answer time": batching.RULES,
    "Warm-up": warmup.RULES,
    "Ensembles": ensemble.RULES,
    "Python models": python_model.RULES,
}
RULES: Final[tuple[Rule, ...]] = tuple(rule for group in GROUPS.values() for rule in group)


def as_markdown() -> str:
    """Return one table for each group of rules."""
    parts = []
    for title, rules in GROUPS.items():
        rows = [
            f"| `{rule.code}` | {rule.severity} | {_cell(rule.cause)} | {_cell(rule.remedy)}"
            f" | [{_short(rule.source)}]({rule.source}) |"
            for rule in rules
        ]
        head = "| code | | cause | what to do | source |\n|---|---|---|---|---|"
        parts.append("\n".join([f"### {title}", "", head, *rows]))
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("__", r"\_\_")


def _short(source: str) -> str:
    parts = source.removeprefix("https://github.com/").partition("#")[0].split("/")
    if len(parts) > 3 and parts[2] in {"issues", "pull"}:  # noqa: PLR2004
        return f"{parts[1]}#{parts[3]}"
    return parts[-1]
