"""All servers end on one version, whichever of them refuses in whichever phase."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from clickclean_export.errors import IntegrityError
from clickclean_export.release.errors import ReleaseError, ReleaseRefused
from clickclean_export.release.history import History
from clickclean_export.release.live import release, roll_back
from clickclean_export.release.live_proof import NotServedError, verify_live
from clickclean_export.release.rollout import Settings
from clickclean_export.verify import verify_version
from tests.export.release.conftest import QUICK, SERVERS, Fleet
from tests.models.versions import add_version, rewrite_manifest

Refuses = Callable[[str, Any], bool]


def load_of(name: str) -> Refuses:
    return lambda rpc, request: rpc == "RepositoryModelLoad" and request.model_name == name


def unload_of(name: str) -> Refuses:
    return lambda rpc, request: rpc == "RepositoryModelUnload" and request.model_name == name


def infer_of(name: str) -> Refuses:
    return lambda rpc, request: rpc == "ModelInfer" and request.model_name == name


def statistics_of(name: str) -> Refuses:
    return lambda rpc, request: rpc == "ModelStatistics" and request.name == name


def index(rpc: str, _request: Any) -> bool:
    return rpc == "RepositoryIndex"


def only_once(refuses: Refuses) -> Refuses:
    """What is refused once may be what takes it back."""
    done: list[str] = []

    def decide(rpc: str, request: Any) -> bool:
        if done or not refuses(rpc, request):
            return False
        done.append(rpc)
        return True

    return decide


PHASES = {
    "preflight": index,
    "load": load_of("digits.v2"),
    "golden requests": infer_of("digits.v2"),
    "hold the old version": load_of("digits.v1"),
    "switch": load_of("digits"),
    "drain": statistics_of("digits.v1"),
    "unload": unload_of("digits.v2"),
}


@pytest.mark.parametrize("phase", PHASES)
def test_one_server_that_refuses_keeps_the_old_version_on_all(fleet: Fleet, phase: str) -> None:
    refusing = fleet.addresses[1].endpoint
    fleet.doors[refusing].refuses = only_once(PHASES[phase])
    with pytest.raises(ReleaseError) as caught:
        release(
            fleet.repository, "digits", 2, servers=fleet.addresses, why="a test", settings=QUICK
        )
    assert f"in phase '{phase}': {refusing}: " in str(caught.value)
    where = "the 2 reached" if phase == "preflight" else "all 3"
    assert f"version 1 is live on {where} servers" in str(caught.value)
    assert not caught.value.stuck
    assert caught.value.exit_code == (3 if phase in {"load", "golden requests", "switch"} else 1)
    assert fleet.live() == [1] * SERVERS
    assert fleet.names() == ["digits"]
    assert fleet.repository.promoted("digits") == 1
    last = History(fleet.repository, "digits").entries()[-1]
    verdict = "refused" if phase == "preflight" else "taken back"
    assert (last.before, last.after, last.verdict, last.why) == (1, 2, verdict, "a test")
    assert last.detail.startswith(f"{phase}: {refusing}: ")
    assert not fleet.status().degraded


def test_forth_and_back_on_all(fleet: Fleet) -> None:
    axes = fleet.axes("digits")
    assert axes == {'{"tensors":{"image":["batch",1,8,8],"logits":["batch",10]},"ranges":{}}'}
    done = release(fleet.repository, "digits", 2, servers=fleet.addresses, settings=QUICK)
    assert (done.version, done.previous, done.still_asked) == (2, 1, ())
    assert fleet.live() == [2] * SERVERS
    assert fleet.axes("digits") == axes
    assert fleet.names() == ["digits"]
    assert [path.name for path in fleet.repository.root.iterdir() if path.name[0] != "."] == [
        "digits"
    ]
    proof = verify_version(fleet.repository, "digits", 2)
    assert len(verify_live(fleet.repository, proof, fleet.addresses)) == SERVERS
    with pytest.raises(NotServedError, match=r"has [0-9a-f]") as caught:
        verify_live(
            fleet.repository, verify_version(fleet.repository, "digits", 1), fleet.addresses
        )
    assert caught.value.exit_code == 3

    back = roll_back(fleet.repository, "digits", servers=fleet.addresses)
    assert (back.version, back.previous) == (1, 2)
    assert fleet.live() == [1] * SERVERS
    assert fleet.axes("digits") == axes
    entry = History(fleet.repository, "digits").entries()[-1]
    assert (entry.action, entry.before, entry.after, entry.verdict) == ("rollback", 2, 1, "done")


def test_a_server_that_cannot_be_taken_back_is_named(fleet: Fleet) -> None:
    """It stops answering after the switch: nobody can say what it serves."""
    gone = fleet.addresses[2].endpoint
    switched: list[str] = []

    def refuses(rpc: str, request: Any) -> bool:
        if rpc == "RepositoryModelLoad" and request.model_name == "digits":
            switched.append(rpc)
            return len(switched) > 1
        return rpc == "ModelInfer" and bool(switched)

    fleet.doors[gone].refuses = refuses
    with pytest.raises(ReleaseError) as caught:
        release(fleet.repository, "digits", 2, servers=fleet.addresses, settings=QUICK)
    assert f"not taken back: {gone}" in str(caught.value)
    assert History(fleet.repository, "digits").entries()[-1].verdict == "not taken back"
    fleet.open_doors()
    found = fleet.status()
    assert found.degraded
    assert f"{gone}: version 2 is live, the repository says version 1" in found.problems
    assert "servers differ: versions 1, 2 are live" in found.problems
    release(fleet.repository, "digits", 1, servers=fleet.addresses, settings=QUICK)
    assert not fleet.status().degraded


def test_a_load_that_hangs_is_refused_within_its_bound(fleet: Fleet) -> None:
    """The door holds the call back: a stand-in for a model process that never gets ready."""

    def hangs(rpc: str, request: Any) -> bool:
        if load_of("digits.v2")(rpc, request):
            time.sleep(3)
            return True
        return False

    fleet.doors[fleet.addresses[0].endpoint].refuses = hangs
    settings = Settings(load_timeout_s=1.5)
    with pytest.raises(ReleaseError, match=r"gave no answer within 1\.5 s"):
        release(fleet.repository, "digits", 2, servers=fleet.addresses[:1], settings=settings)
    fleet.open_doors()
    assert fleet.live() == [1] * SERVERS
    assert fleet.names() == ["digits"]


@pytest.mark.parametrize("fault", ["corrupt ONNX", "golden differs"])
def test_what_a_server_refuses_never_answers(fleet: Fleet, fault: str) -> None:
    """Its manifest agrees with its files, so only a server can find out."""
    number = {"corrupt ONNX": 3, "golden differs": 4}[fault]
    folder = add_version(fleet.repository.root / "digits", number)
    if fault == "corrupt ONNX":
        (folder / "model.onnx").write_bytes(b"not a model")
    else:
        (folder / "golden.npz").write_bytes(
            (fleet.repository.version_dir("digits", 2) / "golden.npz").read_bytes()
        )
    rewrite_manifest(folder, number)
    with pytest.raises(ReleaseRefused, match="in phase 'load'") as caught:
        release(fleet.repository, "digits", number, servers=fleet.addresses, settings=QUICK)
    assert caught.value.exit_code == 3
    if fault == "golden differs":
        assert "golden answer" in str(caught.value)
    assert fleet.live() == [1] * SERVERS
    assert fleet.names() == ["digits"]


def test_what_is_refused_on_disk_reaches_no_server(fleet: Fleet) -> None:
    folder = add_version(fleet.repository.root / "digits", 5)
    with (folder / "model.onnx").open("ab") as stream:
        stream.write(b"\0")
    with pytest.raises(IntegrityError, match=r"model\.onnx"):
        release(fleet.repository, "digits", 5, servers=fleet.addresses, settings=QUICK)
    assert all(not door.seen for door in fleet.doors.values())
    assert History(fleet.repository, "digits").entries()[-1].verdict == "refused"
