"""A fake v2 inference server, in a process of its own.

It is a fake because the real one cannot be made slow, wrong or dead on demand; gRPC and the
protocol are real. Its model `double` answers `y = 2 x` for `x` FP32[-1, 4].
"""

# ruff: noqa: ARG002, N802  # the signatures are those of the protocol

import argparse
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from clickclean_client.protocol import grpc, model_config_pb2, service_pb2, service_pb2_grpc

MODEL = "double"
VERSION = "3"


class Fake(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._count = 0
        self._lock = threading.Lock()
        self._stalled_until_s = 0.0

    def ServerReady(self, request: Any, context: Any) -> Any:
        return service_pb2.ServerReadyResponse(ready=True)

    def ModelMetadata(self, request: Any, context: Any) -> Any:
        if request.name != MODEL:
            context.abort(grpc.StatusCode.NOT_FOUND, f"unknown model {request.name}")
        tensor = service_pb2.ModelMetadataResponse.TensorMetadata
        return service_pb2.ModelMetadataResponse(
            name=MODEL,
            versions=[VERSION],
            inputs=[tensor(name="x", datatype="FP32", shape=[-1, 4])],
            outputs=[tensor(name="y", datatype="FP32", shape=[-1, 4])],
        )

    def ModelConfig(self, request: Any, context: Any) -> Any:
        config = model_config_pb2.ModelConfig(name=MODEL, max_batch_size=8)
        return service_pb2.ModelConfigResponse(config=config)

    def ModelInfer(self, request: Any, context: Any) -> Any:
        options = self._options
        with self._lock:
            self._count += 1
            count = self._count
            if count == options.stall_at:
                self._stalled_until_s = time.monotonic() + options.stall_s
        if count == options.die_at:
            os._exit(1)
        time.sleep(max(0.0, self._stalled_until_s - time.monotonic()))
        time.sleep(options.delay_ms / 1000)
        if options.fail_every and count % options.fail_every == 0:
            context.abort(grpc.StatusCode.INTERNAL, "the model failed")
        x = np.frombuffer(request.raw_input_contents[0], dtype=np.float32)
        y = x * np.float32(3 if options.wrong else 2)
        if options.wrong:
            y = y[::-1]
        response = service_pb2.ModelInferResponse(
            model_name=MODEL, model_version=VERSION, id=request.id
        )
        response.outputs.add(name="y", datatype="FP32", shape=request.inputs[0].shape)
        response.raw_output_contents.append(y.tobytes())
        return response


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay-ms", type=float, default=0.0)
    parser.add_argument("--fail-every", type=int, default=0)
    parser.add_argument("--die-at", type=int, default=0, help="the n-th request ends the process")
    parser.add_argument("--stall-at", type=int, default=0, help="the n-th request begins a stall")
    parser.add_argument("--stall-s", type=float, default=0.0)
    parser.add_argument("--wrong", action="store_true")
    server = grpc.server(ThreadPoolExecutor(max_workers=100))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Fake(parser.parse_args()), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    sys.stdin.read()  # ends with the test that holds the other end


if __name__ == "__main__":
    main()
