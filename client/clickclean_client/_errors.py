"""The one map from a gRPC status to an exception class and to whether the call is sent again.

It is total: a test walks every code.
"""

from __future__ import annotations

import enum
from typing import Any, Final, NamedTuple

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


class Repeat(enum.Enum):
    """Whether a call that failed may be sent again, inside its deadline and the retry budget."""

    NEVER = "never"
    ELSEWHERE = "elsewhere"
    """At another endpoint only: this one would say the same again."""
    ONCE = "once"
    """At one other endpoint, and then no more: it may be the request that kills."""
    ANYWHERE = "anywhere"
    """At another endpoint, or at the same one after a pause."""


REPEAT: Final[dict[type[ClientError], Repeat]] = {
    InvalidRequest: Repeat.NEVER,
    ModelNotFound: Repeat.ELSEWHERE,  # a stopping server says so, and one behind in a release
    DeadlineExceeded: Repeat.NEVER,  # of the call; an attempt that was cut short is repeated
    Cancelled: Repeat.NEVER,
    Unavailable: Repeat.ANYWHERE,
    Overloaded: Repeat.ELSEWHERE,
    AccessRefused: Repeat.NEVER,
    ServerFault: Repeat.NEVER,  # the next server's model would fail over the same input
    ProtocolError: Repeat.NEVER,
}


UNKNOWN_REGION: Final = "Unable to find shared memory region"


class Words(NamedTuple):
    """A code that stands for several causes, and the words by which to tell this one."""

    code: Any
    part: str
    kind: type[ClientError]
    hint: str = ""
    repeat: Repeat | None = None


# Code, a part of its text, the class, and a hint if the class's own does not help. Only where
# one code stands for several causes that a caller must tell apart. The texts were seen from
# tritonserver 2.51 and gRPC 1.85.
BY_TEXT: Final[tuple[Words, ...]] = (
    # Restricted protocols answer UNAVAILABLE; repeating a refused key would be wrong.
    Words(_Status.UNAVAILABLE, "This protocol is restricted", AccessRefused),
    # The queue policy answers UNAVAILABLE too, though the server is well.
    Words(_Status.UNAVAILABLE, "Request timeout expired", Overloaded),
    Words(_Status.UNAVAILABLE, "Exceeds maximum queue size", Overloaded),
    # A version that was swapped out, or is still loading.
    Words(_Status.UNAVAILABLE, "is not at ready state", ModelNotFound),
    # Nothing is loaded under this name, in the words of other releases.
    Words(_Status.UNAVAILABLE, "unknown model", ModelNotFound),
    # No waiting will make a server without explicit mode load a model.
    Words(
        _Status.UNAVAILABLE,
        "explicit model load / unload is not allowed",
        InvalidRequest,
        "Start the server with --model-control-mode=explicit.",
    ),
    # What a stopping tritonserver sends; this client did not cancel ("Channel closed!").
    Words(_Status.CANCELLED, "CANCELLED", Unavailable),
    # A server, or a proxy, that resets the stream; this client did not cancel.
    Words(_Status.CANCELLED, "RST_STREAM", Unavailable),
    # HTTP's "too many requests", from a proxy.
    Words(_Status.UNAVAILABLE, "status: 429", Overloaded),
    # Triton says so of a model whose files are wrong; the load call was right.
    Words(_Status.INVALID_ARGUMENT, "load failed for model", ServerFault),
    # MLServer, of a model that it does not have.
    Words(_Status.UNKNOWN, "mlserver.errors.ModelNotFound", ModelNotFound),
    # The statistics of a model or version that is not loaded.
    Words(_Status.INVALID_ARGUMENT, "requested model", ModelNotFound),
    # A model that streams its answers, which is no fault of the protocol.
    Words(
        _Status.UNIMPLEMENTED,
        "decoupled transaction policy",
        InvalidRequest,
        "This model may answer several times: call stream(...) instead of infer(...).",
    ),
    # gRPC's core on connections with TLS that did not come about ...
    Words(
        _Status.UNAVAILABLE,
        "WRONG_VERSION_NUMBER",
        Unavailable,
        "What listens there speaks no TLS: leave tls out, or give the port that does.",
    ),
    Words(
        _Status.UNAVAILABLE,
        "CERTIFICATE_VERIFY_FAILED",
        Unavailable,
        "The server's certificate is not signed by the one in Tls(ca=...), or has expired.",
    ),
    Words(
        _Status.UNAVAILABLE,
        "Hostname Verification Check failed",
        Unavailable,
        "The server's certificate is for another name: give it as Tls(server_name=...).",
    ),
    # ... or were closed by a server that wanted it; a server that dies says the same ...
    Words(
        _Status.UNAVAILABLE,
        "Socket closed",
        Unavailable,
        "The server closed the connection. If it always does, it may want encryption "
        "(tls=Tls(...)), or a certificate of this client (mTLS).",
    ),
    # ... the message limit of either side, which no waiting will change ...
    Words(
        _Status.RESOURCE_EXHAUSTED,
        "message larger than max",
        InvalidRequest,
        "Send smaller batches.",
    ),
    # ... an error text over 16 KB, which stands for some failure of the model ...
    Words(_Status.RESOURCE_EXHAUSTED, "Stream removed (received metadata size", ServerFault),
    # ... and headers over 8 or 16 KB, which the server refused.
    Words(
        _Status.RESOURCE_EXHAUSTED,
        "received metadata size",
        InvalidRequest,
        "Send fewer or shorter headers.",
    ),
    # It was restarted, or is another one than that which the memory was registered with.
    Words(
        _Status.NOT_FOUND,
        UNKNOWN_REGION,
        InvalidRequest,
        "A server forgets shared memory at a restart, and the client then registers it again; one "
        "of several servers behind one address cannot be told. Give each its own address.",
    ),
    # The output's size was not known before.
    Words(
        _Status.INTERNAL,
        "bytes to hold the results",
        InvalidRequest,
        "Give the output a larger array of the shared memory.",
    ),
    # The process of a Python-based model has died. New requests get this, and so does the one that
    # it died over: that one must not go from server to server.
    Words(_Status.INTERNAL, "is not healthy", ServerFault, "", Repeat.ONCE),
)


class Rule(NamedTuple):
    """What a status means: the error, a hint if its class has none, and whether to repeat."""

    kind: type[ClientError]
    hint: str
    repeat: Repeat


def rule_of(code: Any, text: str) -> Rule:
    """The rule for a `grpc.StatusCode` that ended a call with this text; there is one for each."""
    for words in BY_TEXT:
        if code is words.code and words.part in text:
            repeat = REPEAT[words.kind] if words.repeat is None else words.repeat
            return Rule(words.kind, words.hint, repeat)
    kind = BY_CODE[code]
    return Rule(kind, "", REPEAT[kind])


def region_is_unknown(error: ClientError) -> bool:
    """Whether a server does not know the shared memory that a request refers to.

    In a stream the text comes without a status.
    """
    return error.code in ("NOT_FOUND", "") and UNKNOWN_REGION in error.server_message


def error_from_status(code: Any, call: Call) -> ClientError:
    """The exception for a `grpc.StatusCode` that ended a call; `call.message` holds its text."""
    rule = rule_of(code, call.message)
    return rule.kind(call, hint=rule.hint)


def error_from_text(call: Call) -> ClientError:
    """The exception for an error without a status, in a stream; `call.message` holds its text."""
    for words in BY_TEXT:
        if words.part in call.message:
            return words.kind(call, hint=words.hint)
    return ServerFault(call)
