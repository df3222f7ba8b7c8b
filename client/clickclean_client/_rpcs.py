"""The remote procedures of the v2 protocol that this client calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from clickclean_client._exceptions import Call, ProtocolError
from clickclean_client._wire import read_response
from clickclean_client.protocol import DecodeError, service_pb2

_SERVICE: Final = "/inference.GRPCInferenceService/"


class Rpc(NamedTuple):
    """Where it is called, and how its answer is read. `read` raises ProtocolError."""

    path: str
    read: Callable[[bytes, Call], Any]


def _reader(kind: Any) -> Callable[[bytes, Call], Any]:
    def read(data: bytes, call: Call) -> Any:
        try:
            return kind.FromString(data)
        except DecodeError as exc:
            raise ProtocolError(call, f"it is no {kind.DESCRIPTOR.name}") from exc

    return read


INFER: Final = "ModelInfer"
STREAM: Final = "ModelStreamInfer"

RPCS: Final[dict[str, Rpc]] = {
    INFER: Rpc(_SERVICE + INFER, read_response),
    **{
        name: Rpc(_SERVICE + name, _reader(getattr(service_pb2, f"{name}Response")))
        for name in (
            STREAM,
            "ModelConfig",
            "ModelMetadata",
            "ModelReady",
            "ModelStatistics",
            "RepositoryIndex",
            "RepositoryModelLoad",
            "RepositoryModelUnload",
            "ServerLive",
            "ServerReady",
            "SystemSharedMemoryRegister",
            "SystemSharedMemoryUnregister",
        )
    },
}
