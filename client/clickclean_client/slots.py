"""Names under which one model stands several times in a server, and where its route is written.

Calls that name no version go to the highest version that Triton has loaded under a name, so what
must not get them stands under a name of its own. `digits` holds the promoted version and nothing
else. `digits.v3` is version 3 alone: how it is proven before it is promoted, and where calls that
name it find it while it leaves. `digits.challenger` is the challenger of an experiment; the
parameters of its configuration say who is sent there.
"""

from __future__ import annotations

import re
from typing import Final

FINGERPRINT: Final = "CLICKCLEAN_FINGERPRINT"
"""Parameter of a served configuration: the SHA-256 of the version's `manifest.json`, in hex."""

SPLIT: Final = "CLICKCLEAN_SPLIT"
"""Parameter of a challenger's configuration: who is sent there, a JSON object."""

AXES: Final = "CLICKCLEAN_AXES"
"""Parameter of a served configuration: names of axes and their ranges, a JSON object; see
`_axes.py`."""

_CHALLENGER: Final = ".challenger"
_SLOT: Final = re.compile(r"(?P<model>.+)\.(?:v(?P<version>[1-9][0-9]*)|challenger)")


def alone(model: str, version: int | str) -> str:
    """The name of one version by itself."""
    return f"{model}.v{version}"


def challenger(model: str) -> str:
    """The name of the challenger beside a model."""
    return f"{model}{_CHALLENGER}"


def owner(name: str) -> str:
    """The model that a slot belongs to; "" when the name is that of a model."""
    match = _SLOT.fullmatch(name)
    return match["model"] if match else ""
