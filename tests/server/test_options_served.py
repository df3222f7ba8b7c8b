"""The options of a call, as the real tritonserver understands them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from clickclean_client import Client, InferResult
from clickclean_client._exceptions import Call
from clickclean_client._options import InferOptions
from clickclean_client._request import infer_message
from clickclean_client._response import result_from_response
from clickclean_client._wire import read_response
from clickclean_client.protocol import grpc
from clickclean_server import Endpoint
from tests.server.tiny_models import WEIGHTS

X = np.array([[1, 0, 0, 0], [0, 0, 0, -1]], np.float32)
Y = X @ WEIGHTS


def _infer(
    endpoint: Endpoint, model: str, inputs: dict[str, NDArray[Any]], **settings: Any
) -> InferResult:
    """One call, written and read by our own hands alone."""
    call = Call(endpoint.grpc, model)
    options = InferOptions.checked(call, **settings)
    with Client(endpoint.grpc, timeout_s=20) as client:
        metadata = client.metadata(model)
    message = infer_message(
        inputs, metadata, call, name=model, number="", request_id="an id", options=options
    )
    with grpc.insecure_channel(endpoint.grpc) as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        data = infer(message.encode(5_000_000), timeout=20)
    batch = len(next(iter(inputs.values()))) if metadata.max_batch else 0
    return result_from_response(
        read_response(data, call), metadata, call, batch=batch, options=options
    )


@pytest.mark.parametrize(("k", "columns"), [(1, 1), (2, 2), (9, 3)])
def test_classification(steady: Endpoint, k: int, columns: int) -> None:
    result = _infer(steady, "linear", {"x": X}, classify={"y": k})
    assert result["y"].shape == (2, columns)
    for row, values in zip(result.classes("y"), Y, strict=True):
        order = np.argsort(-values)[:columns]
        assert [found.index for found in row] == order.tolist()
        np.testing.assert_allclose([found.score for found in row], values[order], atol=1e-6)
        assert {found.label for found in row} == {""}
    assert (result.request_id, result.version) == ("an id", "1")


def test_classification_without_batching(steady: Endpoint) -> None:
    values = np.array([[1, 5, 3], [9, 0, 7]], np.float32)
    result = _infer(steady, "unbatched", {"x": values}, classify={"y": 4})
    assert result["y"].shape == (4,)
    assert [found.index for found in result.classes("y")[0]] == [3, 5, 1, 2]


def test_some_outputs_only(steady: Endpoint) -> None:
    inputs = {"ids": np.array([[7, 8]]), "bias": np.zeros((1, 4), np.float32)}
    assert list(_infer(steady, "pair", inputs, outputs=["tokens"])) == ["tokens"]
    mixed = _infer(steady, "pair", inputs, classify={"score": 2})
    assert {name: value.shape for name, value in mixed.items()} == {
        "score": (1, 2),
        "tokens": (1, 2, 4),
    }


def test_priority_and_parameters_are_taken(steady: Endpoint) -> None:
    result = _infer(
        steady,
        "linear",
        {"x": X},
        priority=0,
        parameters={"a": 1, "b": "텍스트", "c": True, "d": 0.5, "sequence_id": 0},
    )
    np.testing.assert_allclose(result["y"], Y)
    result = _infer(steady, "linear", {"x": X}, priority=1)
    np.testing.assert_allclose(result["y"], Y)
