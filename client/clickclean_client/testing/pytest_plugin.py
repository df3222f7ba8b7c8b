"""The fake as a pytest fixture.

A service's `conftest.py` asks for it:

    pytest_plugins = ["clickclean_client.testing.pytest_plugin"]
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from clickclean_client.testing import FakeServer


@pytest.fixture
def fake_server() -> Iterator[FakeServer]:
    """A fake Triton that runs during one test and has no models yet; see `FakeServer.serve`."""
    with FakeServer() as server:
        yield server
