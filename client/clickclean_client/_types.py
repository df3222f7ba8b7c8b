"""The values that the client hands out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

BATCH: Final = "batch"
"""Name of the first axis of every tensor of a model that batches."""

_UNNAMED: Final = "axis "


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of an input or output.

    `size` is -1 for a free axis, which may have every size from `min` to `max`, both included
    (None = the server does not say). Where it says no name, `name` is "axis 2" for
    `array.shape[2]`, and "batch" for the first axis of a model that batches. A free axis with the
    same name elsewhere in a request has the same size.
    """

    name: str
    size: int = -1
    min: int | None = None
    max: int | None = None

    @property
    def named(self) -> bool:
        """Whether the name says more than the place."""
        return not self.name.startswith(_UNNAMED)

    @property
    def bounds(self) -> str:
        """The allowed sizes, such as "32..512"; "" where all are, or none is known."""
        if self.size >= 0 or (self.min is None and self.max is None):
            return ""
        return f"{'' if self.min is None else self.min}..{'' if self.max is None else self.max}"

    def __str__(self) -> str:
        if self.size >= 0:
            return str(self.size)
        return f"{self.name if self.named else 'any'} {self.bounds}".rstrip()

    @staticmethod
    def unnamed(place: int) -> str:
        """What an axis is called that has no name."""
        return f"{_UNNAMED}{place}"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, dtype and axes of one input or output, as the server describes it.

    `shape` includes the batch axis; -1 is a free axis. `dtype` is object for BYTES and uint16
    (the bits) for BF16. `optional` inputs may be left out. `axes` has one entry for each axis, with
    the size that is in `shape`; without any, they have no names and no ranges.

    Raises:
        ValueError: `axes` and `shape` disagree.
    """

    name: str
    dtype: np.dtype[Any]
    triton_dtype: str
    shape: tuple[int, ...]
    optional: bool = False
    axes: tuple[Axis, ...] = ()

    def __post_init__(self) -> None:
        if not self.axes and self.shape:
            axes = tuple(Axis(Axis.unnamed(place), size) for place, size in enumerate(self.shape))
            object.__setattr__(self, "axes", axes)
        if tuple(axis.size for axis in self.axes) != self.shape:
            raise ValueError(f"the axes of {self.name!r} do not have the sizes {self.shape}")

    def __str__(self) -> str:
        return f"{self.triton_dtype}[{', '.join(map(str, self.axes))}]"


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """What the server says about a model: its schema, and the versions that it was read from.

    `versions` are those that serve now. `max_batch` is the largest first axis of a request;
    0 = the model does not batch, or the server keeps its configuration to itself (restricted
    protocol `model-config`), and then it is left to the server to refuse. `fingerprint` is the
    SHA-256 of the manifest of a version that Click Clean published, "" where it is not known.
    """

    name: str
    versions: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch: int
    fingerprint: str = ""
    # What `_checks` made of it; None before the first check.
    _prepared: Any = field(default=None, init=False, repr=False, compare=False)
    # How `_response` read the last answer, if it was of the usual kind.
    _last: Any = field(default=None, init=False, repr=False, compare=False)
    _outputs: dict[str, TensorSpec] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if self.max_batch:
            object.__setattr__(self, "inputs", tuple(map(_batched, self.inputs)))
            object.__setattr__(self, "outputs", tuple(map(_batched, self.outputs)))
        self._outputs.update((spec.name, spec) for spec in self.outputs)

    def to_json(self) -> str:
        """This schema as a text that `from_json` reads, and people read, compare and edit."""
        from clickclean_client._schema import schema_to_json

        return schema_to_json(self)

    @classmethod
    def from_json(cls, text: str, *, source: str = "") -> ModelMetadata:
        """Read what `to_json` wrote; `source` names the file in errors.

        Raises:
            SchemaError: it is no JSON, a key is unknown or missing, or a value is wrong.
        """
        from clickclean_client._schema import schema_from_json

        return schema_from_json(text, source=source)

    def differences(self, served: ModelMetadata) -> tuple[str, ...]:
        """What is not in `served` as it is here, one sentence each; () for the same schema.

        Name, versions and fingerprint do not count, and neither do names and ranges of axes where
        the server says none.
        """
        from clickclean_client._schema import schema_differences

        return schema_differences(self, served)


def _batched(spec: TensorSpec) -> TensorSpec:
    """The same, its first axis called the batch."""
    if not spec.axes or spec.axes[0].named:
        return spec
    return replace(spec, axes=(replace(spec.axes[0], name=BATCH), *spec.axes[1:]))


class InferResult(Mapping[str, NDArray[Any]]):
    """The outputs of one inference by name.

    Arrays are read-only views of the received bytes, which they keep alive: nothing was copied,
    and `array.copy()` gives one to write to. BYTES outputs are object arrays of `bytes`.
    `model` is the name that was asked for, and `version` the version that answered.

    Of a call with a key: `arm` is "champion" or "challenger", the arm that the key is assigned to
    (the champion answers for a challenger that fails), and `experiment` is the experiment's name;
    both are "" while none runs. `prediction_id` is what an outcome refers to: the caller's
    `request_id`, or a new one for a call with a key.
    """

    __slots__ = (
        "_outputs",
        "arm",
        "experiment",
        "model",
        "prediction_id",
        "request_id",
        "version",
    )

    def __init__(
        self, outputs: Mapping[str, NDArray[Any]], *, model: str, version: str, request_id: str
    ) -> None:
        self._outputs = dict(outputs)
        self.model = model
        self.version = version
        self.request_id = request_id
        self.arm = ""
        self.experiment = ""
        self.prediction_id = request_id

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._outputs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._outputs)

    def __len__(self) -> int:
        return len(self._outputs)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{k}: {v.dtype}{list(v.shape)}" for k, v in self._outputs.items())
        return f"InferResult({self.model!r}, version={self.version!r}, {{{shapes}}})"
