"""Wrong use of shared memory is refused before anything is sent."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from clickclean_client import (
    Client,
    InvalidRequest,
    ProtocolError,
    SharedMemory,
    _shared_memory,
)
from clickclean_client._shared_memory import FOLDER
from clickclean_client.testing import FakeServer
from tests.client.shared_memory.memories import (
    BOTH,
    IMAGES,
    REGISTER,
    SIZE,
    With,
    open_memory,
    put,
)

Wrong = Callable[[SharedMemory], Any]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda memory: memory.empty(4, np.complex64), "complex64 cannot lie"),
        (lambda memory: memory.empty(4, object), "object cannot lie"),
        (lambda memory: memory.empty(4, "S8"), r"\|S8 cannot lie"),
        (lambda memory: memory.empty(4, ">f4"), ">f4 cannot lie"),
        (lambda memory: memory.empty(4, "M8[s]"), "datetime64.* cannot lie"),
        (lambda memory: memory.empty(4, "floaty"), "'floaty' is no dtype"),
        (lambda memory: memory.empty((2, -1), np.float32), r"\(2, -1\) is no shape"),
        (lambda memory: memory.empty(2.0, np.float32), "2.0 is no shape"),
        (lambda memory: memory.empty("12", np.float32), "'12' is no shape"),
        (lambda memory: memory.empty(SIZE + 1, np.uint8), "65536 of 65536 bytes left"),
        (lambda memory: memory.empty((1 << 40, 1 << 40), np.uint8), "bytes left"),
    ],
)
def test_arrays_that_cannot_be_had(wrong: Wrong, sentence: str, memory: SharedMemory) -> None:
    with pytest.raises(InvalidRequest, match=sentence) as caught:
        wrong(memory)
    assert caught.value.hint
    assert memory.free_bytes == SIZE


def test_arrays_are_taken_one_after_another(memory: SharedMemory) -> None:
    first, second = memory.empty(3, np.uint8), memory.empty((), np.float64)
    assert memory.free_bytes == SIZE - 64 - 8
    assert second.__array_interface__["data"][0] % 64 == 0
    assert (first.shape, second.shape) == ((3,), ())
    assert not first.any()
    rest = memory.empty(SIZE - 128, np.uint8)
    assert memory.free_bytes == 0
    rest[:] = 1
    assert not first.any()
    with pytest.raises(InvalidRequest, match="0 of 65536 bytes left"):
        memory.empty(1, np.uint8)
    assert memory.empty((0, 4), np.float32).shape == (0, 4)


def of(array: NDArray[Any], **settings: Any) -> Callable[..., Any]:
    """A call with an input that is put into memory."""
    return lambda client, memory: client.infer("m", image=put(memory, array), **settings)


def into(shape: Any, dtype: Any = np.float32, *, name: str = "total", **settings: Any) -> Any:
    """A call with an output's array of that shape."""
    return lambda client, memory: client.infer(
        "m", image=IMAGES, outputs={name: memory.empty(shape, dtype)}, **settings
    )


def given(make: Callable[[SharedMemory], Any]) -> Callable[..., Any]:
    """A call with what is made as the array for an output."""
    return lambda client, memory: client.infer("m", image=IMAGES, outputs={"total": make(memory)})


def _twice(client: Any, memory: SharedMemory) -> Any:
    twice = memory.empty((4, 3, 5), np.float32)
    outputs = {"total": twice.reshape(-1)[8:20].reshape(4, 3), "twice": twice}
    return client.infer("m", image=IMAGES, outputs=outputs)


def _in_place(client: Any, memory: SharedMemory) -> Any:
    image = put(memory, IMAGES)
    return client.infer("m", image=image, outputs={"twice": image})


def _read_only(memory: SharedMemory) -> NDArray[Any]:
    array = memory.empty((4, 3), np.float32)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (of(IMAGES.astype(np.float64)), "is float64, but FP32 is wanted"),
        (of(IMAGES[:, :2]), "axis 1 of input 'image' is 2, it must be 3"),
        (of(np.zeros((9, 3, 5), np.float32)), "over the model's limit of 8"),
        (
            lambda client, memory: client.infer("m", image=put(memory, np.zeros(60, np.float32))),
            "has the shape",
        ),
        (
            lambda client, memory: client.infer(
                "m", image=put(memory, np.zeros((4, 3, 10), np.float32))[:, :, ::2]
            ),
            "'image' lies in shared memory, but not in one piece",
        ),
        (
            lambda client, memory: client.infer(
                "m", image=put(memory, IMAGES.view(np.int32)).view(">f4")
            ),
            "not in one piece and in order",
        ),
        (
            lambda client, memory: client.infer(
                "text", x=put(memory, np.zeros((1, 8), np.uint8)).view("S8")
            ),
            "'x' is BYTES, which cannot be sent from shared memory",
        ),
        (into((4, 3), np.float64), "output 'total' is float64"),
        (into((4, 2)), r"output 'total' has the shape \[4, 2\]"),
        (into(12), r"output 'total' has the shape \[12\]"),
        (into((3, 3)), "output 'total' has 3 rows for 4"),
        (into((4, 3), name="totl"), "no output 'totl'"),
        (into((4, 3), split=True), "together with split=True"),
        (into((4, 3), key="user"), "together with a key"),
        (into((4, 3), classify={"total": 1}), "'total' is classified"),
        (given(lambda _: np.zeros((4, 3), np.float32)), "does not lie in shared memory"),
        (given(lambda _: [[0.0]]), "is a list, not a numpy array"),
        (given(lambda memory: memory), "is a SharedMemory, not a numpy array"),
        (given(lambda memory: memory.empty((3, 4), np.float32).T), "in one piece"),
        (given(lambda memory: memory.empty((4, 3), np.int32).view(">f4")), "in one piece"),
        (given(_read_only), "'total' is read-only"),
        (_twice, "'twice' lies where the output 'total' shall be written"),
        (_in_place, "'image' lies where the output 'twice' shall be written"),
        (
            lambda client, memory: client.infer(
                "text",
                x=np.array([[b"a"]], object),
                outputs={"y": memory.empty((1, 1), np.uint8)},
            ),
            "'y' is BYTES, which cannot be written to shared memory",
        ),
    ],
)
def test_calls_that_are_refused_unsent(
    call: Any, sentence: str, fake: FakeServer, client: Any, memory: SharedMemory
) -> None:
    fake.serve("text", inputs={"x": ("BYTES", [-1, 1])}, outputs={"y": ("BYTES", [-1, 1])})
    with pytest.raises(InvalidRequest, match=sentence) as caught:
        call(client, memory)
    assert caught.value.hint
    assert fake.calls["ModelInfer"] == 0


def test_outputs_whose_size_only_the_model_knows(
    fake: FakeServer, client: Any, memory: SharedMemory
) -> None:
    fake.serve(
        "free",
        inputs={"n": ("INT64", [1])},
        outputs={"y": ("INT64", [-1, -1])},
        answer=lambda n: {"y": np.arange(2 * n[0]).reshape(2, -1)},
        max_batch=0,
    )
    y = memory.empty((3, 4), np.int64)
    answer = client.infer("free", n=np.array([5]), outputs={"y": y})
    assert answer["y"].tolist() == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert np.shares_memory(answer["y"], y)
    with pytest.raises(InvalidRequest, match="should be at least 112 bytes") as caught:
        client.infer("free", n=np.array([7]), outputs={"y": y})
    assert "larger array" in caught.value.hint


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda response: response.raw_output_contents.__setitem__(0, b"1234"), "came with"),
        (
            lambda response: (
                response.outputs[0].ClearField("shape")
                or response.outputs[0].shape.extend([4, 2**40])
            ),
            r"takes 35184372088832 bytes, its array has 96",
        ),
    ],
    ids=["inline", "too large"],
)
def test_answers_that_do_not_fit(
    change: Any, sentence: str, fake: FakeServer, client: Any, memory: SharedMemory
) -> None:
    fake.serve(
        "free", inputs={"x": ("INT64", [-1, -1])}, outputs={"y": ("INT64", [-1, -1])}, max_batch=4
    )

    def changed(request: Any) -> Any:
        response = fake.respond(request)
        change(response)
        return response

    fake.answer(("ModelInfer", "free"), changed)
    y = memory.empty((4, 3), np.int64)
    with pytest.raises(ProtocolError, match=sentence):
        client.infer("free", x=np.zeros((4, 3), np.int64), outputs={"y": y})


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "64", None])
def test_sizes_that_are_none(size: Any, client: Any) -> None:
    with pytest.raises(InvalidRequest, match="size_bytes must be a whole number from 1"):
        open_memory(client, size_bytes=size)


def test_more_than_there_is(fake: FakeServer, client: Any) -> None:
    whole = os.statvfs(FOLDER)
    there_is = whole.f_blocks * whole.f_frsize
    assert there_is > 0, "without a limit this test would fill the memory of the machine"
    for size, hint in ((there_is + 1, "--shm-size"), (1 << 70, "Give less")):
        with pytest.raises(InvalidRequest, match=f"{size} bytes .* cannot be had") as caught:
            open_memory(client, size_bytes=size)
        assert hint in caught.value.hint
    assert fake.calls[REGISTER] == 0


def test_without_a_place_for_it(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_shared_memory, "FOLDER", tmp_path / "missing")
    with pytest.raises(InvalidRequest, match=r"can be made in .*missing"):
        open_memory(client)


def test_another_system(fake: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with Client(fake.endpoint) as client:
        monkeypatch.setattr(sys, "platform", "darwin")
        with pytest.raises(InvalidRequest, match="not to be had on darwin"):
            open_memory(client)
        monkeypatch.undo()


@pytest.mark.parametrize("kind", BOTH)
def test_servers_behind_a_name(kind: With) -> None:
    with (
        kind("dns:///localhost:8001") as client,
        pytest.raises(InvalidRequest, match="behind a name"),
    ):
        open_memory(client)
