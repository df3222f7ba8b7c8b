"""Warm-up samples against the inputs that they are for."""

import math
from collections.abc import Iterator
from typing import Any, Final

from clickclean_client.protocol import CONFIG_DTYPES, numpy_dtype
from clickclean_export.repository_lint.finding import CONFIG_GUIDE, LintFinding, Rule, server_issue
from clickclean_export.repository_lint.reading import Subject
from clickclean_export.repository_lint.tensors import type_name

_GUIDE = f"{CONFIG_GUIDE}#model-warmup"
_SOURCE = "https://github.com/triton-inference-server/core/blob/main/src/backend_model_instance.cc"

MISSING = Rule(
    "warmup-input-missing",
    "error",
    "A warm-up sample leaves out an input, or calls it by another name.",
    "the key of each sample is the name of an input; give all that are required",
    server_issue(1795),
)
SHAPE = Rule(
    "warmup-dims-differ",
    "error",
    "A warm-up sample has other dims than the input, or free ones.",
    "give whole sizes, without the batch axis",
    _SOURCE,
)
TYPE = Rule(
    "warmup-type-differs",
    "error",
    "A warm-up sample has another data type than the input.",
    "use the input's data_type",
    _GUIDE,
)
DATA = Rule(
    "warmup-without-data",
    "error",
    "A warm-up sample says neither zero_data nor random_data nor a file.",
    "add zero_data: true",
    _SOURCE,
)
FILE = Rule(
    "warmup-file",
    "error",
    "The file of a warm-up sample is missing, or has fewer bytes than its dims need.",
    "put the raw tensor, no PNG or JSON, into the model's folder warmup/",
    server_issue(1796),
)
RULES: Final = (MISSING, SHAPE, TYPE, DATA, FILE)
_SIZES: Final = {
    number: numpy_dtype(name).itemsize for name, number in CONFIG_DTYPES.items() if name != "BYTES"
}


def check_warmup(subject: Subject) -> Iterator[LintFinding]:
    """Look at every sample that will run."""
    message = subject.message
    if not message.input:
        return
    inputs = {tensor.name: tensor for tensor in message.input}
    required = {name for name, tensor in inputs.items() if not tensor.optional}
    line = subject.config.line(r"^\s*model_warmup\b")
    for sample in message.model_warmup:
        if not sample.batch_size:
            continue
        missing = sorted(required - set(sample.inputs))
        if missing:
            unknown = sorted(set(sample.inputs) - set(inputs))
            instead = f", but '{unknown[0]}'" if unknown else ""
            problem = f"sample '{sample.name}' gives no '{missing[0]}'{instead}"
            yield subject.find(MISSING, problem, line=line)
        for name, given in sample.inputs.items():
            if name in inputs:
                yield from _compare(subject, inputs[name], given, line)


def _compare(subject: Subject, tensor: Any, given: Any, line: int) -> Iterator[LintFinding]:
    name = tensor.name
    if given.data_type != tensor.data_type:
        problem = f"'{name}' is {type_name(tensor.data_type)}, not {type_name(given.data_type)}"
        yield subject.find(TYPE, problem, line=line)
    fits = len(given.dims) == len(tensor.dims) and all(
        size >= 0 and wanted in {size, -1}
        for size, wanted in zip(given.dims, tensor.dims, strict=True)
    )
    if not fits:
        problem = f"'{name}' has dims {list(tensor.dims)}, the sample {list(given.dims)}"
        yield subject.find(SHAPE, problem, line=line)
    kind = given.WhichOneof("input_data_type")
    if kind is None:
        yield subject.find(DATA, f"the sample for '{name}' has no data", line=line)
    elif kind == "input_data_file" and fits:
        yield from _file(subject, given, line)


def _file(subject: Subject, given: Any, line: int) -> Iterator[LintFinding]:
    path = subject.model.path / "warmup" / given.input_data_file
    if not path.is_file():
        problem = f"there is no 'warmup/{given.input_data_file}'"
        yield subject.find(FILE, problem, line=line)
    elif given.data_type in _SIZES:
        needed = math.prod(given.dims) * _SIZES[given.data_type]
        size = path.stat().st_size
        if size < needed:
            problem = f"'warmup/{path.name}' has {size} bytes, its dims need {needed}"
            yield subject.find(FILE, problem, line=line)
