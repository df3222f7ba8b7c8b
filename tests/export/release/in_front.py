"""Stands in front of a real server and passes every call on, except those that a test refuses."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from clickclean_client.protocol import grpc, service_pb2

Refusal = Callable[[str, Any], bool]
_REQUESTS = {
    "RepositoryModelLoad": service_pb2.RepositoryModelLoadRequest,
    "RepositoryModelUnload": service_pb2.RepositoryModelUnloadRequest,
    "RepositoryIndex": service_pb2.RepositoryIndexRequest,
    "ModelInfer": service_pb2.ModelInferRequest,
    "ModelStatistics": service_pb2.ModelStatisticsRequest,
}


class InFront(grpc.GenericRpcHandler):  # type: ignore[misc]
    """``refuses(rpc, request)`` decides; a refused call never reaches the server."""

    def __init__(self, target: str) -> None:
        self.refuses: Refusal = lambda _rpc, _request: False
        self.code = grpc.StatusCode.INTERNAL
        self.seen: list[tuple[str, str]] = []
        self._channel = grpc.insecure_channel(
            target, options=[("grpc.use_local_subchannel_pool", 1)]
        )
        self._lock = threading.Lock()

    def service(self, handler_call_details: Any) -> Any:
        method = handler_call_details.method
        metadata = handler_call_details.invocation_metadata
        return grpc.unary_unary_rpc_method_handler(
            lambda raw, context: self._pass(method, metadata, raw, context)
        )

    def _pass(self, method: str, metadata: Any, raw: bytes, context: Any) -> bytes:
        rpc = method.rpartition("/")[2]
        kind = _REQUESTS.get(rpc)
        if kind is not None:
            request = kind.FromString(raw)
            with self._lock:
                self.seen.append((rpc, getattr(request, "model_name", "")))
            if self.refuses(rpc, request):
                context.abort(self.code, "refused by the test")
        ours = [(key, value) for key, value in metadata if key.startswith("triton-")]
        try:
            call = self._channel.unary_unary(method)
            answer: bytes = call(raw, timeout=context.time_remaining(), metadata=ours)
        except grpc.RpcError as error:
            context.abort(error.code(), error.details())
        return answer

    def close(self) -> None:
        self._channel.close()


@contextmanager
def in_front_of(target: str) -> Iterator[tuple[str, InFront]]:
    """Yield the address to call, and what decides."""
    handler = InFront(target)
    server = grpc.server(ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}", handler
    finally:
        server.stop(0).wait()
        handler.close()
