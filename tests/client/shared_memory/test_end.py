"""Nothing of shared memory stays behind."""

from __future__ import annotations

import gc
import logging
import os
import signal
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from clickclean_client import (
    Client,
    InvalidRequest,
    SharedMemory,
)
from clickclean_client._shared_memory import FOLDER, PREFIX
from clickclean_client.testing import FakeServer
from tests.client.shared_memory.memories import (
    IMAGES,
    IN_USE,
    SIZE,
    UNREGISTER,
    close_under_it,
    ours,
    put,
)


def test_arrays_of_closed_memory(fake: FakeServer, client: Any) -> None:
    with client.shared_memory(size_bytes=SIZE) as memory:
        image, total = put(memory, IMAGES), memory.empty((4, 3), np.float32)
        answer = client.infer("m", image=image, outputs={"total": total})
    assert memory.closed
    fake.forget_calls()
    for feed, settings in (
        ({"image": image}, {}),
        ({"image": image[1:]}, {}),
        ({"image": IMAGES}, {"outputs": {"total": total}}),
    ):
        with pytest.raises(InvalidRequest, match="lies in shared memory that is closed") as caught:
            client.infer("m", feed, **settings)
        assert "array.copy()" in caught.value.hint
    with pytest.raises(InvalidRequest, match="is closed"):
        memory.empty(1, np.float32)
    assert fake.calls["ModelInfer"] == 0

    np.testing.assert_array_equal(answer["total"], IMAGES.sum(axis=2))
    image += 1
    np.testing.assert_array_equal(client.infer("m", image=image.copy())["twice"], (IMAGES + 1) * 2)
    with Client(fake.endpoint, timeout_s=20) as other:
        other.infer("m", image=image)  # to whom it is an ordinary array
    del image, total, answer, feed, settings, caught
    gc.collect()  # the error's frames have the arrays, too
    assert not memory.alive


def test_memory_that_is_still_in_use(fake: FakeServer, client: Any) -> None:
    with client.shared_memory(size_bytes=SIZE):
        fake.fail(UNREGISTER, "INTERNAL", IN_USE, times=3)
    assert fake.calls[UNREGISTER] == 4


def test_memory_that_is_always_in_use(
    fake: FakeServer, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with client.shared_memory(size_bytes=SIZE, timeout_s=1) as memory:
        fake.fail(UNREGISTER, "INTERNAL", IN_USE)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("clickclean_client", logging.WARNING)
    assert memory.name in record.message
    assert "requests still use it" in record.message


@pytest.mark.parametrize("gone", ["server", "client"])
def test_who_goes_first(
    gone: str, fake: FakeServer, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with client.shared_memory(size_bytes=SIZE):
        fake.stop() if gone == "server" else close_under_it(client)
    # A server that is gone has forgotten it; one that was not asked has not.
    assert len(caplog.records) == (gone == "client")


def test_an_error_inside(fake: FakeServer, client: Any) -> None:
    with pytest.raises(ZeroDivisionError), client.shared_memory(size_bytes=SIZE):
        raise ZeroDivisionError
    assert fake.calls[UNREGISTER] == 1


def _run(program: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


_OPEN = """
import os, signal, sys
from clickclean_client import Client
client = Client(sys.argv[1], timeout_s=20)
opened = client.shared_memory(size_bytes=4096)
memory = opened.__enter__()
print(memory.name, flush=True)
"""


def test_a_process_that_just_ends(fake: FakeServer) -> None:
    done = _run(_OPEN, fake.endpoint)
    assert done.returncode == 0, done.stderr
    assert not (FOLDER / done.stdout.strip()).exists()


def test_what_a_killed_process_left_goes_with_the_next_memory(
    fake: FakeServer, client: Any
) -> None:
    done = _run(f"{_OPEN}\nos.kill(os.getpid(), signal.SIGKILL)", fake.endpoint)
    assert done.returncode == -signal.SIGKILL
    left = FOLDER / done.stdout.strip()
    assert left.exists()
    unregistered: list[str] = []

    def forgotten(request: Any) -> Any:
        unregistered.append(request.name)
        return fake.regions.unregister(request)

    fake.answer(UNREGISTER, forgotten)
    with client.shared_memory(size_bytes=SIZE) as memory:
        assert left.name in memory.left_over
        assert not left.exists()
    assert unregistered[-2:] == [left.name, memory.name]


def test_what_others_use_stays(fake: FakeServer, client: Any, memory: SharedMemory) -> None:
    empty = FOLDER / f"{PREFIX}{os.getpid()}_just_being_made"
    empty.touch()
    try:
        with client.shared_memory(size_bytes=SIZE) as second:
            assert {memory.name, empty.name}.isdisjoint(second.left_over)
            assert {FOLDER / memory.name, empty} <= ours()
    finally:
        empty.unlink()


def test_a_forked_child_leaves_it_to_its_parent() -> None:
    done = _run(
        """
import os
from clickclean_client import SharedMemory
from clickclean_client._shared_memory import FOLDER, remove_left_over
memory = SharedMemory(4096)
array = memory.empty(4, "int32")
child = os.fork()
if not child:
    array[:] = 7
    memory.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert (array == 7).all()
assert (FOLDER / memory.name).exists()
memory.close()
assert not (FOLDER / memory.name).exists()
"""
    )
    assert done.returncode == 0, done.stderr
