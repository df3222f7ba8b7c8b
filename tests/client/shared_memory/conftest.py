from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from clickclean_client import SharedMemory
from clickclean_client.testing import FakeServer
from tests.client.shared_memory.memories import BOTH, SIZE, ours

_ONE = np.float32(1)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    assert ours() == set()


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with FakeServer() as server:
        server.serve(
            "m",
            inputs={"image": ("FP32", [-1, 3, 5]), "scale": ("FP32", [-1, 1])},
            outputs={"total": ("FP32", [-1, 3]), "twice": ("FP32", [-1, 3, 5])},
            answer=lambda image, scale=_ONE: {
                "total": image.sum(axis=2) * scale,
                "twice": image * 2,
            },
            optional=["scale"],
            max_batch=8,
        )
        yield server


@pytest.fixture(params=BOTH, ids=["threads", "loop"])
def client(request: pytest.FixtureRequest, fake: FakeServer) -> Iterator[Any]:
    with request.param(fake.endpoint, timeout_s=20) as opened:
        yield opened


@pytest.fixture
def memory(client: Any) -> Iterator[SharedMemory]:
    with client.shared_memory(size_bytes=SIZE) as opened:
        yield opened
