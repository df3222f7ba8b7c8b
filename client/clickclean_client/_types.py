"""The values that the client hands out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


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
