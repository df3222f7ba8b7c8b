"""The values that the client hands out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, dtype and shape of one input or output, as the server describes it.

    `shape` includes the batch axis; -1 is a free axis. `dtype` is object for BYTES and uint16
    (the bits) for BF16. `optional` inputs may be left out.
    """

    name: str
    dtype: np.dtype[Any]
    triton_dtype: str
    shape: tuple[int, ...]
    optional: bool = False

    def __str__(self) -> str:
        axes = ", ".join("any" if size < 0 else str(size) for size in self.shape)
        return f"{self.triton_dtype}[{axes}]"


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """What the server says about a model.

    `versions` are those that serve now. `max_batch` is the largest first axis of a request;
    0 = the model does not batch, or the server keeps its configuration to itself (restricted
    protocol `model-config`), and then it is left to the server to refuse.
    """

    name: str
    versions: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch: int


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
