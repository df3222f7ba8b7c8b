"""The split of an experiment, as the challenger's configuration carries it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

from clickclean_client._exceptions import ExperimentError
from clickclean_client.experiments.assignment import buckets_below
from clickclean_client.slots import SPLIT


@dataclass(frozen=True, slots=True)
class Split:
    """Who is sent to the challenger; the value of the parameter `CLICKCLEAN_SPLIT`.

    `percent` is the share of keys that the challenger answers, `shadow_percent` the share of the
    other requests that are mirrored to it; both 0..100 with at most 3 decimals. `champion` and
    `challenger` are versions.

    Raises:
        ExperimentError: a field is empty, no number, or outside its range.
    """

    experiment: str
    salt: str
    percent: float
    champion: int
    challenger: int
    shadow_percent: float = 0.0

    def __post_init__(self) -> None:
        for name in ("experiment", "salt"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value:
                raise _malformed(f"{name} must be a text, not {value!r}")
        for name in ("percent", "shadow_percent"):
            value = getattr(self, name)
            buckets = buckets_below(value)
            # More decimals would be rounded, and not by every language in the same way.
            if not math.isclose(value * 1000, buckets, rel_tol=0, abs_tol=1e-6):
                raise _malformed(f"{name} may have 3 decimals, not {value!r}")
        for name in ("champion", "challenger"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise _malformed(f"{name} must be a version, not {value!r}")

    @classmethod
    def from_json(cls, text: str) -> Split:
        """Read the parameter's value; keys that are not known are left alone.

        Raises:
            ExperimentError: it is no JSON object, or a field is missing or malformed.
        """
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as exc:
            raise _malformed(f"it is no JSON ({exc})") from exc
        if not isinstance(found, dict):
            raise _malformed("it is no JSON object")
        known = {name: found[name] for name in cls.__dataclass_fields__ if name in found}
        try:
            return cls(**known)
        except TypeError as exc:
            missing = sorted(set(cls.__dataclass_fields__) - {"shadow_percent"} - set(known))
            raise _malformed(f"it lacks {', '.join(missing)}") from exc

    @classmethod
    def from_config(cls, config: Any) -> Split | None:
        """The split in a `model_config_pb2.ModelConfig`; None when it has none.

        Raises:
            ExperimentError: as `from_json` does.
        """
        if SPLIT not in config.parameters:
            return None
        return cls.from_json(config.parameters[SPLIT].string_value)

    def to_json(self) -> str:
        """The parameter's value, which `from_json` reads."""
        return json.dumps(asdict(self), sort_keys=True)


def _malformed(problem: str) -> ExperimentError:
    return ExperimentError(
        f"The split of an experiment cannot be used: {problem}.",
        hint=f"It is the parameter {SPLIT} of the challenger's configuration.",
    )
