"""Microseconds to write a ModelInferRequest and to read a ModelInferResponse, without a server.

    python bench/wire.py [--rounds 15]

The client's own writing and reading beside protobuf's, interleaved in one process; medians of the
rounds. "protobuf" is what the messages of `service_pb2` take: build, fill and serialise a request;
parse an answer and wrap its raw bytes with numpy, without any of the client's checks.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickclean_client._exceptions import Call
from clickclean_client._request import infer_message
from clickclean_client._response import result_from_response
from clickclean_client._types import ModelMetadata, TensorSpec
from clickclean_client._wire import read_response
from clickclean_client.protocol import NUMPY_DTYPES, service_pb2

Array = NDArray[Any]
FP32 = NUMPY_DTYPES["FP32"]
CASES: tuple[tuple[str, tuple[int, ...], tuple[int, ...], int], ...] = (
    ("FP32[1,1,8,8] -> FP32[1,10]", (1, 1, 8, 8), (1, 10), 2000),
    ("FP32[1,3,224,224] -> FP32[1,10]", (1, 3, 224, 224), (1, 10), 200),
    ("FP32[1,10] -> FP32[1,3,224,224]", (1, 10), (1, 3, 224, 224), 200),
)


def main() -> None:
    """Print one line for each pair of shapes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    print(f"{'':34}{'write us':>10}{'protobuf':>10}{'ratio':>7}", end="")
    print(f"{'read us':>10}{'protobuf':>10}{'ratio':>7}")
    for name, asked, answered, calls in CASES:
        written, built = _compare(*_writers(asked), rounds, calls)
        read, parsed = _compare(*_readers(answered), rounds, calls)
        print(f"{name:34}{written:10.2f}{built:10.2f}{written / built:7.2f}", end="")
        print(f"{read:10.2f}{parsed:10.2f}{read / parsed:7.2f}")


def _writers(shape: tuple[int, ...]) -> tuple[Callable[[], object], Callable[[], object]]:
    array = np.random.default_rng(1).random(shape, np.float32)
    metadata = _metadata(shape, (1, 10))
    call = Call("127.0.0.1:8001", "digits")

    def ours() -> bytes:
        message = infer_message({"image": array}, metadata, call, name="digits", number="")
        return message.encode(1_000_000)

    def protobuf() -> Any:
        request = service_pb2.ModelInferRequest(model_name="digits")
        request.parameters["timeout"].int64_param = 1_000_000
        request.inputs.add(name="image", datatype="FP32", shape=array.shape)
        request.raw_input_contents.append(array.tobytes())
        return request.SerializeToString()

    return ours, protobuf


def _readers(shape: tuple[int, ...]) -> tuple[Callable[[], object], Callable[[], object]]:
    array = np.random.default_rng(1).random(shape, np.float32)
    metadata = _metadata((1, 10), shape)
    call = Call("127.0.0.1:8001", "digits")
    response = service_pb2.ModelInferResponse(model_name="digits", model_version="1")
    response.outputs.add(name="logits", datatype="FP32", shape=shape)
    response.raw_output_contents.append(array.tobytes())
    data = response.SerializeToString()

    def ours() -> Array:
        return result_from_response(read_response(data, call), metadata, call, batch=1)["logits"]

    def protobuf() -> dict[str, Array]:
        found = service_pb2.ModelInferResponse.FromString(data)
        return {
            tensor.name: np.frombuffer(raw, FP32).reshape(tensor.shape)
            for tensor, raw in zip(found.outputs, found.raw_output_contents, strict=True)
        }

    return ours, protobuf


def _metadata(asked: tuple[int, ...], answered: tuple[int, ...]) -> ModelMetadata:
    return ModelMetadata(
        name="digits",
        versions=("1",),
        inputs=(TensorSpec("image", FP32, "FP32", (-1, *asked[1:])),),
        outputs=(TensorSpec("logits", FP32, "FP32", (-1, *answered[1:])),),
        max_batch=64,
    )


def _compare(
    first: Callable[[], object], second: Callable[[], object], rounds: int, calls: int
) -> tuple[float, float]:
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for function, times in zip((first, second), taken, strict=True):
            begin = time.perf_counter()
            for _ in range(calls):
                function()
            times.append((time.perf_counter() - begin) / calls * 1e6)
    return statistics.median(taken[0]), statistics.median(taken[1])


if __name__ == "__main__":
    main()
