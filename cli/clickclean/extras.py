"""Which extra brings which library, read from the installed distribution's own metadata."""

import re
from importlib.metadata import PackageNotFoundError, requires

# Where the name to import is not the name to install.
_IMPORTED_AS = {"sklearn": "scikit-learn", "modelopt": "nvidia-modelopt"}


def missing_extra(module: str) -> str:
    """Return the pip line that installs ``module``, or ``""`` if no extra of ours brings it."""
    top = module.partition(".")[0]
    wanted = _IMPORTED_AS.get(top, top).replace("_", "-").lower()
    try:
        lines = requires("clickclean") or []
    except PackageNotFoundError:
        return ""
    for line in lines:
        name = re.split(r"[\s;<>=!\[~]", line, maxsplit=1)[0].lower()
        extra = re.search(r"""extra\s*==\s*['"](\w+)['"]""", line)
        if name == wanted and extra:
            return f"pip install 'clickclean[{extra[1]}]'"
    return ""
