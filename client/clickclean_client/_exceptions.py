"""The exceptions of the client, and the root for all packages of Click Clean.

ClickCleanError
├── ClientError            a call failed, or was refused before it was sent
│   ├── InvalidRequest     names, dtypes, shapes or settings are wrong; nothing was computed
│   ├── ModelNotFound      this model or version is not served (now)
│   ├── DeadlineExceeded   no answer within timeout_s
│   ├── Cancelled          the call was given up, for instance because the client was closed
│   ├── Unavailable        no connection, or the server is stopping
│   ├── Overloaded         refused by the queue policy, or by a limit in front of the server
│   ├── AccessRefused      the server wants a key, or another one
│   ├── ServerFault        the server or its model failed
│   └── ProtocolError      an answer that does not fit the protocol or the model's description
├── ExperimentError        a key, a split, an outcome or the setting of a log is malformed
│   └── ParquetMissing     pyarrow, which writes the log, is not installed or does not load
├── SchemaError            a file with a model's schema is missing or malformed
├── HookError              a hook cannot be made, or cannot be used, as it was asked for
│   └── HookLibraryMissing the library that it writes to is not installed
├── GoldenError            a golden file is missing, damaged or inconsistent
└── ModelConfigError       the text of a config.pbtxt is no model configuration
"""

# The names say what happened, as those of httpx do; the tree says that they are errors.
# ruff: noqa: N818

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple, TypeVar

_LONGEST_QUOTE = 400
# What gRPC and Triton write where the status itself says all.
_EMPTY_WORDS = (
    "Deadline Exceeded",
    "CANCELLED",
    "Channel closed!",
    "Stream removed (Deadline Exceeded)",
)


class ClickCleanError(Exception):
    """Root of every error that Click Clean raises on purpose: one sentence and a hint.

    `str(error)` is the sentence, `error.hint` one line that says what can be done ("" if
    nothing can). Errors survive `pickle`, so they cross process pools unchanged.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, sentence: str, *, hint: str = "") -> None:
        super().__init__(sentence)
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would call the constructor with the sentence, but constructors take facts.
        return _restore, (type(self), self.args, self.__dict__)


_Error = TypeVar("_Error", bound=ClickCleanError)


def _restore(kind: type[_Error], args: tuple[Any, ...], state: dict[str, Any]) -> _Error:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class Call(NamedTuple):
    """The facts about one call that an error is made from.

    `version` is what the caller asked for ("" = the promoted one). `code` is the name of the
    gRPC status and `message` its text, both "" where the server was not asked. `attempts` counts
    the requests that were sent, those for metadata too.
    """

    endpoint: str = ""
    model: str = ""
    version: str = ""
    elapsed_s: float = 0.0
    timeout_s: float = 0.0
    code: str = ""
    message: str = ""
    attempts: int = 0

    @property
    def subject(self) -> str:
        """The callee in words, to begin a sentence with."""
        if not self.model:
            return f"The server at {self.endpoint}" if self.endpoint else "The client"
        version = f" version {self.version}" if self.version else ""
        place = f" at {self.endpoint}" if self.endpoint else ""
        return f"Model {self.model!r}{version}{place}"

    @property
    def quote(self) -> str:
        """The server's words on one line, shortened; "" if they say nothing new."""
        text = " ".join(self.message.split()).removeprefix("[request id: <id_unknown>] ")
        if text in _EMPTY_WORDS:
            return ""
        return text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "…"


class ClientError(ClickCleanError):
    """A call failed, or was refused before it was sent.

    Attributes: `endpoint` (the one that was asked last, or all that could have been), `model`,
    `version` (as asked for, "" = the promoted one), `elapsed_s` (from the beginning of the caller's
    call), `attempts` (requests that were sent for it, those for metadata too), `code` (name of the
    gRPC status, "" if the error arose in the client) and `server_message` (the status text,
    unshortened).
    """

    _says: ClassVar[str] = "failed"
    _advises: ClassVar[str] = ""

    def __init__(self, call: Call, problem: str = "", *, hint: str = "") -> None:
        reason = problem or call.quote
        sentence = f"{call.subject} {self._says.format(call=call)}"
        super().__init__(
            f"{sentence}: {reason.rstrip('.')}." if reason else f"{sentence}.",
            hint=hint or self._advises.format(call=call),
        )
        self.endpoint = call.endpoint
        self.model = call.model
        self.version = call.version
        self.elapsed_s = call.elapsed_s
        self.attempts = call.attempts
        self.code = call.code
        self.server_message = call.message


class InvalidRequest(ClientError):
    """Names, dtypes, shapes or settings are wrong; the model did not run."""

    exit_code = 2
    _says = "cannot be called like this"
    _advises = "Client.metadata(model) tells names, dtypes and shapes of the inputs."


class ModelNotFound(ClientError):
    """This model or version is not served, or not yet, or not any more."""

    _says = "is not served"
    _advises = "Check name and version; a published version serves only after it is promoted."


class DeadlineExceeded(ClientError):
    """No answer came within `timeout_s`; the model may or may not have run."""

    _says = "gave no answer within {call.timeout_s:g} s"
    _advises = (
        "Raise timeout_s, or find out whether the server is overloaded "
        "and whether {call.endpoint} is reachable."
    )


class Cancelled(ClientError):
    """The call was given up before its answer came."""

    _says = "was not waited for: the call was cancelled after {call.elapsed_s:.3g} s"
    _advises = "Was the client closed while this call was under way?"


class Unavailable(ClientError):
    """There is no connection, it broke, or the server is stopping."""

    _says = "cannot be reached"
    _advises = (
        "Is a Triton server listening for gRPC on {call.endpoint}? "
        "Its usual port is 8001; 8000 is HTTP and 8002 serves metrics."
    )


class Overloaded(ClientError):
    """The request was refused unserved: it waited too long in the queue, or the queue is full."""

    _says = "has more work than it can take"
    _advises = "Send fewer requests at once or add capacity; repeating at once makes it worse."


class AccessRefused(ClientError):
    """The server wants a key or credentials that the call did not carry."""

    _says = "refuses access"
    _advises = "Give the server's key: Admin(endpoint, key=...), or headers=... of Client."


class ServerFault(ClientError):
    """The server or its model failed while it worked on the call."""

    _says = "failed while answering"
    _advises = "The cause stands in the log of the server at {call.endpoint}."


class ProtocolError(ClientError):
    """An answer that does not fit the protocol, or the model's own description."""

    _says = "gave an answer that cannot be used"
    _advises = "Is {call.endpoint} a Triton server, and does the model return what it declares?"


class ExperimentError(ClickCleanError):
    """A key, a split, an outcome or the setting of a log is malformed."""

    exit_code = 2


class ParquetMissing(ExperimentError):
    """pyarrow, which writes the log of an experiment, is not installed or does not load."""

    exit_code = 4

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The log of an experiment cannot be opened without pyarrow: {reason.rstrip('.')}.",
            hint="pip install 'clickclean[experiments]'",
        )


class GoldenError(ClickCleanError):
    """A golden file is missing, damaged or inconsistent."""

    def __init__(self, problem: str, *, source: str = "", hint: str = "") -> None:
        place = f" {source}" if source else ""
        super().__init__(
            f"The golden data{place} cannot be used: {problem}.",
            hint=hint or "Publish the version again; golden.npz is written by publishing.",
        )
        self.source = source


class SchemaError(ClickCleanError):
    """A file with a model's schema is missing or malformed; `source` is its path, or ""."""

    exit_code = 2

    def __init__(self, problem: str, *, source: str = "", hint: str = "") -> None:
        subject = f"The schema {source}" if source else "The schema"
        super().__init__(
            f"{subject} cannot be used: {problem.rstrip('.')}.",
            hint=hint or "`clickclean schema MODEL -o FILE` writes one from what a server says.",
        )
        self.source = source


class HookError(ClickCleanError):
    """A hook cannot be made, or cannot be used, as it was asked for."""

    exit_code = 2


class HookLibraryMissing(HookError):
    """The library that a hook writes to is not installed or does not load."""

    exit_code = 4

    def __init__(self, hook: str, library: str, extra: str, reason: str) -> None:
        super().__init__(
            f"{hook} cannot be used without {library}: {reason.rstrip('.')}.",
            hint=f"pip install 'clickclean[{extra}]'",
        )


class ModelConfigError(ClickCleanError):
    """The text of a `config.pbtxt` is no model configuration."""

    exit_code = 2

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"This is no Triton model configuration: {' '.join(problem.split())}.",
            hint="See model_config.proto of Triton for the fields that exist.",
        )
