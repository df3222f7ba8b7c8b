"""Settings that no call can have are refused in one sentence, before anything is sent."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from clickclean_client import Client, InvalidRequest
from clickclean_client.testing import FakeServer

ROW = np.zeros((1, 3), np.float32)

SETTINGS = {
    "no name": lambda c: c.infer("", x=ROW),
    "name of bytes": lambda c: c.infer(b"m", x=ROW),
    "None as a name": lambda c: c.infer(None, x=ROW),
    "a number as a name": lambda c: c.infer(3, x=ROW),
    "metadata of no name": lambda c: c.metadata(""),
}


@pytest.mark.parametrize("call", SETTINGS.values(), ids=SETTINGS)
def test_model_names(call: Callable[[Any], Any], fake: FakeServer, client: Client) -> None:
    with pytest.raises(InvalidRequest, match="no model name"):
        call(client)
    assert not fake.calls


@pytest.mark.parametrize("version", [0, -1, "1abc", "01", "²", 1.0, True, "latest", " 1", b"1"])
def test_versions(version: Any, fake: FakeServer, client: Client) -> None:
    for call in (
        lambda: client.infer("m", x=ROW, version=version),
        lambda: client.metadata("m", version=version),
        lambda: client.is_ready("m", version=version),
    ):
        with pytest.raises(InvalidRequest, match="no model version") as caught:
            call()
        assert "whole numbers from 1" in caught.value.hint
    assert not fake.calls


@pytest.mark.parametrize(
    "timeout_s", [0, -1, float("nan"), float("inf"), "1", True, 1e9, b"1", [1.0]]
)
def test_timeouts(timeout_s: Any, fake: FakeServer, client: Client) -> None:
    for call in (
        lambda: client.infer("m", x=ROW, timeout_s=timeout_s),
        lambda: client.metadata("m", timeout_s=timeout_s),
        lambda: client.is_ready(timeout_s=timeout_s),
        lambda: Client(fake.endpoint, timeout_s=timeout_s),
    ):
        with pytest.raises(InvalidRequest, match="timeout_s must be"):
            call()
    assert not fake.calls


@pytest.mark.parametrize("request_id", [7, None, b"a", "\udc00", ["a"]])
def test_request_ids(request_id: Any, fake: FakeServer, client: Client) -> None:
    with pytest.raises(InvalidRequest, match="request_id must be a str"):
        client.infer("m", x=ROW, request_id=request_id)
    assert not fake.calls


@pytest.mark.parametrize("key", ["", 1.5, True, b"user", ["user"], "\udc00"])
def test_keys(key: Any, fake: FakeServer, client: Client) -> None:
    with pytest.raises(InvalidRequest, match="is no key") as caught:
        client.infer("m", x=ROW, key=key)
    assert "at least one character" in caught.value.hint
    assert not fake.calls


def test_a_key_and_a_version(fake: FakeServer, client: Client) -> None:
    with pytest.raises(InvalidRequest, match="a key is given together with version 2"):
        client.infer("m", x=ROW, key="user", version=2)
    with pytest.raises(InvalidRequest, match="a key is given to an exact client"):
        client.exactly().infer("m", x=ROW, key="user")
    assert not fake.calls


def test_an_input_given_twice(fake: FakeServer, client: Client) -> None:
    with pytest.raises(InvalidRequest, match="'x' is given twice"):
        client.infer("m", {"x": ROW}, x=ROW)
    assert not fake.calls


def test_a_version_without_its_model(fake: FakeServer, client: Client) -> None:
    with pytest.raises(InvalidRequest, match="a version is given without its model"):
        client.is_ready(version=1)
    assert not fake.calls


@pytest.mark.parametrize(
    "headers",
    [
        {"a b": "x"},
        {"": "x"},
        {"x-bin": "x"},
        {"grpc-timeout": "1"},
        {"x": "s3cret\n"},
        {"x": "s3crét"},
        {"x": 1},
        {1: "x"},
    ],
)
def test_headers(headers: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"header .* cannot be sent") as caught:
        Client("localhost:8001", headers=headers)
    assert "s3cr" not in str(caught.value)


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "localhost",
        "http://localhost:8001",
        "localhost:",
        ":8001",
        "localhost:0",
        "localhost:65536",
        "localhost:80x",
        "host:8001/v2",
        "a b:1",
        "::1:8001",
        "localhost:8001\n",
        None,
        8001,
    ],
)
def test_endpoints_that_are_refused(endpoint: Any) -> None:
    with pytest.raises(InvalidRequest, match="is no endpoint") as caught:
        Client(endpoint)
    assert '"host:port"' in caught.value.hint


@pytest.mark.parametrize("endpoint", ["localhost:8001", "10.0.0.1:1", "[::1]:8001", "a-b.c_d:9"])
def test_endpoints_that_are_taken(endpoint: str) -> None:
    with Client(endpoint) as client:
        assert client.endpoint == endpoint


def test_a_closed_client(fake: FakeServer) -> None:
    client = Client(fake.endpoint, timeout_s=20)
    client.metadata("m")
    client.close()
    client.close()
    fake.calls.clear()
    for call in (lambda: client.infer("m", x=ROW), client.is_ready, lambda: client.metadata("n")):
        with pytest.raises(InvalidRequest, match="the client is closed"):
            call()
    assert not fake.calls
