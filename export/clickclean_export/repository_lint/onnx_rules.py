"""A config against its ONNX file, as Triton's ONNX Runtime backend compares them.

(https://github.com/triton-inference-server/onnxruntime_backend/blob/main/src/onnxruntime.cc,
"ValidateInputs", "ValidateOutputs"; onnxruntime_utils.cc, "CompareDimsSupported")
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from clickclean_export.errors import nearest
from clickclean_export.repository_lint.backends import artefact
from clickclean_export.repository_lint.finding import LintFinding, Rule, server_issue
from clickclean_export.repository_lint.onnx_file import (
    OnnxModel,
    OnnxTensor,
    OnnxUnreadable,
    read_onnx,
)
from clickclean_export.repository_lint.reading import Subject
from clickclean_export.repository_lint.tensors import type_name

UNREADABLE = Rule(
    "onnx-unreadable",
    "error",
    "The .onnx file is no ONNX model.",
    "export it again, or copy it again: a part may be missing",
    server_issue(7654),
)
UNKNOWN = Rule(
    "onnx-tensor-unknown",
    "error",
    "The config names an input or output that the model does not have.",
    "use the name in the file; Netron or polygraphy inspect model shows it",
    server_issue(4767),
)
INPUT_MISSING = Rule(
    "onnx-input-not-in-config",
    "error",
    "The model has an input that the config leaves out.",
    "add it to the config, or remove all inputs and outputs and let Triton complete them",
    server_issue(4824),
)
TYPE = Rule(
    "onnx-type-differs",
    "error",
    "The config gives a tensor another data type than the model.",
    "write the model's type",
    server_issue(2644),
)
BATCH_IN_DIMS = Rule(
    "batch-axis-in-dims",
    "error",
    "max_batch_size is above 0, and dims hold the batch axis too: Triton adds it a second time.",
    "leave the first axis out of dims",
    server_issue(3880),
)
BATCH_FIXED = Rule(
    "onnx-batch-axis-fixed",
    "error",
    "max_batch_size is above 0, but the model's first axis has a fixed size.",
    "export with a free first axis (dynamic_axes), or set max_batch_size to 0 and write all dims",
    server_issue(7462),
)
BATCH_MISSING = Rule(
    "batch-axis-not-in-dims",
    "error",
    "max_batch_size is 0, and dims leave the model's first axis out.",
    "set max_batch_size, or write -1 as the first of dims",
    server_issue(5721),
)
DIMS = Rule(
    "onnx-dims-differ",
    "error",
    "dims are not those of the model.",
    "write the model's sizes, -1 for a free axis",
    server_issue(4194),
)
OUTPUT_DIMS = Rule(
    "onnx-output-dims-differ",
    "error",
    "An output's dims must be the model's exactly: no -1 for a fixed axis, no size for a free one.",
    "write the model's dims, or name the axis when you export",
    server_issue(4065),
)
NOT_A_TENSOR = Rule(
    "onnx-not-a-tensor",
    "error",
    "The model has an input or output that is a sequence or a map, as scikit-learn's ZipMap.",
    "convert with options={'zipmap': False}",
    server_issue(3798),
)
IR_VERSION = Rule(
    "onnx-ir-new",
    "warning",
    "The file's IR version is newer than what many Triton images read.",
    "save it with ir_version 10, or use an image whose ONNX Runtime reads it",
    server_issue(8001),
)
WEIGHTS = Rule(
    "onnx-weights-missing",
    "error",
    "A file with the model's weights is missing or too short.",
    "copy it into the same folder under the same name; two models may not share one name",
    "https://github.com/microsoft/onnxruntime/issues/11848",
)
RULES: Final = (
    UNREADABLE,
    UNKNOWN,
    INPUT_MISSING,
    TYPE,
    BATCH_IN_DIMS,
    BATCH_FIXED,
    BATCH_MISSING,
    DIMS,
    OUTPUT_DIMS,
    NOT_A_TENSOR,
    IR_VERSION,
    WEIGHTS,
)

# The newest that libraries of early 2026 were seen to read:
# https://github.com/NVIDIA/TensorRT/issues/4710
_IR_KNOWN: Final = 10


def onnx_paths(subject: Subject) -> Iterator[Path]:
    """Yield the ONNX files of the versions that are to be loaded, as far as they are there."""
    for version in subject.loads:
        wanted = artefact(subject.message, subject.version_path(version))
        if wanted.backend not in {"onnxruntime", "openvino"} or not wanted.file:
            continue
        path = subject.version_path(version) / wanted.file
        path = path / "model.onnx" if path.is_dir() else path
        if path.suffix == ".onnx" and path.is_file() and path.stat().st_size:
            yield path


def check_onnx(subject: Subject, path: Path) -> Iterator[LintFinding]:
    """Compare the config with one file.

    Raises:
        ModuleNotFoundError: the library `onnx` is not installed.
    """
    try:
        model = read_onnx(path)
    except OnnxUnreadable:
        # A pointer was named already, with a better cause.
        if not path.read_bytes()[:8].startswith(b"version "):
            yield subject.find(UNREADABLE, f"'{path.name}' is no ONNX model", path=path)
        return
    strict = artefact(subject.message, path.parent).backend == "onnxruntime"
    for file in model.external:
        weights = path.parent / file.location
        size = weights.stat().st_size if weights.is_file() else None
        if size is None:
            yield subject.find(WEIGHTS, f"there is no '{file.location}'", path=path)
        elif size < file.size_bytes:
            problem = f"'{file.location}' has {size} bytes, the model reads {file.size_bytes}"
            yield subject.find(WEIGHTS, problem, path=path)
    if strict and model.ir_version > _IR_KNOWN:
        yield subject.find(IR_VERSION, f"IR version {model.ir_version}", path=path)
    odd = [tensor for tensor in (*model.inputs, *model.outputs) if tensor.kind != "tensor"]
    if odd:
        problem = f"'{odd[0].name}' is a {odd[0].kind}, not a tensor"
        yield subject.find(NOT_A_TENSOR, problem, path=path)
        return
    yield from _check_names(subject, model)
    yield from _check_shapes(subject, model, strict=strict)


def _check_names(subject: Subject, model: OnnxModel) -> Iterator[LintFinding]:
    message = subject.message
    known = {
        "input": [*(tensor.name for tensor in model.inputs), *sorted(model.defaults)],
        "output": [tensor.name for tensor in model.outputs],
    }
    for kind, tensors in (("input", message.input), ("output", message.output)):
        for tensor in tensors:
            if tensor.name and tensor.name not in known[kind]:
                near = nearest(tensor.name, known[kind])
                yield subject.find(
                    UNKNOWN,
                    f"the model has no {kind} '{tensor.name}'",
                    line=subject.config.line_of_name(tensor.name),
                    hint=f"did you mean '{near}'?" if near else f"it has {', '.join(known[kind])}",
                )
    given = {tensor.name for tensor in message.input} | _made_by_triton(message)
    absent = [tensor.name for tensor in model.inputs if tensor.name not in given]
    # A name that is wrong was reported already; it may be the absent one.
    if message.input and absent and given <= set(known["input"]):
        yield subject.find(INPUT_MISSING, f"the model's input '{absent[0]}' is not in the config")


def _check_shapes(subject: Subject, model: OnnxModel, *, strict: bool) -> Iterator[LintFinding]:
    message = subject.message
    batching = message.max_batch_size > 0
    scattered = {name for output in message.batch_output for name in output.target_name}
    in_model = {tensor.name: tensor for tensor in (*model.inputs, *model.outputs)}
    culprits: set[str] = set()
    for kind, tensors in (("input", message.input), ("output", message.output)):
        for tensor in tensors:
            found = in_model.get(tensor.name)
            if found is None or not tensor.dims:
                continue
            line = subject.config.line_of_name(tensor.name)
            if found.data_type != type_name(tensor.data_type):
                problem = (
                    f"{kind} '{tensor.name}' is {found.data_type} in the model,"
                    f" {type_name(tensor.data_type)} in the config"
                )
                yield subject.find(TYPE, problem, line=line)
            ragged = kind == "input" and tensor.allow_ragged_batch
            if found.dims is None or ragged or tensor.name in scattered:
                continue
            dims = list(tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims)
            rule = _compare(found, dims, batching=batching, exact=strict and kind == "output")
            # One cause, said once: the batch axis is wrong for all tensors or for none.
            if rule is None or rule.code in culprits:
                continue
            if rule in {BATCH_IN_DIMS, BATCH_FIXED, BATCH_MISSING}:
                culprits.add(rule.code)
            problem = (
                f"{kind} '{tensor.name}' is {list(found.dims)} in the model,"
                f" {dims} in the config, max_batch_size {message.max_batch_size}"
            )
            yield subject.find(rule, problem, line=line)


def _compare(found: OnnxTensor, dims: Sequence[int], *, batching: bool, exact: bool) -> Rule | None:
    model = found.dims or ()
    whole = [-1, *dims] if batching else list(dims)
    rule: Rule | None = None
    if not model:
        # A scalar: only ones may be written for it.
        rule = DIMS if any(size != 1 for size in dims) else None
    elif batching and model[0] != -1:
        rule = BATCH_FIXED
    elif batching and len(model) == len(dims):
        rule = BATCH_IN_DIMS
    elif not batching and len(model) == len(dims) + 1 and model[0] == -1:
        rule = BATCH_MISSING
    elif len(model) != len(whole):
        rule = DIMS
    elif any(size not in {-1, given} for size, given in zip(model, whole, strict=True)):
        rule = OUTPUT_DIMS if exact and _only_free(model, whole) else DIMS
    elif exact and list(model) != whole:
        rule = OUTPUT_DIMS
    return rule


def _only_free(model: Sequence[int], whole: Sequence[int]) -> bool:
    return all(
        size == given or -1 in {size, given} for size, given in zip(model, whole, strict=True)
    )


def _made_by_triton(message: Any) -> set[str]:
    """Names of inputs that Triton fills itself: of sequences, and of batches."""
    sequence = message.sequence_batching
    names = {control.name for control in sequence.control_input}
    names |= {state.input_name for state in sequence.state}
    return names | {name for item in message.batch_input for name in item.target_name}
