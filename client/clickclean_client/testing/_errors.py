"""What is wrong with a test that uses the fake, and what an answer may raise."""

# `Refusal` is no mistake of anybody: it is an answer of the server.
# ruff: noqa: N818

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from clickclean_client._exceptions import ClickCleanError
from clickclean_client.protocol import grpc


class FakeServerError(ClickCleanError):
    """The fake is used in a way that makes no sense: a mistake of the test, not of the service."""

    exit_code = 2


class Refusal(Exception):
    """Raised by an answer: the call ends with this status, as if the server had refused it.

    `code` is the name of a gRPC status such as "RESOURCE_EXHAUSTED", or a `grpc.StatusCode`.

    Raises:
        FakeServerError: there is no such status, or it is OK.
    """

    def __init__(self, code: Any, text: str = "") -> None:
        super().__init__(text)
        self.code = status_code(code)
        self.text = text


def status_code(code: Any) -> Any:
    """The `grpc.StatusCode` of a name or a code.

    Raises:
        FakeServerError: there is none, or it is OK, which is no failure.
    """
    known = {member.name: member for member in grpc.StatusCode if member is not grpc.StatusCode.OK}
    found = known.get(code if isinstance(code, str) else getattr(code, "name", ""))
    if found is None:
        raise FakeServerError(
            f"{code!r} is no gRPC status that a call can fail with.", hint=nearest(code, known)
        )
    return found


def nearest(given: object, known: Iterable[str]) -> str:
    """A hint: the name that was probably meant, or all that there are."""
    names = sorted(known)
    close = difflib.get_close_matches(str(given), names, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"There are {', '.join(names)}."
