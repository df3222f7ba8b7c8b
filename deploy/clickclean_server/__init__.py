"""Runs the real tritonserver on this machine, supervised, for development and CI.

    from clickclean_server import serving

    with serving(Path("model_repository")) as endpoint:
        Client(endpoint.grpc).infer(...)

Everything is loaded at its first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clickclean_server.background import serving
    from clickclean_server.endpoint import Endpoint
    from clickclean_server.errors import (
        ConfigBrokenError,
        NothingPromotedError,
        PlatformError,
        PortInUseError,
        PortInvalidError,
        RepositoryError,
        ServerError,
        ServerLostError,
        StartTimeoutError,
        UnknownModelError,
        VersionBrokenError,
    )
    from clickclean_server.foreground import serve, shell_command

__all__ = [
    "ConfigBrokenError",
    "Endpoint",
    "NothingPromotedError",
    "PlatformError",
    "PortInUseError",
    "PortInvalidError",
    "RepositoryError",
    "ServerError",
    "ServerLostError",
    "StartTimeoutError",
    "UnknownModelError",
    "VersionBrokenError",
    "serve",
    "serving",
    "shell_command",
]

_HOMES = {
    "Endpoint": "endpoint",
    "serve": "foreground",
    "serving": "background",
    "shell_command": "foreground",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_HOMES.get(name, 'errors')}")
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
