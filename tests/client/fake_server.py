"""A fake: it speaks Triton's gRPC protocol over a real socket but runs no model.

The real server produces most failures tested here rarely, late or never (every gRPC status, a
damaged answer, a schema that changes between two calls). What the real one does is tested with
the real one, in the tests of the server package.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from clickclean_client.protocol import CONFIG_DTYPES, grpc, service_pb2, service_pb2_grpc

Tensor = tuple[str, str, Sequence[int]]


def echo(request: Any) -> Any:
    """Output k is input k, whatever their names."""
    response = service_pb2.ModelInferResponse(
        model_name=request.model_name, model_version=request.model_version or "1", id=request.id
    )
    for index, tensor in enumerate(request.inputs):
        response.outputs.add(name=f"y{index}", datatype=tensor.datatype, shape=tensor.shape)
    response.raw_output_contents.extend(request.raw_input_contents)
    return response


def _serialised(answer: Any) -> bytes:
    """What `answer` gave: a message, or bytes that may be none."""
    return answer if isinstance(answer, bytes) else bytes(answer.SerializeToString())


class FakeTriton:
    """Serves the models given with `serve` on a free port of loopback."""

    def __init__(self, port: int = 0) -> None:
        self.calls: Counter[str] = Counter()
        self.headers: dict[str, str] = {}
        self.peers: set[str] = set()
        self.left_s = 0.0
        self.last_infer: Any = None
        self.answer: Callable[[Any], Any] = echo
        self.asked: Counter[tuple[str, str, str]] = Counter()
        self.failures: dict[str, tuple[Any, str]] = {}
        self.blocked: dict[str, threading.Event] = {}
        self.hold: threading.Event | None = None
        self.holding = threading.Event()
        self._models: dict[tuple[str, str], tuple[Any, Any]] = {}
        self._server = grpc.server(ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
        servicer = _Servicer(self)
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, self._server)
        raw = grpc.unary_unary_rpc_method_handler(
            servicer.ModelInfer, service_pb2.ModelInferRequest.FromString, _serialised
        )
        self._server.add_registered_method_handlers(
            "inference.GRPCInferenceService", {"ModelInfer": raw}
        )
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self.endpoint = f"127.0.0.1:{self.port}"
        self._server.start()

    def serve(
        self,
        model: str = "m",
        *,
        inputs: Sequence[Tensor] = (("x", "FP32", (-1, 3)),),
        outputs: Sequence[Tensor] | None = None,
        max_batch: int = 4,
        version: str = "",
        optional: Sequence[str] = (),
        parameters: Mapping[str, str] | None = None,
    ) -> None:
        """Replace the model's schema; by default output k has the dtype and shape of input k."""
        if outputs is None:
            outputs = [(f"y{k}", dtype, shape) for k, (_, dtype, shape) in enumerate(inputs)]
        metadata = service_pb2.ModelMetadataResponse(name=model, versions=[version or "1"])
        response = service_pb2.ModelConfigResponse()
        response.config.max_batch_size = max_batch
        for key, value in (parameters or {}).items():
            response.config.parameters[key].string_value = value
        for name, dtype, shape in inputs:
            metadata.inputs.add(name=name, datatype=dtype, shape=shape)
            response.config.input.add(
                name=name, data_type=CONFIG_DTYPES.get(dtype, 0), optional=name in optional
            )
        for name, dtype, shape in outputs:
            metadata.outputs.add(name=name, datatype=dtype, shape=shape)
        self._models[model, version] = metadata, response

    def unload(self, model: str, version: str = "") -> None:
        self._models.pop((model, version), None)

    def fail(self, rpc: str, code: Any, text: str = "") -> None:
        """`rpc` is its name, alone or followed by a space and a model's name."""
        self.failures[rpc] = code, text

    def block(self, rpc: str) -> threading.Event:
        """Calls wait until the event that is returned is set; `rpc` as for `fail`."""
        return self.blocked.setdefault(rpc, threading.Event())

    def stop(self) -> None:
        for event in self.blocked.values():
            event.set()
        if self.hold is not None:
            self.hold.set()
        self._server.stop(None).wait()

    def begin(self, rpc: str, context: Any) -> None:
        """What every call does first."""
        self.calls[rpc] += 1
        self.headers = dict(context.invocation_metadata())
        self.peers.add(context.peer())
        self.left_s = context.time_remaining()
        if rpc in self.failures:
            context.abort(*self.failures[rpc])

    def about(self, rpc: str, model: str, version: str, context: Any) -> None:
        """What every call about a model does after that."""
        self.asked[rpc, model, version] += 1
        if f"{rpc} {model}" in self.blocked:
            self.blocked[f"{rpc} {model}"].wait(30)
        if f"{rpc} {model}" in self.failures:
            context.abort(*self.failures[f"{rpc} {model}"])

    def model(self, name: str, version: str, context: Any) -> tuple[Any, Any]:
        if (name, version) not in self._models:
            text = f"Request for unknown model: '{name}' is not found"
            context.abort(grpc.StatusCode.NOT_FOUND, text)
        return self._models[name, version]

    def __enter__(self) -> FakeTriton:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Servicer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    def __init__(self, fake: FakeTriton) -> None:
        self._fake = fake

    def ServerReady(self, _: Any, context: Any) -> Any:  # noqa: N802 - the protocol's names
        self._fake.begin("ServerReady", context)
        return service_pb2.ServerReadyResponse(ready=True)

    def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._fake.begin("ModelReady", context)
        self._fake.about("ModelReady", request.name, request.version, context)
        self._fake.model(request.name, request.version, context)
        return service_pb2.ModelReadyResponse(ready=True)

    def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._fake.begin("ModelMetadata", context)
        self._fake.about("ModelMetadata", request.name, request.version, context)
        return self._fake.model(request.name, request.version, context)[0]

    def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._fake.begin("ModelConfig", context)
        self._fake.about("ModelConfig", request.name, request.version, context)
        return self._fake.model(request.name, request.version, context)[1]

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._fake.last_infer = request
        self._fake.begin("ModelInfer", context)
        self._fake.about("ModelInfer", request.model_name, request.model_version, context)
        self._fake.model(request.model_name, request.model_version, context)
        if self._fake.hold is not None:
            self._fake.holding.set()
            self._fake.hold.wait(30)
        return self._fake.answer(request)

    def RepositoryIndex(self, _: Any, context: Any) -> Any:  # noqa: N802
        self._fake.begin("RepositoryIndex", context)
        response = service_pb2.RepositoryIndexResponse()
        response.models.add(name="m", version="1", state="READY")
        response.models.add(name="old", version="2", state="UNAVAILABLE", reason="unloaded")
        return response

    def RepositoryModelLoad(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._fake.begin(f"load {request.model_name}", context)
        self._fake.begin("RepositoryModelLoad", context)
        if "config" in request.parameters:
            self._fake.headers["config"] = request.parameters["config"].string_param
        return service_pb2.RepositoryModelLoadResponse()

    def RepositoryModelUnload(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._fake.begin(f"unload {request.model_name}", context)
        return service_pb2.RepositoryModelUnloadResponse()

    def ModelStatistics(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._fake.begin("ModelStatistics", context)
        response = service_pb2.ModelStatisticsResponse()
        item = response.model_stats.add(
            name=request.name, version=request.version or "1", inference_count=8, execution_count=2
        )
        for index, part in enumerate(
            ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
        ):
            getattr(item.inference_stats, part).count = index
            getattr(item.inference_stats, part).ns = 100 * index
        return response


if __name__ == "__main__":
    # A server in a process of its own that takes a request, says so, and never answers.
    fake = FakeTriton()
    fake.serve()
    fake.hold = threading.Event()
    sys.stdout.write(f"{fake.endpoint}\n")
    sys.stdout.flush()
    fake.holding.wait()
    sys.stdout.write("holding\n")
    sys.stdout.flush()
    threading.Event().wait()
