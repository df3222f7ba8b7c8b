from collections.abc import Iterator
from pathlib import Path

import pytest

from clickclean_server import Endpoint, serving
from tests.server.tiny_models import TinyRepository, linear, pair, unbatched


@pytest.fixture(autouse=True, scope="session")
def own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Logs and the backend folder go to a place of the tests, in supervisors too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def repository(tmp_path: Path) -> TinyRepository:
    """An empty one."""
    found = TinyRepository(tmp_path / "repository")
    found.root.mkdir()
    return found


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """A server that tests only send requests to. Its delay puts requests into one batch."""
    repository = TinyRepository(tmp_path_factory.mktemp("steady"))
    repository.add("linear", linear(), delay_us=100_000)
    repository.add("pair", pair(), delay_us=100_000)
    repository.add("unbatched", unbatched())
    with serving(repository.root) as endpoint:
        yield endpoint
