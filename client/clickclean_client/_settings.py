"""How a client behaves: deadlines, retries, hedges, balancing, encryption. Frozen values."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from clickclean_client._budget import PROCESS, RetryBudget
from clickclean_client._exceptions import Call, InvalidRequest

LONGEST_TIMEOUT_S: Final = 86_400.0

_HEADER: Final = re.compile(r"[0-9a-z_.-]+")

COMPRESSIONS: Final = ("none", "gzip", "deflate")


@dataclass(frozen=True, slots=True)
class Timeout:
    """The time that one call may take, in seconds.

    `total_s` covers everything: finding the endpoint, connecting, reading the model's metadata,
    every retry and hedge. `attempt_s` bounds each single attempt; None leaves that to the client:
    an attempt that takes much longer than the model usually takes (see `Retry`) is given up for
    another endpoint, if there is one.

    Raises:
        InvalidRequest: a value is no number above 0, or more than a day.
    """

    total_s: float = 1.0
    attempt_s: float | None = None

    def __post_init__(self) -> None:
        _check_seconds("timeout_s", self.total_s, hint="Every call has a deadline; 1.0 is usual.")
        if self.attempt_s is not None:
            _check_seconds("attempt_s", self.attempt_s)

    @classmethod
    def of(cls, value: float | Timeout) -> Timeout:
        """The value itself, or the `Timeout` with this total."""
        return value if isinstance(value, Timeout) else cls(value)


@dataclass(frozen=True, slots=True)
class Retry:
    """When a call that failed is sent again. `retry=None` instead of it: never.

    Only failures that say that nothing was answered are repeated (see the table in
    docs/client.md), with at most `attempts` in all, at another endpoint where there is one, and
    at the same one after a pause: uniform between 0 and `backoff_s`, doubled with each retry
    ("full jitter", https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
    Every retry and hedge takes a token from `budget`; by default all clients of a process share
    one.

    With several endpoints, an attempt that has taken `patience` times as long as the slowest 1 %
    of late, and at least `patience_min_s`, is given up and repeated at another endpoint, and
    earlier if otherwise half of the deadline would be gone. It is not given up where the budget
    has no token, or the other endpoint would hardly answer in time. A patience of 0 switches that
    off.

    Raises:
        InvalidRequest: a value is out of range.
    """

    attempts: int = 3
    backoff_s: float = 0.1
    patience: float = 5.0
    patience_min_s: float = 0.05
    budget: RetryBudget = field(default=PROCESS, repr=False)

    def __post_init__(self) -> None:
        if not _is_int(self.attempts) or not 1 <= self.attempts <= 10:  # noqa: PLR2004
            raise _wrong("attempts", self.attempts, "a whole number from 1 to 10")
        _check_seconds("backoff_s", self.backoff_s)
        if not _is_number(self.patience) or not (self.patience == 0 or self.patience >= 1):
            raise _wrong("patience", self.patience, "0, or a number of at least 1")
        _check_seconds("patience_min_s", self.patience_min_s)
        if not isinstance(self.budget, RetryBudget):
            raise _wrong("budget", self.budget, "a RetryBudget")


@dataclass(frozen=True, slots=True)
class Hedge:
    """When a call that has no answer yet is sent to a second endpoint as well.

    After `after_s` seconds; None means the `quantile` of the answer times observed of late, once
    there are 30. The first answer counts and the other attempt is cancelled, so the model may
    run twice. See Dean and Barroso, "The Tail at Scale", CACM 2013.

    Raises:
        InvalidRequest: a value is out of range.
    """

    quantile: float = 0.95
    after_s: float | None = None

    def __post_init__(self) -> None:
        if not _is_number(self.quantile) or not 0.5 <= self.quantile < 1:  # noqa: PLR2004
            raise _wrong("quantile", self.quantile, "a number from 0.5 to below 1")
        if self.after_s is not None:
            _check_seconds("after_s", self.after_s)


@dataclass(frozen=True, slots=True)
class Balancing:
    """How many connections a client keeps, and for how long.

    Each address gets `connections`. A balancer that works on connections (L4) ties each of them
    to one server: give several there. A connection is replaced after about `reconnect_s`, without
    losing a call, so that a balancer can put it elsewhere; None keeps it for good. Addresses of a
    "dns:///" endpoint are looked up every `resolve_s`, while there are calls.

    Raises:
        InvalidRequest: a value is out of range.
    """

    connections: int = 1
    reconnect_s: float | None = 300.0
    resolve_s: float = 5.0

    def __post_init__(self) -> None:
        if not _is_int(self.connections) or not 1 <= self.connections <= 64:  # noqa: PLR2004
            raise _wrong("connections", self.connections, "a whole number from 1 to 64")
        if self.reconnect_s is not None:
            _check_seconds("reconnect_s", self.reconnect_s)
        _check_seconds("resolve_s", self.resolve_s)


@dataclass(frozen=True, slots=True)
class Tls:
    """Encryption. Each part is PEM: a path, or the bytes themselves.

    `ca` signs the server's certificate; None trusts what gRPC ships with. `certificate` and `key`
    identify this client (mTLS). `server_name` is expected in the server's certificate instead of
    the host that is called.

    Raises:
        InvalidRequest: a file cannot be read, is no PEM, or only one of certificate and key is
            given.
    """

    ca: Path | str | bytes | None = None
    certificate: Path | str | bytes | None = None
    key: Path | str | bytes | None = field(default=None, repr=False)
    server_name: str = ""

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise InvalidRequest(
                Call(),
                "a TLS certificate is given without its key, or a key without a certificate",
                hint="mTLS needs both; a server that does not ask for one needs neither.",
            )
        for name in ("ca", "certificate", "key"):
            object.__setattr__(self, name, _pem(name, getattr(self, name)))


def checked_compression(value: str) -> str:
    """One of `COMPRESSIONS`.

    Raises:
        InvalidRequest: it is something else.
    """
    if value not in COMPRESSIONS:
        raise _wrong("compression", value, "one of " + ", ".join(COMPRESSIONS))
    return value


def header_pairs(headers: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    """Headers as gRPC takes them, names in lower case.

    Raises:
        InvalidRequest: one cannot be sent.
    """
    return tuple(_checked_header(key, value) for key, value in (headers or {}).items())


def _pem(name: str, value: Path | str | bytes | None) -> bytes | None:
    if value is None:
        return None
    place = f"the TLS {name}"
    if isinstance(value, Path | str):
        place = f"{place} in {value}"
        try:
            value = Path(value).read_bytes()
        except OSError as exc:
            raise InvalidRequest(
                Call(), f"{place} cannot be read ({exc.strerror})", hint="Give a PEM file."
            ) from exc
    if not isinstance(value, bytes) or b"-----BEGIN " not in value:
        raise InvalidRequest(Call(), f"{place} is no PEM", hint="It begins with '-----BEGIN'.")
    return value


def _checked_header(key: str, value: str) -> tuple[str, str]:
    name = key.lower() if isinstance(key, str) else ""
    ok = _HEADER.fullmatch(name) and not name.endswith("-bin") and not name.startswith("grpc-")
    if ok and isinstance(value, str) and value.isascii() and value.isprintable():
        return name, value
    # The value may be a secret, so it is not shown.
    raise InvalidRequest(
        Call(),
        f"the header {key!r} cannot be sent",
        hint="A name is of a-z 0-9 _ . -, a value of printable ASCII.",
    )


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    # bool is an int for Python, but timeout_s=True is a mistake.
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _check_seconds(name: str, value: Any, *, hint: str = "") -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InvalidRequest(
            Call(), f"{name} must be a number of seconds, not {value!r}", hint=hint
        )
    if math.isnan(value) or not 0 < value <= LONGEST_TIMEOUT_S:
        problem = f"{name} must be above 0 and at most {LONGEST_TIMEOUT_S:g} s, not {value!r}"
        raise InvalidRequest(Call(), problem, hint=hint)


def _wrong(name: str, value: object, wanted: str) -> InvalidRequest:
    return InvalidRequest(Call(), f"{name} is {value!r}", hint=f"Give {wanted}.")
