"""`kill -9` of the command in every phase: status tells the truth, and one command repairs it."""

import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from clickclean_export.release.history import History
from clickclean_export.release.live import release, roll_back
from clickclean_export.release.server import Address
from clickclean_server import serving
from tests.conftest import BIN, PublishedModels
from tests.export.release.conftest import QUICK, Fleet, two_versions
from tests.export.release.in_front import in_front_of
from tests.export.release.test_rollout import PHASES, Refuses, infer_of

# After the switch the new version answers, and the repository still says the old one.
MOMENTS = {**PHASES, "after the switch": infer_of("digits")}
LIVE = {**dict.fromkeys(PHASES, 1), "after the switch": 2, "drain": 2, "unload": 2}


@pytest.fixture(scope="module")
def one(published: PublishedModels, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    repository = two_versions(published, tmp_path_factory.mktemp("killed") / "repository")
    with ExitStack() as stack:
        endpoint = stack.enter_context(serving(repository.root))
        address, door = stack.enter_context(in_front_of(endpoint.grpc))
        yield Fleet(repository, {address: door}, (Address(address, endpoint.key),))


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed(one: Fleet, moment: str, tmp_path: Path) -> None:
    (address,) = one.addresses
    key = tmp_path / "key"
    key.write_text(address.key)
    door = one.doors[address.endpoint]
    reached, killed = threading.Event(), threading.Event()
    hits: Refuses = MOMENTS[moment]

    def stand_still(rpc: str, request: Any) -> bool:
        if not hits(rpc, request):
            return False
        reached.set()
        killed.wait(60)
        return True

    door.refuses = stand_still
    process = subprocess.Popen(
        [
            *(str(BIN / "clickclean"), "promote", "digits", "2", "-r", str(one.repository.root)),
            *("--server", address.endpoint, "--key-file", str(key)),
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        assert reached.wait(60)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        one.open_doors()
        killed.set()

    found = one.status()
    assert found.degraded
    assert found.promoted == 1
    assert [server.live for server in found.servers] == [LIVE[moment]]
    assert any("never ended" in problem for problem in found.problems)
    unfinished = History(one.repository, "digits").unfinished()
    assert unfinished is not None
    assert (unfinished.before, unfinished.after) == (1, 2)

    if moment in {"hold the old version", "drain"}:
        release(one.repository, "digits", 2, servers=one.addresses, settings=QUICK)
        assert one.live() == [2]
        release(one.repository, "digits", 1, servers=one.addresses, settings=QUICK)
    else:
        roll_back(one.repository, "digits", servers=one.addresses)
    assert one.live() == [1]
    assert not one.status().degraded
