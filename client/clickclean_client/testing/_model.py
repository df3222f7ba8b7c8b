"""One version of a model that a fake server pretends to have."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from clickclean_client.protocol import CONFIG_DTYPES, NUMPY_DTYPES, service_pb2
from clickclean_client.testing._errors import FakeServerError, nearest

Tensors = Mapping[str, tuple[str, Sequence[int]]]
"""Names of inputs or outputs -> dtype such as "FP32", and shape with the batch axis; -1 is free."""

Arrays = Mapping[str, NDArray[Any]]

_PLATFORM: Final = "fake"


@dataclass(frozen=True)
class FakeModel:
    """A model without a model: its description, and the function that answers.

    Args:
        name: What callers name.
        inputs: Name -> (dtype, shape) with Triton's dtypes; shapes as ModelMetadata gives them,
            with the batch axis as -1 in front if the model batches.
        outputs: The same. None = `y0`, `y1`, ...: one for each input, as it.
        answer: Takes the inputs as arrays by keyword and returns the outputs by name; see
            `FakeServer.serve`. None = each output repeats the input in its place if that fits,
            and is zeros otherwise.
        max_batch: The largest batch; 0 for a model without a batch axis.
        version: A number.
        optional: Inputs that may be left out; `answer` must do without them.
        parameters: Of the configuration, as text.
        decoupled: The model answers a request any number of times, over ModelStreamInfer alone.

    Raises:
        FakeServerError: something of it makes no sense.
    """

    name: str
    inputs: Tensors
    outputs: Tensors | None = None
    answer: Callable[..., Any] | None = field(default=None, repr=False)
    max_batch: int = 4
    version: str | int = "1"
    optional: Sequence[str] = ()
    parameters: Mapping[str, str] | None = None
    decoupled: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "version", str(self.version))
        if not self.name or not isinstance(self.name, str):
            raise FakeServerError(
                f"{self.name!r} is no name of a model.", hint='Write serve("digits", ...).'
            )
        if not str(self.version).isdecimal():
            raise FakeServerError(
                f"{self.version!r} is no version of {self.name!r}.", hint='Versions are "1", "2".'
            )
        for kind, tensors in (("input", self.inputs), ("output", self.outputs or {})):
            if not isinstance(tensors, Mapping):
                raise FakeServerError(
                    f"The {kind}s of {self.name!r} are a {type(tensors).__name__}, no mapping.",
                    hint=f'Write {kind}s={{"x": ("FP32", [-1, 3])}}.',
                )
            for name, spec in tensors.items():
                self._check_tensor(kind, name, spec)
        for name in self.optional:
            if name not in self.inputs:
                raise FakeServerError(
                    f"{self.name!r} has no input {name!r} to be optional.",
                    hint=nearest(name, self.inputs),
                )
        if self.outputs is None:
            echoed = {f"y{k}": spec for k, spec in enumerate(self.inputs.values())}
            object.__setattr__(self, "outputs", echoed)
        self._check_answer()

    @property
    def described_outputs(self) -> Tensors:
        """The outputs, those that were left out too."""
        assert self.outputs is not None  # noqa: S101 - __post_init__ has set them
        return self.outputs

    def metadata(self, versions: Sequence[str]) -> Any:
        """The ModelMetadataResponse that names these versions."""
        message = service_pb2.ModelMetadataResponse(
            name=self.name, versions=versions, platform=_PLATFORM
        )
        for name, (dtype, shape) in self.inputs.items():
            message.inputs.add(name=name, datatype=dtype, shape=shape)
        for name, (dtype, shape) in self.described_outputs.items():
            message.outputs.add(name=name, datatype=dtype, shape=shape)
        return message

    def config(self) -> Any:
        """The ModelConfigResponse."""
        message = service_pb2.ModelConfigResponse()
        config = message.config
        config.name = self.name
        config.backend = _PLATFORM
        config.max_batch_size = self.max_batch
        config.model_transaction_policy.decoupled = self.decoupled
        for key, value in (self.parameters or {}).items():
            config.parameters[key].string_value = value
        # Triton's configuration leaves the batch axis out.
        first = 1 if self.max_batch else 0
        for name, (dtype, shape) in self.inputs.items():
            config.input.add(
                name=name,
                data_type=CONFIG_DTYPES[dtype],
                dims=shape[first:],
                optional=name in self.optional,
            )
        for name, (dtype, shape) in self.described_outputs.items():
            config.output.add(name=name, data_type=CONFIG_DTYPES[dtype], dims=shape[first:])
        return message

    def compute(self, inputs: Arrays) -> Generator[dict[str, NDArray[Any]], None, None]:
        """The answers for these inputs, checked: one, or what a decoupled model yields.

        Raises:
            FakeServerError: `answer` returned what the model does not declare.
        """
        given = self._echo(inputs) if self.answer is None else self.answer(**inputs)
        if isinstance(given, Mapping):
            yield self._checked(given, inputs)
        elif self.decoupled and hasattr(given, "__iter__"):
            for one in given:
                yield self._checked(one, inputs)
        else:
            hint = "Return a dict of arrays by output name."
            if hasattr(given, "__next__"):
                hint = "An answer that yields needs decoupled=True."
            raise FakeServerError(
                f"The answer of {self.name!r} is a {type(given).__name__}.", hint=hint
            )

    def _echo(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        rows = next((a.shape[0] for a in inputs.values() if a.ndim), 1)
        sources = dict(zip(self.described_outputs, self.inputs, strict=False))
        answer = {}
        for name, (dtype, shape) in self.described_outputs.items():
            source = inputs.get(sources.get(name, ""))
            same = source is not None and self.inputs[sources[name]][0] == dtype
            if source is not None and same and _fits(source.shape, shape):
                answer[name] = source
                continue
            sizes = [1 if size < 0 else size for size in shape]
            if self.max_batch:
                sizes[0] = rows
            blank = b"" if dtype == "BYTES" else 0
            answer[name] = np.full(sizes, blank, NUMPY_DTYPES[dtype])
        return answer

    def _checked(self, given: Any, inputs: Arrays) -> dict[str, NDArray[Any]]:
        declared = self.described_outputs
        if not isinstance(given, Mapping):
            raise FakeServerError(
                f"The answer of {self.name!r} yields a {type(given).__name__}.",
                hint="Yield a dict of arrays by output name.",
            )
        for name in given:
            if name not in declared:
                raise FakeServerError(
                    f"The answer of {self.name!r} has the output {name!r}, which is not declared.",
                    hint=nearest(name, declared),
                )
        for name in declared:
            if name not in given:
                raise FakeServerError(
                    f"The answer of {self.name!r} lacks the output {name!r}.",
                    hint=f"It has {', '.join(given) or 'none'}.",
                )
        rows = {array.shape[0] for array in inputs.values() if array.ndim}
        return {name: self._checked_output(name, given[name], rows) for name in declared}

    def _checked_output(self, name: str, value: Any, rows: set[int]) -> NDArray[Any]:
        dtype, shape = self.described_outputs[name]
        wanted = NUMPY_DTYPES[dtype]
        # A list has no dtype, so it gets the declared one; an array's own may be the mistake.
        array = value if isinstance(value, np.ndarray) else np.asarray(value, dtype=wanted)
        text = dtype == "BYTES" and array.dtype.kind in "OSU"
        if not text and array.dtype != wanted:
            raise FakeServerError(
                f"The answer of {self.name!r} has {name!r} as {array.dtype}, declared is {dtype}.",
                hint=f'Convert it: array.astype("{wanted.name}").',
            )
        batch_fits = not (self.max_batch and rows and not self.decoupled) or (
            array.ndim > 0 and array.shape[0] in rows
        )
        if not _fits(array.shape, shape) or not batch_fits:
            raise FakeServerError(
                f"The answer of {self.name!r} has {name!r} with shape {list(array.shape)}, "
                f"declared is {list(shape)}, for {max(rows, default=0)} rows.",
                hint="To send what does not fit, give a message with FakeServer.answer.",
            )
        return array

    def _check_tensor(self, kind: str, name: str, spec: Any) -> None:
        subject = f"The {kind} {name!r} of {self.name!r}"
        try:
            dtype, shape = spec
            sizes = [int(size) for size in shape]
        except (TypeError, ValueError) as exc:
            raise FakeServerError(
                f"{subject} is {spec!r}, no pair of dtype and shape.",
                hint='Write {"x": ("FP32", [-1, 3])}.',
            ) from exc
        if dtype not in NUMPY_DTYPES:
            raise FakeServerError(
                f"{subject} has the dtype {dtype!r}, which Triton does not know.",
                hint=nearest(dtype, NUMPY_DTYPES),
            )
        if any(size < -1 for size in sizes) or (self.max_batch and sizes[:1] != [-1]):
            raise FakeServerError(
                f"{subject} cannot have the shape {sizes}.",
                hint="-1 is a free axis; the first one is the batch, unless max_batch=0.",
            )

    def _check_answer(self) -> None:
        """Notice at once that a function does not take the inputs' names."""
        if self.answer is None:
            return
        try:
            signature = inspect.signature(self.answer)
        except (TypeError, ValueError):  # some builtins have none
            return
        wanted = [name for name in self.inputs if name not in self.optional]
        try:
            signature.bind(**dict.fromkeys(wanted))
        except TypeError as exc:
            raise FakeServerError(
                f"The answer of {self.name!r} cannot be called with its inputs: {exc}.",
                hint=f"It gets the keywords {', '.join(wanted) or '(none)'}.",
            ) from exc


def _fits(shape: Sequence[int], declared: Sequence[int]) -> bool:
    return len(shape) == len(declared) and all(
        want in (-1, got) for got, want in zip(shape, declared, strict=True)
    )
