import os
import shutil
import signal
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from clickclean_client import Client, ClientError
from clickclean_server import Endpoint, serving
from tests.server.tiny_models import WEIGHTS, TinyRepository, linear
from tests.server.watching import Watch

ONE_ROW = np.ones((1, 4), np.float32)


@pytest.fixture
def running(repository: TinyRepository) -> Iterator[tuple[TinyRepository, Endpoint]]:
    """A server with version 1; version 2, with other answers, is published."""
    repository.add("linear", linear())
    repository.publish("linear", 2, linear(2))
    with serving(repository.root) as endpoint:
        yield repository, endpoint


def test_a_promotion_is_followed_without_a_failed_request(
    running: tuple[TinyRepository, Endpoint],
) -> None:
    repository, endpoint = running
    watch = Watch(endpoint)
    failures: list[ClientError] = []
    versions: list[str] = []
    done = threading.Event()

    def call() -> None:
        with Client(endpoint.grpc, timeout_s=10) as client:
            while not done.is_set():
                try:
                    answer = client.infer("linear", x=ONE_ROW)
                except ClientError as exc:
                    failures.append(exc)
                    continue
                scale = int(answer.version)
                np.testing.assert_allclose(answer["y"], ONE_ROW @ WEIGHTS * scale)
                versions.append(answer.version)

    callers = [threading.Thread(target=call) for _ in range(2)]
    for caller in callers:
        caller.start()
    for version in (2, 1, 2):
        repository.promote("linear", [version], linear())
        assert watch.next_event("promoted")["versions"] == [version]
    done.set()
    for caller in callers:
        caller.join()
    assert failures == []
    assert set(versions) == {"1", "2"}


def test_two_versions_at_once(running: tuple[TinyRepository, Endpoint]) -> None:
    repository, endpoint = running
    repository.promote("linear", [1, 2], linear())
    assert Watch(endpoint).next_event("promoted")["versions"] == [1, 2]
    with Client(endpoint.grpc, timeout_s=10) as client:
        for version in (1, 2):
            answer = client.infer("linear", x=ONE_ROW, version=version)
            np.testing.assert_allclose(answer["y"], ONE_ROW @ WEIGHTS * version)


def test_a_broken_promotion_keeps_the_old_version(
    running: tuple[TinyRepository, Endpoint],
) -> None:
    repository, endpoint = running
    watch = Watch(endpoint)
    for version in (3, 4, 5, 6):
        repository.publish("linear", version, linear(version))
    folder = repository.root / "linear"
    (folder / "3" / "model.onnx").unlink()
    (folder / "4" / "model.onnx").write_bytes(b"no model")
    shutil.copy(folder / "2" / "golden.npz", folder / "5" / "golden.npz")  # other answers
    (folder / "6" / "golden.npz").write_bytes(b"no golden")
    reasons = {3: "there is no file", 4: "Exception", 5: "is off by", 6: "cannot be read", 7: "7"}

    with Client(endpoint.grpc, timeout_s=10) as client:
        for version, reason in reasons.items():
            repository.promote("linear", [version], linear())
            failed = watch.next_event("promotion-failed")
            assert reason in failed["detail"]
            assert "[1] serves on" in failed["text"]
            assert client.infer("linear", x=ONE_ROW).version == "1"
        repository.write_config("linear", "no { config")
        assert "no Triton model config" in watch.next_event("promotion-failed")["detail"]
        assert client.infer("linear", x=ONE_ROW).version == "1"

        # A restart brings back what was proven, not what stands on disk.
        os.kill(watch.server(), signal.SIGKILL)
        watch.next_event("restarted")
        assert client.infer("linear", x=ONE_ROW).version == "1"

        repository.promote("linear", [2], linear())
        watch.next_event("promoted")
        assert client.infer("linear", x=ONE_ROW).version == "2"


def test_a_config_that_disappears_stops_nothing(
    running: tuple[TinyRepository, Endpoint],
) -> None:
    repository, endpoint = running
    watch = Watch(endpoint)
    (repository.root / "linear" / "configs" / "cpu.pbtxt").unlink()
    watch.next_event("config-missing")
    with Client(endpoint.grpc, timeout_s=10) as client:
        assert client.infer("linear", x=ONE_ROW).version == "1"
    repository.promote("linear", [2], linear())
    assert watch.next_event("promoted")["versions"] == [2]


def test_a_model_that_is_promoted_later_is_picked_up(
    running: tuple[TinyRepository, Endpoint],
) -> None:
    repository, endpoint = running
    repository.publish("later", 1, linear(3))
    repository.promote("later", [1], linear())
    assert Watch(endpoint).next_event("promoted")["model"] == "later"
    with Client(endpoint.grpc, timeout_s=10) as client:
        answer = client.infer("later", x=ONE_ROW)["y"]
    np.testing.assert_allclose(answer, ONE_ROW @ WEIGHTS * 3)
