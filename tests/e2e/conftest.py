"""One supervised server for the tests that only ask."""

from collections.abc import Iterator

import pytest

from clickclean_server import Endpoint, serving
from tests.conftest import PublishedModels


@pytest.fixture(scope="session")
def server(published: PublishedModels) -> Iterator[Endpoint]:
    with serving(published.repository) as endpoint:
        yield endpoint
