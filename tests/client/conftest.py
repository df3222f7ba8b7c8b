from collections.abc import Iterator

import pytest

from clickclean_client import Client
from tests.client.fake_server import FakeTriton


@pytest.fixture
def fake() -> Iterator[FakeTriton]:
    with FakeTriton() as server:
        server.serve()
        yield server


@pytest.fixture
def client(fake: FakeTriton) -> Iterator[Client]:
    with Client(fake.endpoint, timeout_s=20) as opened:
        yield opened
