"""Write the message of a request whose inputs were checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from clickclean_client._bytes_tensor import encode_bytes_tensor
from clickclean_client._exceptions import Call, InvalidRequest
from clickclean_client._types import ModelMetadata, TensorSpec
from clickclean_client.protocol import service_pb2


def infer_request(
    inputs: Mapping[str, NDArray[Any]],
    metadata: ModelMetadata,
    call: Call,
    *,
    name: str,
    number: str,
    request_id: str,
    timeout_us: int,
) -> Any:
    """The ModelInferRequest, to a name and version, for inputs that `check_inputs` has passed.

    `timeout_us` bounds the wait in the queue of a model whose policy sets
    `allow_timeout_override` (`ModelQueuePolicy` in model_config.proto).

    Raises:
        InvalidRequest: an element of a BYTES input is neither bytes nor str.
    """
    request = service_pb2.ModelInferRequest(model_name=name, model_version=number, id=request_id)
    request.parameters["timeout"].int64_param = timeout_us
    for spec in metadata.inputs:
        if spec.name not in inputs:
            continue
        array = inputs[spec.name]
        request.inputs.add(name=spec.name, datatype=spec.triton_dtype, shape=array.shape)
        request.raw_input_contents.append(_wire_bytes(array, spec, call))
    return request


def _wire_bytes(array: NDArray[Any], spec: TensorSpec, call: Call) -> bytes:
    if spec.triton_dtype == "BYTES":
        try:
            return encode_bytes_tensor(array)
        except (TypeError, UnicodeEncodeError) as exc:
            raise InvalidRequest(
                call,
                f"the input {spec.name!r} holds an element that cannot be sent ({exc})",
                hint="Elements of BYTES inputs are bytes, or str (sent as UTF-8).",
            ) from exc
    if not array.dtype.isnative or array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    return array.tobytes()
