"""An experiment on three real servers: no call is lost, and all servers have it or none."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from clickclean_client import Client, slots
from clickclean_client.experiments.assignment import is_challenger
from clickclean_export.errors import IntegrityError
from clickclean_export.experiment.errors import NotNowError, PlanError
from clickclean_export.experiment.live import arms, ramp, start, stop
from clickclean_export.experiment.store import ExperimentStore, Share, Stored
from clickclean_export.release.errors import ExperimentRunsError, ReleaseError
from clickclean_export.release.history import History
from clickclean_export.release.live import release
from tests.export.release.conftest import QUICK, SERVERS, Fleet
from tests.export.release.test_rollout import load_of, only_once


class KeyedCallers:
    """Ask with keys all the time; every answer must be that of the version it claims."""

    def __init__(self, fleet: Fleet, endpoint: str) -> None:
        self.arms: dict[str, set[str]] = {}
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self._goldens = {str(version): fleet.golden(version).head(1) for version in (1, 2)}
        self._endpoint = endpoint
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(2)]

    def _ask(self) -> None:
        inputs = self._goldens["1"].inputs
        with Client(self._endpoint, timeout_s=20, experiment_refresh_s=0.2) as client:
            number = 0
            while not self._stop.is_set():
                number += 1
                key = f"user-{number % 40}"
                try:
                    answer = client.infer("digits", inputs, key=key if number % 3 else None)
                except Exception as error:  # noqa: BLE001 - whatever it is, it is a failed request
                    self.failures.append(f"{type(error).__name__}: {error}")
                    continue
                if not self._goldens[answer.version].compare(answer).ok:
                    self.failures.append(f"version {answer.version} answered wrongly")
                self.answers[answer.version] += 1
                if answer.arm:
                    self.arms.setdefault(key, set()).add(answer.arm)
                elif number % 3 == 0 and answer.version != "1":
                    self.failures.append("a call without a key left the champion")

    def seen(self, version: str, more: int) -> None:
        """Wait until a version has answered some more calls."""
        goal = self.answers[version] + more
        for _ in range(600):
            if self.answers[version] >= goal:
                return
            self._stop.wait(0.05)
        raise AssertionError(f"version {version} does not answer: {self.answers}")


@contextmanager
def keyed_callers(fleet: Fleet) -> Iterator[KeyedCallers]:
    callers = KeyedCallers(fleet, fleet.addresses[0].endpoint)
    for thread in callers._threads:
        thread.start()
    try:
        yield callers
    finally:
        callers._stop.set()
        for thread in callers._threads:
            thread.join()


def test_start_ramp_stop_lose_no_call(fleet: Fleet) -> None:
    repository, servers = fleet.repository, fleet.addresses
    with keyed_callers(fleet) as callers:
        plan = start(repository, "digits", 2, Share(20), servers=servers, choices={})
        callers.seen("2", 5)
        assert [
            (arm.version, arm.percent, arm.problem) for arm in arms(_stored(fleet), servers)
        ] == [(2, 20, "")] * SERVERS
        assert fleet.live() == [1] * SERVERS
        (axes,) = fleet.axes("digits")
        assert fleet.axes(slots.challenger("digits")) == {axes}
        assert json.loads(axes)["tensors"]["image"] == ["batch", 1, 8, 8]
        with pytest.raises(ExperimentRunsError, match="an experiment of 'digits' runs"):
            release(repository, "digits", 2, servers=servers, settings=QUICK)
        with pytest.raises(NotNowError, match="runs already"):
            start(repository, "digits", 2, Share(20), servers=servers, choices={})
        first = {key for key, seen in callers.arms.items() if "challenger" in seen}
        assert first == {key for key in callers.arms if is_challenger(plan.salt, key, 20)}

        ramp(repository, "digits", Share(100), servers=servers)
        callers.seen("2", 40)
        assert first <= {key for key, seen in callers.arms.items() if "challenger" in seen}
        stored, released = stop(repository, "digits", servers=servers)
        assert stored is not None
        assert (stored.ended, released) == (True, None)
        callers.seen("1", 20)
    assert callers.failures == []
    assert fleet.names() == ["digits"]
    assert not (repository.root / slots.challenger("digits")).exists()
    assert not fleet.status().degraded
    actions = [e.action for e in History(repository, "digits").entries() if e.phase == "ended"]
    assert actions[-3:] == ["ab start", "ab ramp", "ab stop"]
    assert [change.percent for change in stored.changes] == [20, 100]


@pytest.mark.parametrize("step", ["start", "ramp"])
def test_all_servers_or_none(fleet: Fleet, step: str) -> None:
    repository, servers = fleet.repository, fleet.addresses
    refusing = servers[2].endpoint
    if step == "ramp":
        start(repository, "digits", 2, Share(5), servers=servers, choices={})
    fleet.doors[refusing].refuses = only_once(load_of("digits.challenger"))
    change: Callable[[], object] = {
        "start": lambda: start(repository, "digits", 2, Share(5), servers=servers, choices={}),
        "ramp": lambda: ramp(repository, "digits", Share(50), servers=servers),
    }[step]
    with pytest.raises(ReleaseError, match=refusing):
        change()
    fleet.open_doors()
    if step == "start":
        assert ExperimentStore(repository, "digits").running() is None
    else:
        assert [arm.percent for arm in arms(_stored(fleet), servers)] == [5] * SERVERS
        stop(repository, "digits", servers=servers)
    assert fleet.names() == ["digits"]
    assert fleet.live() == [1] * SERVERS


def test_a_challenger_that_was_altered_can_be_stopped(fleet: Fleet) -> None:
    """And what a command left that was killed before it was known, too."""
    repository, servers = fleet.repository, fleet.addresses
    start(repository, "digits", 2, Share(30), servers=servers, choices={})
    path = repository.version_dir("digits", 2) / "model.onnx"
    content = path.read_bytes()
    try:
        path.write_bytes(content[:-1])
        with pytest.raises(IntegrityError, match=r"model\.onnx"):
            ramp(repository, "digits", Share(1), servers=servers)
        stop(repository, "digits", servers=servers)
    finally:
        path.write_bytes(content)
    assert fleet.names() == ["digits"]

    plan = start(repository, "digits", 2, Share(30), servers=servers, choices={})
    ExperimentStore(repository, "digits").change(plan.experiment, Share(0), ended=True)
    assert any("without an experiment" in problem for problem in fleet.status().problems)
    assert stop(repository, "digits", servers=servers) == (None, None)
    assert fleet.names() == ["digits"]
    assert not fleet.status().degraded


def test_what_cannot_be_compared(fleet: Fleet) -> None:
    repository, servers = fleet.repository, fleet.addresses
    with pytest.raises(NotNowError, match="cannot challenge itself"):
        start(repository, "digits", 1, Share(5), servers=servers, choices={})
    for percent in (-1.0, 101.0, 0.0001, float("nan")):
        with pytest.raises(PlanError):
            start(repository, "digits", 2, Share(percent), servers=servers, choices={})
    with pytest.raises(PlanError, match="alpha"):
        start(repository, "digits", 2, Share(5), servers=servers, choices={"alpha": 2.0})
    with pytest.raises(NotNowError, match="no experiment of 'digits' runs"):
        ramp(repository, "digits", Share(5), servers=servers)
    with pytest.raises(NotNowError, match="no experiment of 'digits' runs"):
        stop(repository, "digits", servers=servers)
    assert fleet.names() == ["digits"]


def _stored(fleet: Fleet) -> Stored:
    stored = ExperimentStore(fleet.repository, "digits").running()
    assert stored is not None
    return stored
