"""The remote procedures of Triton's protocol, as gRPC calls them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from clickclean_client.protocol import grpc, service_pb2
from clickclean_client.testing._calls import REQUESTS, Call
from clickclean_client.testing._errors import Refusal

if TYPE_CHECKING:
    from clickclean_client.testing._server import FakeServer

_PREFIX: Final = "/inference.GRPCInferenceService/"
_HEALTH: Final = "/grpc.health.v1.Health/Check"
_SERVING: Final = b"\x08\x01"  # HealthCheckResponse with its one field, status = SERVING
_VERSION: Final = "0.fake"
_FINAL: Final = "triton_final_response"
_WANTS_FINAL: Final = "triton_enable_empty_final_response"
_EXTENSIONS: Final = (
    "model_repository",
    "model_configuration",
    "system_shared_memory",
    "binary_tensor_data",
    "parameters",
    "statistics",
)


class Service(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Takes every call, so that an answer may be bytes that are no message."""

    def __init__(self, server: FakeServer) -> None:
        self._server = server
        self._usual: dict[str, Callable[[Call], Any]] = {
            "ServerLive": lambda _: service_pb2.ServerLiveResponse(live=True),
            "ServerReady": lambda _: service_pb2.ServerReadyResponse(ready=True),
            "ServerMetadata": lambda _: service_pb2.ServerMetadataResponse(
                name="fake triton", version=_VERSION, extensions=_EXTENSIONS
            ),
            "ModelReady": self._model_ready,
            "ModelMetadata": self._model_metadata,
            "ModelConfig": self._model_config,
            "ModelStatistics": lambda call: server.models.statistics(call.model, call.version),
            "ModelInfer": lambda call: server.respond(call.request),
            "RepositoryIndex": lambda call: server.models.index(ready=call.request.ready),
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
            "SystemSharedMemoryRegister": lambda call: server.regions.register(call.request),
            "SystemSharedMemoryUnregister": lambda call: server.regions.unregister(call.request),
            "SystemSharedMemoryStatus": lambda call: server.regions.status(call.request),
        }
        self._handlers = {_PREFIX + rpc: self._handler(rpc, kind) for rpc, kind in REQUESTS.items()}
        self._handlers[_HEALTH] = grpc.unary_unary_rpc_method_handler(self._health)

    def service(self, handler_call_details: Any) -> Any:
        """The handler of a method; None makes gRPC answer UNIMPLEMENTED."""
        return self._handlers.get(handler_call_details.method)

    def _handler(self, rpc: str, kind: Any) -> Any:
        if rpc == "ModelStreamInfer":
            return grpc.stream_stream_rpc_method_handler(self._stream, kind.FromString, _bytes_of)
        return grpc.unary_unary_rpc_method_handler(
            partial(self._unary, rpc), kind.FromString, _bytes_of
        )

    def _unary(self, rpc: str, request: Any, context: Any) -> Any:
        server = self._server
        call = Call.of(rpc, request, context)
        with server._counted(call):
            try:
                server._check_access(call)
                server._admit(call, *dict.fromkeys([(rpc, call.model), (rpc, "")]))
                answer = server._own_answer(call)
                if answer is not None:
                    return answer(request)
                if rpc not in self._usual:
                    raise Refusal("UNIMPLEMENTED", f"The fake does not know {rpc}")
                if rpc == "ModelInfer":
                    server._before_inference(call)
                return self._usual[rpc](call)
            except Refusal as refusal:
                status = refusal.code, refusal.text
            except Exception as exc:  # noqa: BLE001 - whatever a test's answer raises
                status = server._mistake(call, exc)
            return context.abort(*status)  # which raises

    def _stream(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        server = self._server
        rpc = "ModelStreamInfer"
        opening = Call(rpc, None, context)
        with server._counted(opening):
            try:
                server._check_access(opening)
                server._admit(opening, (rpc, ""))
            except Refusal as refusal:
                context.abort(refusal.code, refusal.text)
            for request in requests:
                call = Call.of(rpc, request, context)
                server._note_request(call)
                try:
                    server._admit(call, (rpc, call.model))
                    yield from self._stream_answers(call)
                except Refusal as refusal:
                    yield _error(request, refusal.text)
                except Exception as exc:  # noqa: BLE001 - whatever a test's answer raises
                    yield _error(request, server._mistake(call, exc)[1])

    def _stream_answers(self, call: Call) -> Iterator[Any]:
        """What one request of a stream is answered with.

        A model that is not decoupled sends its one answer as the final one. One that is says
        after its last answer that it was the last, which travels only to who wants to hear it
        ("Knowing When a Decoupled Inference Request is Complete" in Triton's
        docs/user_guide/decoupled_models.md).
        """
        server, request = self._server, call.request
        answer = server._own_answer(call)
        if answer is not None:
            yield from answer(request)
            return
        server._before_inference(call)
        model = server.models.find(call.model, call.version)
        for response in server._responses(model, request):
            response.parameters[_FINAL].bool_param = not model.decoupled
            yield service_pb2.ModelStreamInferResponse(infer_response=response)
        wanted = _WANTS_FINAL in request.parameters and request.parameters[_WANTS_FINAL].bool_param
        if model.decoupled and wanted:
            response = service_pb2.ModelInferResponse(
                model_name=model.name, model_version=str(model.version), id=request.id
            )
            response.parameters[_FINAL].bool_param = True
            yield service_pb2.ModelStreamInferResponse(infer_response=response)

    def _model_ready(self, call: Call) -> Any:
        ready = bool(self._server.models.versions(call.model, call.version))
        return service_pb2.ModelReadyResponse(ready=ready)

    def _model_metadata(self, call: Call) -> Any:
        models = self._server.models
        model = models.find(call.model, call.version)
        return model.metadata(models.versions(call.model, call.version))

    def _model_config(self, call: Call) -> Any:
        return self._server.models.find(call.model, call.version).config()

    def _load(self, call: Call) -> Any:
        self._server.models.load(call.model)
        self._server._revive(call.model)
        return service_pb2.RepositoryModelLoadResponse()

    def _unload(self, call: Call) -> Any:
        self._server.models.unload(call.model)
        return service_pb2.RepositoryModelUnloadResponse()

    def _health(self, _: bytes, context: Any) -> bytes:
        """`grpc.health.v1` as Triton has it: the server's readiness, whatever service is named."""
        self._unary("ServerReady", service_pb2.ServerReadyRequest(), context)
        return _SERVING


def _bytes_of(answer: Any) -> bytes:
    if isinstance(answer, bytes):
        return answer
    data: bytes = answer.SerializeToString()
    return data


def _error(request: Any, text: str) -> Any:
    response = service_pb2.ModelStreamInferResponse(error_message=text)
    response.infer_response.id = request.id
    return response
