"""A split that is old is asked for before a call goes by it."""

import time

import pytest

from clickclean_client import Client
from clickclean_client.experiments import watch as watch_module
from clickclean_client.protocol import grpc
from clickclean_client.testing import FakeServer
from tests.client.challengers import IN_CHALLENGER, ROW, start


def test_a_caller_that_comes_seldom(fake: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "PAUSE_S", 0.01)
    start(fake)
    with Client(fake.endpoint, experiment_refresh_s=0.05) as seldom:
        assert seldom.infer("m", x=ROW, key=IN_CHALLENGER).arm == "challenger"
        code = grpc.StatusCode.NOT_FOUND
        fake.fail(("ModelConfig", "m.challenger"), code, "Request for unknown model")
        time.sleep(0.2)
        assert seldom.infer("m", x=ROW, key=IN_CHALLENGER).arm == ""
