"""Durations as people write them."""

import re

from clickclean_loadtest.errors import BadDurationError

_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(?P<number>\d{1,9}(?:\.\d{1,9})?)\s*(?P<unit>ms|s|m|h)")


def parse_duration(text: str) -> float:
    """Seconds in a text such as `500ms`, `20s`, `1.5m` or `1h`.

    A number without a unit is refused: a load test of 20 ms where 20 s was meant says nothing.

    Raises:
        BadDurationError: the text is anything else.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise BadDurationError(text)
    return float(match["number"]) * _UNIT_S[match["unit"]]
