"""What `infer_many` of both clients shares."""

from __future__ import annotations

from clickclean_client._exceptions import Call, InvalidRequest

_MOST = 1024


def checked_concurrency(value: int) -> int:
    """How many calls may be under way at once.

    Raises:
        InvalidRequest: it is not from 1 to 1024.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST:
        raise InvalidRequest(
            Call(), f"concurrency is {value!r}", hint=f"Give a whole number from 1 to {_MOST}."
        )
    return value
