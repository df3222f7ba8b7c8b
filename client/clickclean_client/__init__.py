"""The thin gRPC client of Click Clean: what a service installs to call a model.

    from clickclean_client import Client

    with Client("127.0.0.1:8001") as client:
        logits = client.infer("digits", image=batch)["logits"]

Importing this package loads neither numpy nor gRPC: each name is loaded at its first use, so
that a program may first patch the interpreter (gevent, locust).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clickclean_client._async_client import AsyncClient
    from clickclean_client._budget import RetryBudget
    from clickclean_client._client import Client
    from clickclean_client._exceptions import (
        AccessRefused,
        Cancelled,
        ClickCleanError,
        ClientError,
        DeadlineExceeded,
        ExperimentError,
        GoldenError,
        HookError,
        HookLibraryMissing,
        InvalidRequest,
        ModelConfigError,
        ModelNotFound,
        Overloaded,
        ParquetMissing,
        ProtocolError,
        SchemaError,
        ServerFault,
        Unavailable,
    )
    from clickclean_client._golden_check import GoldenCheck
    from clickclean_client._observe import (
        AttemptRecord,
        CallEnd,
        CallStart,
        Hook,
    )
    from clickclean_client._result import Classification, InferResult
    from clickclean_client._schema import load_schema
    from clickclean_client._settings import Balancing, Hedge, Retry, Timeout, Tls
    from clickclean_client._shared_memory import SharedMemory
    from clickclean_client._types import Axis, ModelMetadata, TensorSpec
    from clickclean_client.admin import Admin, Duration, ModelState, ModelStatistics
    from clickclean_client.experiments.log import ExperimentLog
    from clickclean_client.experiments.mirror import ShadowCounts
    from clickclean_client.experiments.split import Split
    from clickclean_client.golden import Golden

__all__ = [
    "AccessRefused",
    "Admin",
    "AsyncClient",
    "AttemptRecord",
    "Axis",
    "Balancing",
    "CallEnd",
    "CallStart",
    "Cancelled",
    "Classification",
    "ClickCleanError",
    "Client",
    "ClientError",
    "DeadlineExceeded",
    "Duration",
    "ExperimentError",
    "ExperimentLog",
    "Golden",
    "GoldenCheck",
    "GoldenError",
    "Hedge",
    "Hook",
    "HookError",
    "HookLibraryMissing",
    "InferResult",
    "InvalidRequest",
    "ModelConfigError",
    "ModelMetadata",
    "ModelNotFound",
    "ModelState",
    "ModelStatistics",
    "Overloaded",
    "ParquetMissing",
    "ProtocolError",
    "Retry",
    "RetryBudget",
    "SchemaError",
    "ServerFault",
    "ShadowCounts",
    "SharedMemory",
    "Split",
    "TensorSpec",
    "Timeout",
    "Tls",
    "Unavailable",
    "load_schema",
]

_HOMES = {
    "Admin": "admin",
    "AsyncClient": "_async_client",
    "AttemptRecord": "_observe",
    "Axis": "_types",
    "Balancing": "_settings",
    "CallEnd": "_observe",
    "CallStart": "_observe",
    "Classification": "_result",
    "Client": "_client",
    "Duration": "admin",
    "ExperimentLog": "experiments.log",
    "Golden": "golden",
    "GoldenCheck": "_golden_check",
    "Hedge": "_settings",
    "Hook": "_observe",
    "InferResult": "_result",
    "ModelMetadata": "_types",
    "ModelState": "admin",
    "ModelStatistics": "admin",
    "Retry": "_settings",
    "RetryBudget": "_budget",
    "ShadowCounts": "experiments.mirror",
    "SharedMemory": "_shared_memory",
    "Split": "experiments.split",
    "TensorSpec": "_types",
    "Timeout": "_settings",
    "Tls": "_settings",
    "load_schema": "_schema",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_HOMES.get(name, '_exceptions')}")
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
