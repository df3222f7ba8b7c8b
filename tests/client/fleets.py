"""Two fake servers behind one client, in threads or on an event loop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pytest

from clickclean_client import Client, ClientError, Retry, RetryBudget
from clickclean_client.testing import FakeServer
from tests.client.in_loop import InLoop

ROW = np.zeros((1, 3), np.float32)
INPUTS = {"x": ("FP32", [-1, 3])}

BOTH: tuple[Any, ...] = (Client, InLoop)
"""The two kinds of client, for `pytest.mark.parametrize`."""


@contextmanager
def fakes(count: int = 2, **settings: Any) -> Iterator[list[FakeServer]]:
    """Servers of the model `m`, which gives back what it gets."""
    with ExitStack() as stack:
        found = [stack.enter_context(FakeServer(**settings)) for _ in range(count)]
        for server in found:
            server.serve("m", inputs=INPUTS)
        yield found


def retry(**settings: Any) -> Retry:
    """The usual retries, with a budget that no other test uses."""
    return Retry(**{"budget": RetryBudget(), **settings})


def warm(client: Any, servers: list[FakeServer], calls: int = 40) -> None:
    """Call until every server has answered; then forget the calls."""
    for _ in range(calls):
        client.infer("m", x=ROW)
    assert all(server.calls["ModelInfer"] for server in servers)
    for server in servers:
        server.forget_calls()


def asked(servers: list[FakeServer], rpc: str = "ModelInfer") -> list[int]:
    """How often each server was called."""
    return [server.calls[rpc] for server in servers]


def error_of(client: Any, **settings: Any) -> ClientError:
    """What a call to `m` fails with."""
    with pytest.raises(ClientError) as caught:
        client.infer("m", x=ROW, **settings)
    return caught.value
