"""A fake Triton over real sockets, for the tests of a service that calls models.

    from clickclean_client.testing import FakeServer

    with FakeServer() as server:
        server.serve("digits", inputs={"image": ("FP32", [-1, 1, 8, 8])},
                     outputs={"logits": ("FP32", [-1, 10])})
        check_my_service(server.endpoint)

It is a fake: it runs no model. It speaks Triton's gRPC protocol, and fails on demand in the ways
that a real server fails in rarely, late or never. `pytest_plugin` has it as a fixture, and
`python -m clickclean_client.testing` is one in a process of its own.

Importing this package loads neither numpy nor gRPC nor pytest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clickclean_client.testing._errors import FakeServerError, Refusal
    from clickclean_client.testing._model import FakeModel
    from clickclean_client.testing._server import FakeServer
    from clickclean_client.testing._switches import Block
    from clickclean_client.testing._tls import FakeTls

__all__ = ["Block", "FakeModel", "FakeServer", "FakeServerError", "FakeTls", "Refusal"]

_HOMES = {
    "Block": "_switches",
    "FakeModel": "_model",
    "FakeServer": "_server",
    "FakeServerError": "_errors",
    "FakeTls": "_tls",
    "Refusal": "_errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
