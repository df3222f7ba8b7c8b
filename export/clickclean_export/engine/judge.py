"""What a builder said, judged: findings that refuse, and warnings that are worth keeping.

The bindings report much misuse in their log alone and go on: an unsigned Q/DQ is compiled as
another model, an unsupported option is dropped. So the log is read. While a file is parsed and
options are set, a warning that means "ignored" counts as an error. While kernels are chosen, words
like "skipping" are the builder's daily work, and only a build without a plan has failed.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clickclean_export.findings import Finding

# No driver here: said by every failing call of TensorRT-RTX on a machine without a GPU.
_NO_DRIVER = re.compile(r"\[checkMacros\.cpp::catchCudaError::\d+\].*?\(cudaError 35: [^)]*\)\)")
# What was asked was not done.
_IGNORED = re.compile(
    r"\b(ignor(ed|ing|es)|unsupported|has no effect|defaulting to|will use \w+ instead"
    r"|overrid(es|den|ing))\b",
    re.I,
)
# Says such a word and means no harm: a hint about the process, not about the plan.
_HARMLESS = re.compile(r"lazy loading", re.I)
# A kernel that did not fit into memory; another one was taken.
_SKIPPED = re.compile(r"skipping tactic|insufficient memory|out ?of ?memory", re.I)
# What the parser repeats of an error that it also returns.
_ECHO = re.compile(r"^(ModelImporter\.cpp|\(deserializeOnnxModel\)|WeightsContext\.cpp)")
_WORDS_MAX = 300


@dataclass(frozen=True)
class _Known:
    pattern: re.Pattern[str]
    code: str
    problem: str
    remedy: str


_SYMMETRIC = "quantise with symmetric INT8 Q/DQ (zero point 0, int8), as clickclean publish does it"
_REWRITE = "replace the operator in the module, or leave it out of the exported part"
_KNOWN = (
    _Known(
        re.compile(r"shiftIsAllZeros"),
        "asymmetric-qdq",
        "its zero point is not 0",
        _SYMMETRIC,
    ),
    _Known(
        re.compile(r"input has type Int32 but must have type FP8"),
        "int32-bias",
        "it dequantises INT32; TensorRT keeps biases in float",
        "leave the bias in float32 (ModelOpt does; ONNX Runtime's quantiser does not)",
    ),
    _Known(
        re.compile(r"UINT8 zero_point|will use INT8 instead"),
        "unsigned-qdq",
        "its zero point is unsigned; the builder would take it for INT8, another model",
        _SYMMETRIC,
    ),
    _Known(
        re.compile(r"Plugin not found"),
        "unknown-operator",
        "TensorRT has no such operator, and no plugin of that name is loaded",
        _REWRITE,
    ),
    _Known(
        re.compile(r"must have same input types|same type"),
        "mixed-types",
        "its inputs have different types, and a strongly typed network casts nothing by itself",
        "add a Cast before it, or keep the float16 parts together (ModelOpt AutoCast does)",
    ),
    _Known(
        re.compile(r"no optimization profile has been defined"),
        "no-profile",
        "an axis is free and no profile says its sizes",
        "give every free axis a range: [axes.NAME] in the recipe, --axis NAME=MIN:OPT:MAX here",
    ),
    _Known(
        re.compile(r"no tactics to implement the operation within workspace limit|OutOfMemory"),
        "workspace-too-small",
        "the memory that the builder may use leaves no way to compute it",
        "raise engine.workspace_mib in the recipe, or make serving.max_batch smaller",
    ),
    _Known(
        re.compile(r"Profile k(MIN|OPT|MAX) values are not self-consistent"),
        "profile-inconsistent",
        "a profile has shapes that the network cannot take or no memory can hold",
        "narrow the ranges of the free axes",
    ),
    _Known(
        re.compile(r"libnvinfer_lean"),
        "no-lean-runtime",
        "a version-compatible plan contains the lean runtime, and its library is not here",
        "install TensorRT's lean runtime, or set engine.version_compatible = false",
    ),
)
# What the worker finds itself, by its code.
_OWN = {
    "shape-input": (
        "is used as a shape; plans here take data only",
        "compute the shape inside the module, from the shape of another input",
    ),
    "option-ignored": (
        "the builder does not take this option",
        "leave it out of [engine] in the recipe, or build with a library that has it",
    ),
    "profile-inconsistent": (
        "the builder does not take its shapes",
        "1 <= min <= opt <= max is needed on every axis, and sizes that a GPU can hold",
    ),
}
_UNSUPPORTED = {
    "UNSUPPORTED_NODE",
    "UNSUPPORTED_NODE_ATTR",
    "UNSUPPORTED_NODE_DATATYPE",
    "UNSUPPORTED_NODE_DYNAMIC",
    "UNSUPPORTED_NODE_INPUT",
    "UNSUPPORTED_NODE_SHAPE",
}


@dataclass(frozen=True)
class Judgement:
    """What a builder's words come to.

    Attributes:
        findings: Why there is no plan, or why it must not be used; empty when it may.
        warnings: What else was said, each once.
    """

    findings: tuple[Finding, ...]
    warnings: tuple[str, ...]


def judge_build(outcome: Mapping[str, Any]) -> Judgement:
    """Judge the outcome of ``worker.probe_or_compile``."""
    findings = [_error_finding(error) for error in outcome["errors"]]
    complete = bool(outcome["complete"])
    warnings: list[str] = []
    for stage, severity, text in _lines(outcome["log"]):
        if severity == "WARNING":
            refuses = _substitutes(text) if stage != "build" else _inconsistent(text)
        else:
            # Errors of the parser come twice: as values with a node, and here.
            refuses = not outcome["errors"] and not (complete and _SKIPPED.search(text))
        if refuses:
            findings.append(_log_finding(text))
        elif severity == "WARNING" or complete:
            warnings.append(text)
    if not complete and not findings:
        findings.append(
            Finding(
                "no-plan",
                "",
                f"the builder gave up at step '{outcome['stage']}' without a word",
                "run trtexec --onnx=FILE --verbose and read its log",
            )
        )
    return Judgement(tuple(_unique(findings)), tuple(dict.fromkeys(warnings)))


def _substitutes(text: str) -> bool:
    return bool(_IGNORED.search(text) and not _HARMLESS.search(text)) or _inconsistent(text)


def _inconsistent(text: str) -> bool:
    return any(k.code == "profile-inconsistent" and k.pattern.search(text) for k in _KNOWN)


def _error_finding(error: Mapping[str, str]) -> Finding:
    if error["code"] in _OWN:
        problem, remedy = _OWN[error["code"]]
        return Finding(error["code"], error["node"], problem, remedy)
    text = _clean(error["text"])
    where = error["node"] or (f"operator {error['operator']}" if error["operator"] else "")
    known = _known_finding(text, where)
    if known is not None:
        return known
    operator = error["operator"]
    if error["code"] in _UNSUPPORTED and operator:
        return Finding(
            "unsupported-operator", where, f"TensorRT does not support {operator} here", _REWRITE
        )
    return Finding("parser-error", where, f"the parser says: {text}", "mend the ONNX file there")


def _known_finding(text: str, where: str) -> Finding | None:
    for known in _KNOWN:
        if known.pattern.search(text):
            return Finding(known.code, where, known.problem, known.remedy)
    return None


def _log_finding(text: str) -> Finding:
    return _known_finding(text, "") or Finding(
        "builder-error",
        "",
        f"the builder says: {text}",
        "look it up with clickclean engine explain, or in TensorRT's documentation",
    )


def _lines(log: Sequence[Sequence[str]]) -> Iterator[tuple[str, str, str]]:
    for stage, severity, text in log:
        cleaned = _clean(text)
        if cleaned and not _ECHO.search(cleaned):
            yield stage, severity, cleaned


def _clean(text: str) -> str:
    return " ".join(_NO_DRIVER.sub("", text).split())[:_WORDS_MAX]


def _unique(findings: Iterable[Finding]) -> Iterator[Finding]:
    seen = set()
    for finding in findings:
        if (finding.code, finding.where, finding.problem) not in seen:
            seen.add((finding.code, finding.where, finding.problem))
            yield finding
