"""Experiments and named versions on a real server, from start to end, without a failed call."""

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clickclean_client import Admin, Client, ClientError, ExperimentLog, ModelNotFound, Split
from clickclean_client.experiments.assignment import is_challenger
from clickclean_client.slots import SPLIT, alone, challenger
from clickclean_server import Endpoint, serving
from tests.client.challengers import until
from tests.client.test_experiment_log import read
from tests.server.tiny_models import WEIGHTS, TinyRepository, linear

ROW = np.ones((1, 4), np.float32)
KEYS = [f"user-{number}" for number in range(40)]
SALT = "pepper"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TinyRepository, Endpoint]]:
    """A server with version 1; version 2, with other answers, is published."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        repository = TinyRepository(tmp_path_factory.mktemp("repository"))
        repository.add("linear", linear())
        repository.publish("linear", 2, linear(2))
        with serving(repository.root) as endpoint:
            yield repository, endpoint


def open_slot(
    repository: TinyRepository, name: str, version: int, split: Split | None = None
) -> None:
    """Serve a version under another name; the supervisor follows the folder."""
    folder = repository.root / name
    folder.mkdir(exist_ok=True)
    if not (folder / str(version)).is_symlink():
        (folder / str(version)).symlink_to(Path("..") / "linear" / str(version))
    parameters = {SPLIT: split.to_json()} if split else {}
    repository.promote(name, [version], linear(), parameters=parameters)


def split_of(percent: float, shadow_percent: float = 0.0) -> Split:
    return Split("linear-2-x", SALT, percent, 1, 2, shadow_percent=shadow_percent)


class Callers:
    """Threads that call again and again and keep what went wrong."""

    def __init__(self, endpoint: Endpoint, **settings: Any) -> None:
        self.client = Client(endpoint.grpc, timeout_s=10, experiment_refresh_s=0.05, **settings)
        self.failures: list[str] = []
        self.answers = 0
        self._done = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, *calls: Callable[[Client], Any]) -> None:
        for call in calls:
            self._threads.append(threading.Thread(target=self._repeat, args=(call,)))
            self._threads[-1].start()

    def _repeat(self, call: Callable[[Client], Any]) -> None:
        # A short pause, because the server loads on the same few cores.
        while not self._done.wait(0.002):
            try:
                answer = call(self.client)
            except ClientError as exc:
                self.failures.append(repr(exc))
                continue
            self.answers += 1
            # The answer is that of the version that it claims.
            if not np.allclose(answer["y"], ROW @ WEIGHTS * int(answer.version)):
                self.failures.append(f"version {answer.version} gave {answer['y']}")

    def __enter__(self) -> "Callers":
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()
        self.client.close()


def unnamed_is_the_champion(client: Client) -> Any:
    answer = client.infer("linear", x=ROW)
    assert (answer.version, answer.arm) == ("1", "")
    return answer


def arms(client: Client) -> dict[str, tuple[str, str]]:
    """Arm and version of each key."""
    answers = {key: client.infer("linear", x=ROW, key=key) for key in KEYS}
    return {key: (answer.arm, answer.version) for key, answer in answers.items()}


def expected(percent: float) -> dict[str, tuple[str, str]]:
    return {
        key: ("challenger", "2") if is_challenger(SALT, key, percent) else ("champion", "1")
        for key in KEYS
    }


def test_an_experiment_from_start_to_end(
    live: tuple[TinyRepository, Endpoint], tmp_path: Path
) -> None:
    repository, endpoint = live
    none = dict.fromkeys(KEYS, ("", "1"))
    with (
        ExperimentLog(tmp_path) as log,
        Callers(endpoint, experiment_log=log) as callers,
    ):
        client = callers.client
        assert arms(client) == none
        callers.start(
            unnamed_is_the_champion,
            lambda client: client.infer("linear", x=ROW, key="user-7"),
            lambda client: client.infer("linear", x=ROW, version=1),
        )
        open_slot(repository, challenger("linear"), 2, split_of(30))
        until(lambda: arms(client) == expected(30))
        assert len(set(expected(30).values())) == 2
        with Client(endpoint.grpc, timeout_s=10) as other:
            assert arms(other) == expected(30)
        open_slot(repository, challenger("linear"), 2, split_of(60, shadow_percent=50))
        until(lambda: arms(client) == expected(60))
        until(lambda: arms(client) and client.shadows.answered > 5)
        shutil.rmtree(repository.root / challenger("linear"))
        with Admin(endpoint.grpc, key=endpoint.key) as admin:
            admin.unload(challenger("linear"))
        until(lambda: arms(client) == none)
    assert callers.failures == []
    assert callers.answers > 0
    exposures = read(tmp_path, "exposures")
    assert {(row["arm"], row["version"]) for row in exposures if not row["fallback"]} == {
        ("champion", 1),
        ("challenger", 2),
    }
    shadows = [row for row in read(tmp_path, "shadows") if not row["error"]]
    # Twice the weights: the same argmax, other numbers.
    assert {row["agree"] for row in shadows} == {True}
    assert {row["max_difference"] for row in shadows} == {np.abs(ROW @ WEIGHTS).max()}


def test_a_named_version_moves(live: tuple[TinyRepository, Endpoint]) -> None:
    repository, endpoint = live
    with Callers(endpoint) as callers:
        callers.start(
            lambda client: client.infer("linear", x=ROW, version=1),
            lambda client: client.infer("linear", x=ROW),
        )
        named = callers.client.exactly()
        open_slot(repository, alone("linear", 1), 1)
        until(lambda: named.is_ready(alone("linear", 1)))
        repository.promote("linear", [2], linear())
        until(lambda: not named.is_ready("linear", version=1))
        assert callers.client.is_ready("linear", version=1)
        assert callers.client.infer("linear", x=ROW, version=1).version == "1"
        assert callers.client.infer("linear", x=ROW).version == "2"
        repository.promote("linear", [1], linear())
        until(lambda: named.is_ready("linear", version=1))
        shutil.rmtree(repository.root / alone("linear", 1))
        with Admin(endpoint.grpc, key=endpoint.key) as admin:
            admin.unload(alone("linear", 1))
        until(lambda: not named.is_ready(alone("linear", 1)))
        assert callers.client.infer("linear", x=ROW, version=1).version == "1"
    assert callers.failures == []
    assert callers.answers > 0


def test_what_the_server_says_of_what_it_does_not_serve(
    live: tuple[TinyRepository, Endpoint],
) -> None:
    _, endpoint = live
    with Admin(endpoint.grpc) as admin, Client(endpoint.grpc, timeout_s=10) as client:
        for name in ("nosuch", "nosuch.challenger", challenger("linear")):
            with pytest.raises(ModelNotFound):
                admin.config(name)
        with pytest.raises(ModelNotFound):
            client.infer("linear", x=ROW, version=9)
        assert admin.config("linear").max_batch_size == 8
