from collections.abc import Iterator

import pytest

from clickclean_client import Client
from clickclean_client.testing import FakeServer
from tests.client.challengers import INPUTS
from tests.client.fleets import retry


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with FakeServer() as server:
        server.serve("m", inputs=INPUTS)
        yield server


@pytest.fixture
def client(fake: FakeServer) -> Iterator[Client]:
    with Client(fake.endpoint, timeout_s=20, retry=retry()) as opened:
        yield opened
