"""Three real servers on one repository with two versions, each behind a door that can refuse."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from clickclean_client import Golden
from clickclean_client.slots import AXES
from clickclean_export.promote import promote
from clickclean_export.release.rollout import Settings
from clickclean_export.release.server import Address, LiveServer
from clickclean_export.release.status import ModelStatus, status
from clickclean_export.repository import Repository
from clickclean_server import serving
from tests.conftest import PublishedModels
from tests.export.release.in_front import InFront, in_front_of
from tests.models.versions import add_version

SERVERS = 3
QUICK = Settings(load_timeout_s=60, quiet_s=0.3, drain_s=5)


@dataclass(frozen=True)
class Fleet:
    """The servers, as a release is given them."""

    repository: Repository
    doors: dict[str, InFront]
    addresses: tuple[Address, ...]

    def status(self) -> ModelStatus:
        return status(self.repository, "digits", self.addresses)

    def live(self) -> list[int | None]:
        return [server.live for server in self.status().servers]

    def names(self) -> list[str]:
        """Everything that any of the servers has loaded."""
        found: set[str] = set()
        for address in self.addresses:
            with LiveServer(address) as server:
                found |= set(server.names())
        return sorted(found)

    def axes(self, name: str) -> set[str]:
        """What the servers' configs say of axes, of one name."""
        found = set()
        for address in self.addresses:
            with LiveServer(address) as server:
                config = server.config(name)
                assert config is not None, name
                found.add(config.parameters[AXES].string_value)
        return found

    def golden(self, version: int) -> Golden:
        return Golden.load(self.repository.version_dir("digits", version) / "golden.npz")

    def open_doors(self) -> None:
        for door in self.doors.values():
            door.refuses = lambda _rpc, _request: False
            door.seen.clear()


def two_versions(published: PublishedModels, root: Path) -> Repository:
    """Version 1 is promoted; version 2 answers twice the numbers."""
    published.copy(root, "digits")
    add_version(root / "digits", 2)
    promote(root, "digits", 1)
    return Repository(root)


@pytest.fixture(scope="package")
def servers(
    published: PublishedModels, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    repository = two_versions(published, tmp_path_factory.mktemp("fleet") / "repository")
    with ExitStack() as stack:
        endpoints = [stack.enter_context(serving(repository.root)) for _ in range(SERVERS)]
        doors, addresses = {}, []
        for endpoint in endpoints:
            address, door = stack.enter_context(in_front_of(endpoint.grpc))
            doors[address] = door
            addresses.append(Address(address, endpoint.key))
        yield Fleet(repository, doors, tuple(addresses))


@pytest.fixture
def fleet(servers: Fleet) -> Iterator[Fleet]:
    """All servers at version 1, all doors open, before and after."""
    servers.open_doors()
    yield servers
    servers.open_doors()
