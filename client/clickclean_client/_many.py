"""What `infer_many` of both clients shares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clickclean_client._exceptions import Call, InvalidRequest

_MOST = 1024


def checked_concurrency(value: int, settings: Mapping[str, Any]) -> int:
    """How many calls may be under way at once, all of them with the same settings.

    Raises:
        InvalidRequest: it is not from 1 to 1024, or all of them would write to the same arrays.
    """
    if isinstance(settings.get("outputs"), Mapping):
        raise InvalidRequest(
            Call(),
            "the outputs of several calls are given the same arrays",
            hint="Name them, outputs=[...], or call infer for each with arrays of its own.",
        )
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST:
        raise InvalidRequest(
            Call(), f"concurrency is {value!r}", hint=f"Give a whole number from 1 to {_MOST}."
        )
    return value
