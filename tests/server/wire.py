"""Requests that the client would refuse to send, straight through gRPC."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from clickclean_client.protocol import grpc, service_pb2, service_pb2_grpc

ROW = np.ones(4, np.float32).tobytes()


@dataclass(frozen=True)
class RawInput:
    """A tensor whose shape need not fit its bytes."""

    name: str
    dtype: str
    shape: Sequence[int]
    data: bytes


@dataclass(frozen=True)
class Answer:
    """The status name, the text of an error, and the bytes of the first output."""

    code: str
    text: str
    data: bytes


class Wire:
    """One connection."""

    def __init__(self, stub: Any) -> None:
        self.stub = stub

    def send(self, model: str, *inputs: RawInput) -> Answer:
        request = service_pb2.ModelInferRequest(model_name=model)
        for item in inputs:
            request.inputs.add(name=item.name, datatype=item.dtype, shape=item.shape)
            request.raw_input_contents.append(item.data)
        try:
            response = self.stub.ModelInfer(request, timeout=15)
        except grpc.RpcError as exc:
            return Answer(exc.code().name, exc.details(), b"")
        return Answer("OK", "", response.raw_output_contents[0])

    def send_among(
        self, mate: Sequence[RawInput], model: str, *inputs: RawInput
    ) -> tuple[Answer, list[Answer]]:
        """Sends a request among four good ones at once; the answers to it and to them."""
        with ThreadPoolExecutor(5) as pool:
            mates = [pool.submit(self.send, model, *mate) for _ in range(4)]
            bad = pool.submit(self.send, model, *inputs)
            return bad.result(), [one.result() for one in mates]


@contextmanager
def wire_to(endpoint: str) -> Iterator[Wire]:
    with grpc.insecure_channel(endpoint) as channel:
        yield Wire(service_pb2_grpc.GRPCInferenceServiceStub(channel))
