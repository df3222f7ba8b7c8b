"""Inputs and outputs as the config writes them, without the model."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

from clickclean_client.protocol import model_config_pb2
from clickclean_export.repository_lint.backends import is_ensemble
from clickclean_export.repository_lint.finding import (
    CONFIG_GUIDE,
    CORE_CHECKS,
    LintFinding,
    Rule,
    server_issue,
)
from clickclean_export.repository_lint.reading import Subject

NO_NAME = Rule(
    "tensor-without-name",
    "error",
    "An input or output has no name.",
    "name it as the model does",
    CORE_CHECKS,
)
NO_TYPE = Rule(
    "tensor-without-type",
    "error",
    "An input or output has no data_type.",
    "write data_type: TYPE_FP32 or the like",
    CORE_CHECKS,
)
NO_DIMS = Rule(
    "tensor-without-dims",
    "error",
    "An input or output has no dims; a scalar needs them too.",
    "write dims: [ 1 ] with reshape: { shape: [ ] } for one number per row",
    server_issue(294),
)
BAD_DIM = Rule(
    "dim-out-of-range",
    "error",
    "A size that is neither -1 nor at least 1.",
    "write -1 for a free axis",
    CORE_CHECKS,
)
TWICE = Rule(
    "tensor-named-twice",
    "error",
    "Two inputs, or two outputs, have one name.",
    "remove one, or give it the model's name for it",
    f"{CONFIG_GUIDE}#inputs-and-outputs",
)
RESHAPE = Rule(
    "reshape-differs",
    "error",
    "reshape has another number of elements, or of free axes, than dims.",
    "both must describe the same numbers; leave the batch axis out of both",
    f"{CONFIG_GUIDE}#reshape",
)
SCALAR = Rule(
    "reshape-to-scalar-without-batch",
    "error",
    "An empty reshape in a model that does not batch.",
    "remove the reshape, or set max_batch_size",
    server_issue(264),
)
FORMAT = Rule(
    "format-needs-three-dims",
    "error",
    "FORMAT_NCHW or FORMAT_NHWC with other than three dims: the batch axis does not count.",
    "leave the batch axis out of dims, or the format away",
    server_issue(4815),
)
SHAPE_TENSOR = Rule(
    "shape-tensor-not-tensorrt",
    "error",
    "is_shape_tensor outside of TensorRT.",
    "remove is_shape_tensor",
    f"{CONFIG_GUIDE}#shape-tensors",
)
TENSORRT_TYPE = Rule(
    "type-not-in-tensorrt",
    "error",
    "A data type that TensorRT does not have.",
    "give the plan's own type, INT64 instead of UINT64 for instance",
    f"{CONFIG_GUIDE}#datatypes",
)
BATCH_IO = Rule(
    "batch-input-or-output",
    "error",
    "A batch_input or batch_output without exactly one source_input, or with a name that the config"
    " does not have.",
    "give one source_input, an input's name; a target_name of batch_output is an output, once",
    CORE_CHECKS,
)
RULES: Final = (
    NO_NAME,
    NO_TYPE,
    NO_DIMS,
    BAD_DIM,
    TWICE,
    RESHAPE,
    SCALAR,
    FORMAT,
    SHAPE_TENSOR,
    TENSORRT_TYPE,
    BATCH_IO,
)

_TENSORRT = frozenset({"BOOL", "UINT8", "INT8", "INT32", "INT64", "FP16", "FP32", "BF16"})


def type_name(data_type: int) -> str:
    """Return the name of a config's data type, such as TYPE_FP32."""
    return str(model_config_pb2.DataType.Name(data_type))


def check_tensors(subject: Subject, backend: str) -> Iterator[LintFinding]:
    """Look at every input and output by itself."""
    message = subject.message
    complete = _completes(subject, backend)
    yield from _check_batch_io(subject)
    for kind, tensors in (("input", message.input), ("output", message.output)):
        names = [tensor.name for tensor in tensors]
        for name in sorted({name for name in names if name and names.count(name) > 1}):
            line = subject.config.line_of_name(name)
            yield subject.find(TWICE, f"{kind} '{name}' is given twice", line=line)
        for tensor in tensors:
            yield from _check(subject, kind, tensor, backend, complete=complete)


def _check(
    subject: Subject, kind: str, tensor: Any, backend: str, *, complete: bool
) -> Iterator[LintFinding]:
    if not tensor.name:
        yield subject.find(NO_NAME, f"an {kind} has no name", line=subject.config.line(kind))
        return
    line = subject.config.line_of_name(tensor.name)
    what = f"{kind} '{tensor.name}'"
    data_type = type_name(tensor.data_type)
    if tensor.data_type == model_config_pb2.DataType.TYPE_INVALID:
        if not complete:
            yield subject.find(NO_TYPE, f"{what} has no data_type", line=line)
    elif backend == "tensorrt" and data_type.removeprefix("TYPE_") not in _TENSORRT:
        yield subject.find(TENSORRT_TYPE, f"{what} is {data_type}", line=line)
    if not tensor.dims:
        if not complete:
            yield subject.find(NO_DIMS, f"{what} has no dims", line=line)
        return
    shapes = [*tensor.dims, *tensor.reshape.shape]
    wrong = [size for size in shapes if size < 1 and size != -1]
    if wrong:
        yield subject.find(BAD_DIM, f"{what} has an axis of size {wrong[0]}", line=line)
    elif tensor.HasField("reshape"):
        yield from _check_reshape(subject, what, tensor, line)
    if kind == "input" and tensor.format != tensor.FORMAT_NONE and len(tensor.dims) != 3:  # noqa: PLR2004
        problem = f"{what} has {len(tensor.dims)} dims and {tensor.Format.Name(tensor.format)}"
        yield subject.find(FORMAT, problem, line=line)
    if tensor.is_shape_tensor and backend not in {"tensorrt", ""}:
        yield subject.find(SHAPE_TENSOR, f"{what} is a shape tensor", line=line)


def _completes(subject: Subject, backend: str) -> bool:
    """Whether the backend fills in what a tensor lacks.

    Those of TensorRT and OpenVINO do, and a model.py may (server, qa/L0_model_config,
    "autofill_noplatform_success"); ONNX Runtime's completes all tensors or none.
    """
    if backend != "python":
        # Without a backend that is known nothing can be said; that has a finding of its own.
        known = backend or is_ensemble(subject.message)
        return not known or backend in {"tensorrt", "openvino"}
    scripts = [subject.version_path(version) for version in subject.loads]
    return any(
        b"auto_complete_config" in path.read_bytes()
        for folder in scripts
        for path in folder.glob("*.py")
    )


def _check_batch_io(subject: Subject) -> Iterator[LintFinding]:
    message = subject.message
    inputs = {tensor.name for tensor in message.input}
    outputs = {tensor.name for tensor in message.output}
    for kind, items in (
        ("batch_input", message.batch_input),
        ("batch_output", message.batch_output),
    ):
        line = subject.config.line(rf"^\s*{kind}\b")
        for item in items:
            sources, targets = list(item.source_input), list(item.target_name)
            unknown = [name for name in sources if name not in inputs]
            if kind == "batch_output":
                unknown += [name for name in targets if name not in outputs]
            if len(sources) != 1:
                problem = f"a {kind} has {len(sources)} entries of source_input"
                yield subject.find(BATCH_IO, problem, line=line)
            elif unknown:
                yield subject.find(BATCH_IO, f"a {kind} names '{unknown[0]}'", line=line)
            elif kind == "batch_output" and len(set(targets)) < len(targets):
                yield subject.find(BATCH_IO, f"a {kind} names a target twice", line=line)


def _check_reshape(subject: Subject, what: str, tensor: Any, line: int) -> Iterator[LintFinding]:
    shape = list(tensor.reshape.shape)
    if not shape and subject.message.max_batch_size == 0:
        yield subject.find(SCALAR, f"{what} has an empty reshape", line=line)
    elif _pieces(tensor.dims) != _pieces(shape):
        problem = f"{what} has dims {list(tensor.dims)} and reshape {shape}"
        yield subject.find(RESHAPE, problem, line=line)


def _pieces(shape: Sequence[int]) -> list[int]:
    """Elements between the free axes; Triton compares these (model_config_utils.cc)."""
    pieces: list[list[int]] = [[]]
    for size in shape:
        if size == -1:
            pieces.append([])
        else:
            pieces[-1].append(size)
    return [math.prod(piece) for piece in pieces]
