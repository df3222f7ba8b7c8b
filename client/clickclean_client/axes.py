"""Names and ranges of axes, as a served configuration carries them in `CLICKCLEAN_AXES`.

Triton's metadata say sizes alone. Publishing writes what the recipe knows beside them:

    {"tensors": {"image": ["batch", 3, "height", "width"]}, "ranges": {"height": [32, 512]}}

Every tensor has one entry for each axis: a number for a fixed one, a name for a free one. A range
is the smallest and the largest size, null for what is not known; the batch has none, because
`max_batch_size` is its limit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clickclean_client._types import BATCH, Axis

Range = tuple[int | None, int | None]


@dataclass(frozen=True, slots=True)
class NamedAxes:
    """The value of the parameter: entries by tensor, and ranges (smallest, largest) by axis."""

    tensors: Mapping[str, tuple[int | str, ...]]
    ranges: Mapping[str, Range]

    def to_json(self) -> str:
        """The parameter's value, which `from_json` reads."""
        value = {"tensors": dict(self.tensors), "ranges": dict(self.ranges)}
        return json.dumps(value, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> NamedAxes:
        """Read the parameter's value; keys that are not known are left alone.

        Raises:
            ValueError: it is not as the module's text says.
        """
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as exc:
            raise ValueError(f"it is no JSON ({exc})") from exc
        tensors = _table(found, "tensors")
        return cls(
            {name: _entries(name, entries) for name, entries in tensors.items()},
            {axis: _range(axis, ends) for axis, ends in _table(found, "ranges").items()},
        )

    def of(self, tensor: str, shape: tuple[int, ...]) -> tuple[Axis, ...]:
        """The axes of one tensor with the shape that the server says; () when it is not named.

        Raises:
            ValueError: they contradict the shape.
        """
        entries = self.tensors.get(tensor)
        if entries is None:
            return ()
        if tuple(-1 if isinstance(entry, str) else entry for entry in entries) != shape:
            raise ValueError(
                f"{tensor!r} has the axes {list(entries)}, and the shape {list(shape)}"
            )
        return tuple(
            Axis(entry, -1, *self.ranges.get(entry, (None, None)))
            if isinstance(entry, str)
            else Axis(Axis.unnamed(place), entry)
            for place, entry in enumerate(entries)
        )


def _table(found: Any, key: str) -> dict[str, Any]:
    table = found.get(key, {}) if isinstance(found, dict) else None
    if not isinstance(table, dict):
        raise ValueError(f"{key!r} is no JSON object")
    return table


def _entries(tensor: str, entries: Any) -> tuple[int | str, ...]:
    fine = isinstance(entries, list) and all(_is_size(e) or _is_name(e) for e in entries)
    if not fine:
        raise ValueError(f"the axes of {tensor!r} are no list of sizes and names")
    return tuple(entries)


def _range(axis: str, ends: Any) -> Range:
    fine = isinstance(ends, list) and len(ends) == 2 and axis != BATCH  # noqa: PLR2004
    if not fine or not all(end is None or _is_size(end) for end in ends):
        raise ValueError(f"the range of {axis!r} is no pair of sizes")
    low, high = ends
    if low is not None and high is not None and low > high:
        raise ValueError(f"the range of {axis!r} is empty")
    return low, high


def _is_size(entry: Any) -> bool:
    return isinstance(entry, int) and not isinstance(entry, bool) and entry >= 0


def _is_name(entry: Any) -> bool:
    return isinstance(entry, str) and bool(entry) and Axis(entry).named
