"""From Triton's metadata and configuration messages to `ModelMetadata`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from clickclean_client._exceptions import Call, ProtocolError
from clickclean_client._types import ModelMetadata, TensorSpec
from clickclean_client.protocol import NUMPY_DTYPES


def metadata_from_messages(metadata: Any, config: Any | None, call: Call) -> ModelMetadata:
    """Join a ModelMetadataResponse with the ModelConfig, which is None if it is kept secret.

    Raises:
        ProtocolError: a dtype that does not exist, or no outputs at all.
    """
    optional = {i.name for i in config.input if i.optional} if config is not None else set()
    outputs = _specs(metadata.outputs, frozenset(), call)
    if not outputs:
        raise ProtocolError(call, "its metadata names no outputs")
    return ModelMetadata(
        name=call.model,
        versions=tuple(metadata.versions),
        inputs=_specs(metadata.inputs, frozenset(optional), call),
        outputs=outputs,
        max_batch=config.max_batch_size if config is not None else 0,
    )


def _specs(tensors: Iterable[Any], optional: frozenset[str], call: Call) -> tuple[TensorSpec, ...]:
    specs = []
    for tensor in tensors:
        dtype = NUMPY_DTYPES.get(tensor.datatype)
        if dtype is None:
            raise ProtocolError(
                call, f"its metadata gives {tensor.name!r} the unknown dtype {tensor.datatype!r}"
            )
        specs.append(
            TensorSpec(
                tensor.name, dtype, tensor.datatype, tuple(tensor.shape), tensor.name in optional
            )
        )
    return tuple(specs)
