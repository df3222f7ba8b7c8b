"""From Triton's metadata and configuration messages to `ModelMetadata`."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable
from typing import Any, Final

from clickclean_client._exceptions import Call, ProtocolError
from clickclean_client._types import ModelMetadata, TensorSpec
from clickclean_client.axes import NamedAxes
from clickclean_client.protocol import NUMPY_DTYPES
from clickclean_client.slots import AXES, FINGERPRINT

_log = logging.getLogger("clickclean_client")
_UNNAMED: Final = NamedAxes({}, {})


def metadata_from_messages(metadata: Any, config: Any | None, call: Call) -> ModelMetadata:
    """Join a ModelMetadataResponse with the ModelConfig, which is None if it is kept secret.

    Names and ranges of axes come from the configuration's parameter CLICKCLEAN_AXES. One that is
    malformed, or contradicts the metadata, counts as none: a call must not fail because of it.

    Raises:
        ProtocolError: a dtype that does not exist, or no outputs at all.
    """
    optional = {i.name for i in config.input if i.optional} if config is not None else set()
    axes = _axes(metadata, _parameter(config, AXES), call)
    outputs = _specs(metadata.outputs, frozenset(), axes, call)
    if not outputs:
        raise ProtocolError(call, "its metadata names no outputs")
    return ModelMetadata(
        name=call.model,
        versions=tuple(metadata.versions),
        inputs=_specs(metadata.inputs, frozenset(optional), axes, call),
        outputs=outputs,
        max_batch=config.max_batch_size if config is not None else 0,
        fingerprint=_parameter(config, FINGERPRINT),
    )


def _parameter(config: Any | None, key: str) -> str:
    if config is None or key not in config.parameters:
        return ""
    return str(config.parameters[key].string_value)


def _axes(metadata: Any, text: str, call: Call) -> NamedAxes:
    if not text:
        return _UNNAMED
    tensors = [*metadata.inputs, *metadata.outputs]
    try:
        axes = NamedAxes.from_json(text)
        if unknown := sorted(set(axes.tensors) - {tensor.name for tensor in tensors}):
            raise ValueError(f"the model has no tensor {unknown[0]!r}")
        for tensor in tensors:
            axes.of(tensor.name, tuple(tensor.shape))
    except ValueError as problem:
        _warn(f"{call.subject} names its axes in a way that cannot be used: {problem}.")
        return _UNNAMED
    return axes


@functools.lru_cache(maxsize=256)
def _warn(sentence: str) -> None:
    """Once for each sentence: metadata are fetched again when a request is refused."""
    _log.warning("%s The parameter %s is ignored.", sentence, AXES)


def _specs(
    tensors: Iterable[Any], optional: frozenset[str], axes: NamedAxes, call: Call
) -> tuple[TensorSpec, ...]:
    specs = []
    for tensor in tensors:
        dtype = NUMPY_DTYPES.get(tensor.datatype)
        if dtype is None:
            raise ProtocolError(
                call, f"its metadata gives {tensor.name!r} the unknown dtype {tensor.datatype!r}"
            )
        shape = tuple(tensor.shape)
        specs.append(
            TensorSpec(
                tensor.name,
                dtype,
                tensor.datatype,
                shape,
                tensor.name in optional,
                axes.of(tensor.name, shape),
            )
        )
    return tuple(specs)
