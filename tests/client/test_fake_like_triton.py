"""The fake refuses and answers as a real tritonserver does, code by code and word by word."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from clickclean_client.protocol import grpc, service_pb2, service_pb2_grpc
from clickclean_client.testing import FakeServer
from clickclean_server import serving
from tests.server.tiny_models import EMBEDDING, WEIGHTS, TinyRepository, linear, pair, unbatched

Both = tuple[Any, Any]
Given = tuple[str, str, list[int]]
X: Given = ("x", "FP32", [1, 4])


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """Stubs of a real server and of a fake one with the same models."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        repository = TinyRepository(tmp_path_factory.mktemp("repository"))
        for name, tiny in (("linear", linear()), ("pair", pair()), ("unbatched", unbatched())):
            repository.add(name, tiny)
        with serving(repository.root) as endpoint, FakeServer() as fake:
            serve(fake)
            groups = ["shared-memory", "model-repository", "logging", "trace"]
            fake.restrict(groups, endpoint.key)
            with (
                grpc.insecure_channel(endpoint.grpc) as real_channel,
                grpc.insecure_channel(fake.endpoint) as fake_channel,
            ):
                stub = service_pb2_grpc.GRPCInferenceServiceStub
                key = (("triton-grpc-protocol-admin-key", endpoint.key),)
                yield Asked(stub(real_channel), key), Asked(stub(fake_channel), key)


class Asked:
    """A server, and what it says."""

    def __init__(self, stub: Any, key: Any) -> None:
        self._stub = stub
        self._key = key

    def say(self, rpc: str, request: Any, *, key: bool = True) -> tuple[str, Any]:
        """The status, and the text of a failure or the answer's message."""
        metadata = self._key if key else ()
        try:
            message = getattr(self._stub, rpc)(request, timeout=20, metadata=metadata)
        except grpc.RpcError as exc:
            return exc.code().name, exc.details()
        return "OK", message

    def stream(self, *requests: Any) -> list[Any]:
        return list(self._stub.ModelStreamInfer(iter(requests), timeout=20))


def serve(fake: FakeServer) -> None:
    fake.serve(
        "linear",
        inputs={"x": ("FP32", [-1, 4])},
        outputs={"y": ("FP32", [-1, 3])},
        max_batch=8,
        answer=lambda x: {"y": x @ WEIGHTS},
    )
    fake.serve(
        "pair",
        inputs={"ids": ("INT64", [-1, -1]), "bias": ("FP32", [-1, 4])},
        outputs={"score": ("FP32", [-1, 4]), "tokens": ("FP32", [-1, -1, 4])},
        max_batch=8,
        answer=lambda ids, bias: {
            "score": EMBEDDING[ids].mean(axis=1) + bias,
            "tokens": EMBEDDING[ids],
        },
    )
    fake.serve(
        "unbatched",
        inputs={"x": ("FP32", [-1, 3])},
        outputs={"y": ("FP32", [-1, 3])},
        max_batch=0,
        answer=lambda x: {"y": np.maximum(x, 0)},
    )


def inference(
    model: str,
    *inputs: Given,
    raws: list[bytes] | None = None,
    version: str = "",
    outputs: tuple[str, ...] = (),
    request_id: str = "",
) -> Any:
    request = service_pb2.ModelInferRequest(model_name=model, model_version=version, id=request_id)
    sizes = {"INT64": 8}
    for name, dtype, shape in inputs:
        request.inputs.add(name=name, datatype=dtype, shape=shape)
        if raws is None:
            count = int(np.prod(shape))
            request.raw_input_contents.append(bytes(count * sizes.get(dtype, 4)))
    for name in outputs:
        request.outputs.add(name=name)
    request.raw_input_contents.extend(raws or [])
    return request


INFERENCES = {
    "one row": inference("linear", X, request_id="abc"),
    "by version": inference("linear", X, version="1"),
    "asked outputs": inference("linear", X, outputs=("y",)),
    "two inputs": inference("pair", ("bias", "FP32", [2, 4]), ("ids", "INT64", [2, 3])),
    "one of two outputs": inference(
        "pair", ("ids", "INT64", [2, 3]), ("bias", "FP32", [2, 4]), outputs=("tokens",)
    ),
    "no batch axis": inference("unbatched", ("x", "FP32", [2, 3])),
    "a surplus of bytes": inference("linear", X, raws=[bytes(16), bytes(16)]),
    "unknown model": inference("nosuch", X),
    "unknown model and version": inference("nosuch", X, version="3"),
    "unknown version": inference("linear", X, version="9"),
    "no version": inference("linear", X, version="abc"),
    "no input": inference("linear"),
    "one input of two": inference("pair", ("ids", "INT64", [2, 3])),
    "unknown input": inference("linear", ("z", "FP32", [1, 4])),
    "an input twice": inference("linear", X, X),
    "unknown output": inference("linear", X, outputs=("nope",)),
    "wrong dtype": inference("linear", ("x", "INT32", [1, 4])),
    "no dtype": inference("linear", ("x", "FP4", [1, 4])),
    "wrong axis": inference("linear", ("x", "FP32", [1, 5]), request_id="abc"),
    "wrong rank": inference("linear", ("x", "FP32", [4])),
    "wrong axis without batch": inference("unbatched", ("x", "FP32", [2, 4])),
    "too many rows": inference("linear", ("x", "FP32", [9, 4])),
    "too few bytes": inference("linear", X, raws=[b"abc"]),
    "no bytes": inference("linear", X, raws=[]),
}


ABOUT_MODELS = [
    (rpc, kind(name=model, version=version))
    for rpc, kind in (
        ("ModelReady", service_pb2.ModelReadyRequest),
        ("ModelMetadata", service_pb2.ModelMetadataRequest),
        ("ModelConfig", service_pb2.ModelConfigRequest),
        ("ModelStatistics", service_pb2.ModelStatisticsRequest),
    )
    for model, version in (("linear", "9"), ("nosuch", ""), ("nosuch", "3"))
]
OTHERS = [
    ("ServerLive", service_pb2.ServerLiveRequest()),
    ("ServerReady", service_pb2.ServerReadyRequest()),
    ("ModelReady", service_pb2.ModelReadyRequest(name="linear")),
    ("ModelReady", service_pb2.ModelReadyRequest(name="linear", version="1")),
    ("RepositoryIndex", service_pb2.RepositoryIndexRequest()),
    ("RepositoryModelLoad", service_pb2.RepositoryModelLoadRequest(model_name="nosuch")),
    ("RepositoryModelUnload", service_pb2.RepositoryModelUnloadRequest(model_name="nosuch")),
    ("SystemSharedMemoryStatus", service_pb2.SystemSharedMemoryStatusRequest(name="nosuch")),
    (
        "SystemSharedMemoryRegister",
        service_pb2.SystemSharedMemoryRegisterRequest(name="r", key="/nosuch-5e1", byte_size=8),
    ),
    ("SystemSharedMemoryUnregister", service_pb2.SystemSharedMemoryUnregisterRequest(name="r")),
]


def assert_same(real: tuple[str, Any], fake: tuple[str, Any]) -> None:
    assert fake[0] == real[0], (fake, real)
    if real[0] == "OK":
        assert fake[1] == real[1]
    else:
        # The real one sometimes adds an explanation.
        assert real[1].startswith(fake[1].strip())


@pytest.mark.parametrize("request_", INFERENCES.values(), ids=INFERENCES)
def test_inference(request_: Any, both: Both) -> None:
    real, fake = (server.say("ModelInfer", request_) for server in both)
    assert_same(real, fake)


@pytest.mark.parametrize(
    ("rpc", "request_"),
    [*ABOUT_MODELS, *OTHERS],
    ids=[f"{rpc} {number}" for number, (rpc, _) in enumerate([*ABOUT_MODELS, *OTHERS])],
)
def test_other_calls(rpc: str, request_: Any, both: Both) -> None:
    real, fake = (server.say(rpc, request_) for server in both)
    assert_same(real, fake)


def test_batches_that_differ(both: Both) -> None:
    request = inference("pair", ("ids", "INT64", [2, 3]), ("bias", "FP32", [1, 4]))
    # Which of the two is named differs: the real one keeps its inputs in no order.
    said = [server.say("ModelInfer", request) for server in both]
    for code, text in said:
        assert code == "INVALID_ARGUMENT"
        assert text.endswith("batch size does not match other inputs for 'pair'")


def test_metadata_and_config(both: Both) -> None:
    for model in ("linear", "pair", "unbatched"):
        request = service_pb2.ModelMetadataRequest(name=model)
        (_, real), (_, fake) = (server.say("ModelMetadata", request) for server in both)
        real.platform = fake.platform
        assert fake == real
        request = service_pb2.ModelConfigRequest(name=model)
        (_, real), (_, fake) = (server.say("ModelConfig", request) for server in both)
        for field in ("name", "max_batch_size", "input", "output"):
            assert getattr(fake.config, field) == getattr(real.config, field)


def test_restricted(both: Both) -> None:
    request = service_pb2.RepositoryIndexRequest()
    real, fake = (server.say("RepositoryIndex", request, key=False) for server in both)
    assert real[0] == "UNAVAILABLE"
    assert_same(real, fake)


def test_streams(both: Both) -> None:
    requests = [
        inference("linear", X, request_id="a"),
        inference("nosuch", X, request_id="b"),
        inference("linear", ("x", "FP32", [1, 5]), request_id="c"),
        inference("linear", X, request_id="d"),
    ]
    requests[3].parameters["triton_enable_empty_final_response"].bool_param = True
    for one in requests:
        real, fake = (server.stream(one) for server in both)
        assert len(real) == len(fake) == 1
        assert fake[0].infer_response == real[0].infer_response
        assert real[0].error_message.startswith(fake[0].error_message.strip())


def test_unloaded_models(both: Both) -> None:
    unload = service_pb2.RepositoryModelUnloadRequest(model_name="pair")
    for server in both:
        assert server.say("RepositoryModelUnload", unload)[0] == "OK"
    for version in ("", "1"):
        for rpc in ("ModelMetadata", "ModelConfig", "ModelReady", "ModelStatistics"):
            request = getattr(service_pb2, f"{rpc}Request")(name="pair", version=version)
            real, fake = (server.say(rpc, request) for server in both)
            assert_same(real, fake)
