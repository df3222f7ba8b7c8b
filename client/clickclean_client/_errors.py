"""The one map from a gRPC status to an exception class. It is total: a test walks every code."""

from __future__ import annotations

from typing import Any, Final

from clickclean_client._exceptions import (
    AccessRefused,
    Call,
    Cancelled,
    ClientError,
    DeadlineExceeded,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    ProtocolError,
    ServerFault,
    Unavailable,
)
from clickclean_client.protocol import grpc

_Status = grpc.StatusCode

BY_CODE: Final[dict[Any, type[ClientError]]] = {
    _Status.OK: ProtocolError,  # an error that says OK
    _Status.CANCELLED: Cancelled,
    _Status.UNKNOWN: ServerFault,
    _Status.INVALID_ARGUMENT: InvalidRequest,
    _Status.DEADLINE_EXCEEDED: DeadlineExceeded,
    _Status.NOT_FOUND: ModelNotFound,
    _Status.ALREADY_EXISTS: ServerFault,
    _Status.PERMISSION_DENIED: AccessRefused,
    _Status.UNAUTHENTICATED: AccessRefused,
    _Status.RESOURCE_EXHAUSTED: Overloaded,  # what proxies say at a rate limit
    _Status.FAILED_PRECONDITION: ServerFault,
    _Status.ABORTED: ServerFault,
    _Status.OUT_OF_RANGE: InvalidRequest,
    _Status.UNIMPLEMENTED: ProtocolError,  # no Triton, or a model that streams its answers
    _Status.INTERNAL: ServerFault,
    _Status.UNAVAILABLE: Unavailable,
    _Status.DATA_LOSS: ServerFault,
}

# Code, a part of its text, the class, and a hint if the class's own does not help. Only where
# one code stands for several causes that a caller must tell apart. The texts were seen from
# tritonserver 2.51 and gRPC 1.85.
BY_TEXT: Final[tuple[tuple[Any, str, type[ClientError], str], ...]] = (
    # Restricted protocols answer UNAVAILABLE; repeating a refused key would be wrong.
    (_Status.UNAVAILABLE, "This protocol is restricted", AccessRefused, ""),
    # The queue policy answers UNAVAILABLE too, though the server is well.
    (_Status.UNAVAILABLE, "Request timeout expired", Overloaded, ""),
    (_Status.UNAVAILABLE, "Exceeds maximum queue size", Overloaded, ""),
    # A version that was swapped out, or is still loading.
    (_Status.UNAVAILABLE, "is not at ready state", ModelNotFound, ""),
    # Nothing is loaded under this name, in the words of other releases.
    (_Status.UNAVAILABLE, "unknown model", ModelNotFound, ""),
    # No waiting will make a server without explicit mode load a model.
    (
        _Status.UNAVAILABLE,
        "explicit model load / unload is not allowed",
        InvalidRequest,
        "Start the server with --model-control-mode=explicit.",
    ),
    # What a stopping tritonserver sends; this client did not cancel ("Channel closed!").
    (_Status.CANCELLED, "CANCELLED", Unavailable, ""),
    # The statistics of a model or version that is not loaded.
    (_Status.INVALID_ARGUMENT, "requested model", ModelNotFound, ""),
    # A model that streams its answers, which is no fault of the protocol.
    (
        _Status.UNIMPLEMENTED,
        "decoupled transaction policy",
        InvalidRequest,
        "This client asks for exactly one answer; serve the model without `decoupled`.",
    ),
    # gRPC's core: the message limit of either side, which no waiting will change ...
    (
        _Status.RESOURCE_EXHAUSTED,
        "message larger than max",
        InvalidRequest,
        "Send smaller batches.",
    ),
    # ... protobuf's limit of 2 GiB, met before anything is sent ...
    (
        _Status.INTERNAL,
        "Exception serializing request",
        InvalidRequest,
        "Send smaller batches.",
    ),
    # ... and an error text over 16 KB, which stands for some failure of the model.
    (_Status.RESOURCE_EXHAUSTED, "metadata size", ServerFault, ""),
    # gRPC's core: the bytes that came back are no protobuf message of this kind.
    (_Status.INTERNAL, "Exception deserializing response", ProtocolError, ""),
)


def error_from_status(code: Any, call: Call) -> ClientError:
    """The exception for a `grpc.StatusCode` that ended a call; `call.message` holds its text."""
    for known_code, text, kind, hint in BY_TEXT:
        if code is known_code and text in call.message:
            return kind(call, hint=hint)
    return BY_CODE[code](call)
