"""A forked child has connections of its own, or is told why it cannot; it never hangs."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import pytest

from clickclean_client import AsyncClient, Client, _forks
from clickclean_client.testing import FakeServer


def forked(
    server: FakeServer, kind: str, parent: str, child: str, support: str | None = None
) -> str:
    """What became of the child's calls; the parent's must go on as before."""
    environment = {key: value for key, value in os.environ.items() if "GRPC_" not in key}
    if support is not None:
        environment["GRPC_ENABLE_FORK_SUPPORT"] = support
    ended = subprocess.run(
        [sys.executable, "-m", "tests.client.forking", server.endpoint, kind, parent, child],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    of_child, of_parent = ended.stdout.splitlines()
    assert of_parent == "ok", ended.stderr
    return of_child


@pytest.mark.parametrize("support", [None, "1"])
@pytest.mark.parametrize("child", ["same", "new", "other"])
def test_after_calls_of_the_parent(fake: FakeServer, child: str, support: str | None) -> None:
    assert forked(fake, "Client", "called", child, support) == "ok"


@pytest.mark.parametrize("child", ["same", "new"])
def test_during_calls_of_the_parent(fake: FakeServer, child: str) -> None:
    assert forked(fake, "Client", "busy", child) == "ok"


@pytest.mark.parametrize("support", [None, "0", "1"])
@pytest.mark.parametrize("kind", ["Client", "AsyncClient"])
def test_a_client_that_was_only_made(fake: FakeServer, kind: str, support: str | None) -> None:
    assert forked(fake, kind, "constructed", "same", support) == "ok"


@pytest.mark.parametrize("child", ["same", "new"])
def test_where_grpc_is_told_not_to_fork(fake: FakeServer, child: str) -> None:
    said = forked(fake, "Client", "called", child, "0")
    assert said.startswith("InvalidRequest: ")
    assert "was used before this process was forked" in said
    assert "'spawn' or 'forkserver'" in said
    assert "leave GRPC_ENABLE_FORK_SUPPORT unset" in said


@pytest.mark.parametrize("child", ["same", "new"])
def test_async_after_async_is_refused(fake: FakeServer, child: str) -> None:
    said = forked(fake, "AsyncClient", "called", child)
    assert said.startswith("InvalidRequest: ")
    assert "was used before this process was forked" in said
    assert "an AsyncClient may also be closed before the fork" in said


def test_a_blocking_client_after_an_async_one(fake: FakeServer) -> None:
    assert forked(fake, "AsyncClient", "called", "other") == "ok"


def test_async_after_async_that_was_closed(fake: FakeServer) -> None:
    assert forked(fake, "AsyncClient", "closed", "new") == "ok"


def test_clients_leave_nothing_behind() -> None:
    gc.collect()
    before = len(_forks._living)
    clients = [Client("127.0.0.1:1"), AsyncClient("127.0.0.1:1")]
    assert len(_forks._living) > before
    clients.clear()
    gc.collect()
    assert len(_forks._living) <= before
