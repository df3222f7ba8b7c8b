"""What the verbs of `clickclean engine` say to people."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clickclean_export.engine.build import Built
    from clickclean_export.engine.explain import Explanation
    from clickclean_export.engine.preflight import Mismatch, Target
    from clickclean_export.engine.proof import EngineCheck
    from clickclean_export.engine.record import EngineRecord
    from clickclean_export.findings import Finding


def check_text(name: str, checked: "EngineCheck") -> str:
    """Word a check that passed, and what it is worth."""
    from clickclean_export.engine.proof import PROVES, PROVES_NOT

    size = f"{checked.plan_bytes / 2**20:.2f} MiB"
    lines = [
        f"{name}: TensorRT-RTX {checked.library_version} takes it",
        f"layers {checked.layers}, plan {size}, compiled in {checked.compile_s:.2f} s",
    ]
    lines += [f"warning: {warning}" for warning in checked.warnings]
    lines += [f"not checked, since TensorRT-RTX lacks it: {one}" for one in checked.not_checked]
    lines += ["proves:", *(f"  {line}" for line in PROVES)]
    lines += ["does not prove:", *(f"  {line}" for line in PROVES_NOT)]
    return "\n".join(lines)


def findings_text(findings: Sequence["Finding"]) -> str:
    """List findings, each with what to do."""
    return "\n".join(
        f"{finding.where or 'the file'}  [{finding.code}]\n"
        f"  {finding.problem}\n  do: {finding.remedy}"
        for finding in findings
    )


def record_tree(record: "EngineRecord") -> dict[str, Any]:
    """Return a registered plan JSON-ready."""
    from clickclean_export.engine.record import record_json

    return {
        "model": record.model,
        "version": record.version,
        "path": record.path_in_version,
        "record": json.loads(record_json(record)),
    }


def record_text(built: "Built") -> str:
    """Word a registered plan with its figures."""
    record = built.record
    gpu, size = record.gpu, f"{record.plan.size_bytes / 2**20:.2f} MiB"
    how = ", nothing was compiled now" if built.from_cache else ""
    lines = [
        f"{record.model} version {record.version}: {built.path}",
        f"for {gpu.name} ({gpu.compute_capability}), TensorRT {record.inputs.library_version}",
        f"plan {size}, compiled in {record.build_seconds:.1f} s{how}",
    ]
    for hop in record.hops:
        result = hop.result
        lines.append(
            f"{result.hop}  {hop.outcome}  accuracy {result.accuracy:.2%}"
            f"  agreement with float {result.agreement:.2%}  of {result.samples} rows"
        )
    lines += [speed.sentence for speed in record.speed]
    lines += [f"warning: {warning}" for warning in record.warnings]
    lines += [f"not done: {sentence}" for sentence in record.not_done]
    return "\n".join(lines)


def mismatches_text(model: str, target: "Target", mismatches: Sequence["Mismatch"]) -> str:
    """Word what a preflight found for one model on one GPU type."""
    where = (
        f"{model} on {target.gpu.name} ({target.gpu.compute_capability}),"
        f" TensorRT {target.tensorrt_version}"
    )
    if not mismatches:
        return f"{where}: fits"
    lines = [f"{where}: does not fit"]
    for mismatch in mismatches:
        lines += [f"  {mismatch.sentence}  [{mismatch.code}]", f"    do: {mismatch.hint}"]
    return "\n".join(lines)


def explanations_text(explanations: Sequence["Explanation"]) -> str:
    """Word what is known of a log."""
    blocks = []
    for one in explanations:
        times = f", {one.times} times" if one.times > 1 else ""
        blocks.append(
            f"line {one.line}{times}: {one.text}\n"
            f"  cause: {one.cause}\n  do: {one.remedy}\n  source: {one.source}"
        )
    return "\n\n".join(blocks)
