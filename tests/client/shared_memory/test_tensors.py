"""Inputs and outputs in shared memory do not travel."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from clickclean_client import (
    Client,
    ClientError,
    InvalidRequest,
    ServerFault,
    SharedMemory,
)
from clickclean_client._shared_memory import FOLDER
from clickclean_client.testing import FakeServer
from tests.client.challengers import INPUTS as ROW_OF_3
from tests.client.challengers import start, until
from tests.client.shared_memory.memories import (
    IMAGES,
    REGISTER,
    SIZE,
    UNREGISTER,
    ours,
    put,
)


def test_an_input_does_not_travel(fake: FakeServer, client: Any, memory: SharedMemory) -> None:
    large = memory.empty((8, 3, 5), np.float32)
    large[:] = 7
    answer = client.infer("m", image=large)
    assert (answer["total"] == 35).all()
    assert fake.last_request["ModelInfer"].ByteSize() < 200
    assert not fake.last_request["ModelInfer"].raw_input_contents
    assert (fake.last_inputs["image"] == 7).all()

    large[:] = 1
    assert (client.infer("m", image=large)["total"] == 5).all()


@pytest.mark.parametrize(
    "part",
    [
        lambda array: array[1:3],
        lambda array: array[-1:],
        lambda array: array.reshape(2, 2, 3, 5)[1],
        lambda array: np.frombuffer(memoryview(array), np.float32).reshape(4, 3, 5)[2:],
        lambda array: array.view(np.int32).view(np.float32),
    ],
    ids=["rows", "the last row", "reshaped", "by its buffer", "by its bits"],
)
def test_parts_of_arrays(part: Any, fake: FakeServer, client: Any, memory: SharedMemory) -> None:
    given = part(put(memory, IMAGES))
    answer = client.infer("m", image=given)
    np.testing.assert_array_equal(answer["twice"], given * 2)
    assert not fake.last_request["ModelInfer"].raw_input_contents


def test_beside_ordinary_arrays(fake: FakeServer, client: Any, memory: SharedMemory) -> None:
    scale = np.full((4, 1), 3, np.float32)
    for feed, inline in (
        ({"image": put(memory, IMAGES), "scale": scale}, [scale.tobytes()]),
        ({"image": IMAGES, "scale": put(memory, scale)}, [IMAGES.tobytes()]),
        ({"image": put(memory, IMAGES), "scale": put(memory, scale)}, []),
        ({"image": IMAGES, "scale": scale}, [IMAGES.tobytes(), scale.tobytes()]),
    ):
        answer = client.infer("m", feed)
        np.testing.assert_array_equal(answer["total"], IMAGES.sum(axis=2) * 3)
        assert list(fake.last_request["ModelInfer"].raw_input_contents) == inline


def test_outputs_are_written_there(fake: FakeServer, client: Any, memory: SharedMemory) -> None:
    total = memory.empty((8, 3), np.float32)
    total[:] = -1
    answer = client.infer("m", image=IMAGES, outputs={"total": total})
    assert list(answer) == ["total"]
    assert np.shares_memory(answer["total"], total)
    assert not answer["total"].flags.writeable
    np.testing.assert_array_equal(answer["total"], IMAGES.sum(axis=2))
    np.testing.assert_array_equal(total[:4], IMAGES.sum(axis=2))
    assert (total[4:] == -1).all()


def test_outputs_that_come_with_the_answer(client: Any, memory: SharedMemory) -> None:
    total, twice = memory.empty((4, 3), np.float32), memory.empty((4, 3, 5), np.float32)
    image = put(memory, IMAGES)
    for outputs, there in (
        ({"total": total, "twice": None}, {"total"}),
        ({"twice": twice, "total": None}, {"twice"}),
        ({"twice": twice, "total": total}, {"twice", "total"}),
        ({"total": None}, set[str]()),
    ):
        answer = client.infer("m", image=image, outputs=outputs)
        assert set(answer) == set(outputs)
        for name, wanted in (("total", IMAGES.sum(axis=2)), ("twice", IMAGES * 2)):
            if name in outputs:
                np.testing.assert_array_equal(answer[name], wanted)
                shared = np.shares_memory(answer[name], total if name == "total" else twice)
                assert shared == (name in there)


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("BOOL", np.array([[True, False, True]])),
        ("UINT8", np.array([[1, 2, 255]], np.uint8)),
        ("INT64", np.array([[-1, 2, 3]], np.int64)),
        ("FP16", np.array([[0.5, 2, 3]], np.float16)),
        ("FP64", np.array([[0.1, 2, 3]], np.float64)),
        ("BF16", np.array([[1, 2, 3]], np.uint16)),
        ("BF16", np.array([[1, 2, 3]], ml_dtypes.bfloat16)),
    ],
)
def test_dtypes(
    dtype: str, values: NDArray[Any], fake: FakeServer, client: Any, memory: SharedMemory
) -> None:
    fake.serve("echo", inputs={"x": (dtype, [-1, 3])}, outputs={"y": (dtype, [-1, 3])})
    out = memory.empty(values.shape, values.dtype)
    inline = client.infer("echo", x=values)["y"]
    answer = client.infer("echo", x=put(memory, values), outputs={"y": out})["y"]
    assert answer.dtype == inline.dtype
    assert answer.tobytes() == inline.tobytes() == values.tobytes() == out.tobytes()


def test_booleans_of_another_byte(fake: FakeServer, client: Any, memory: SharedMemory) -> None:
    fake.serve("b", inputs={"x": ("UINT8", [-1, 3])}, outputs={"y": ("BOOL", [-1, 3])})
    out = memory.empty((1, 3), np.bool_)

    def written(request: Any) -> Any:
        response = fake.respond(request)
        out.view(np.uint8)[0] = [2, 0, 1]
        return response

    fake.answer(("ModelInfer", "b"), written)
    answer = client.infer("b", x=np.zeros((1, 3), np.uint8), outputs={"y": out})
    assert (answer["y"] == [[True, False, True]]).all()


def test_a_large_batch_in_parts(fake: FakeServer, client: Any, memory: SharedMemory) -> None:
    images = np.concatenate([IMAGES] * 5)
    answer = client.infer("m", image=put(memory, images), split=True)
    np.testing.assert_array_equal(answer["total"], images.sum(axis=2))
    assert fake.calls["ModelInfer"] == 3
    assert not fake.last_request["ModelInfer"].raw_input_contents


def test_streams_read_there(fake: FakeServer, client: Any, memory: SharedMemory) -> None:
    fake.serve(
        "d",
        inputs={"x": ("FP32", [-1, 3])},
        outputs={"y": ("FP32", [-1, 3])},
        answer=lambda x: iter([{"y": x}, {"y": x + 1}]),
        decoupled=True,
    )
    x = put(memory, np.ones((1, 3), np.float32))
    assert [answer["y"][0, 0] for answer in client.stream("d", x=x)] == [1, 2]
    assert not fake.last_request["ModelStreamInfer"].raw_input_contents
    fake.regions.close()
    assert [answer["y"][0, 0] for answer in client.stream("d", x=x)] == [1, 2]
    with pytest.raises(InvalidRequest, match="together with a stream"):
        list(client.stream("d", x=x, outputs={"y": memory.empty((1, 3), np.float32)}))


def test_many_calls(client: Any, memory: SharedMemory) -> None:
    image = put(memory, IMAGES)
    feeds = [{"image": image[n : n + 1]} for n in range(4)]
    answers = list(client.infer_many("m", feeds, concurrency=3))
    np.testing.assert_array_equal(
        np.concatenate([answer["twice"] for answer in answers]), IMAGES * 2
    )
    total = memory.empty((1, 3), np.float32)
    with pytest.raises(InvalidRequest, match="given the same arrays"):
        list(client.infer_many("m", feeds, outputs={"total": total}))


def test_an_empty_batch(client: Any, memory: SharedMemory) -> None:
    image, total = put(memory, IMAGES), memory.empty((4, 3), np.float32)
    assert client.infer("m", image=image[:0], outputs={"total": total})["total"].shape == (0, 3)


def test_the_server_knows_it_meanwhile(fake: FakeServer, client: Any) -> None:
    with client.shared_memory(size_bytes=SIZE) as memory:
        (path,) = ours()
        assert path == FOLDER / memory.name
        assert path.stat().st_size == SIZE
        assert path.stat().st_mode & 0o777 == 0o600
        request = fake.last_request[REGISTER]
        assert (request.name, request.key) == (memory.name, f"/{memory.name}")
        assert (request.offset, request.byte_size) == (0, SIZE)
    assert fake.calls[REGISTER] == fake.calls[UNREGISTER] == 1
    assert fake.last_request[UNREGISTER].name == memory.name


def test_several(fake: FakeServer, client: Any, memory: SharedMemory) -> None:
    with client.shared_memory(size_bytes=SIZE) as second:
        image, total = put(second, IMAGES), memory.empty((4, 3), np.float32)
        answer = client.infer("m", image=image, outputs={"total": total})
        np.testing.assert_array_equal(answer["total"], IMAGES.sum(axis=2))
        fake.regions.close()
        answer = client.infer("m", image=image, outputs={"total": total})
        np.testing.assert_array_equal(answer["total"], IMAGES.sum(axis=2))


def test_of_an_exact_client(fake: FakeServer) -> None:
    with Client(fake.endpoint, timeout_s=20) as client:
        exact = client.exactly()
        with exact.shared_memory(size_bytes=SIZE) as memory:
            image = put(memory, IMAGES)
            for each in (client, exact):
                each.infer("m", image=image)
                assert not fake.last_request["ModelInfer"].raw_input_contents


def test_named_versions(fake: FakeServer, client: Any, memory: SharedMemory) -> None:
    image = put(memory, IMAGES)
    fake.regions.close()
    assert client.infer("m", image=image, version=1).version == "1"
    assert fake.calls[REGISTER] == 2


def test_errors_of_the_model(fake: FakeServer, client: Any, memory: SharedMemory) -> None:
    fake.fail("ModelInfer", "INTERNAL", "the model failed", times=1)
    image, total = put(memory, IMAGES), memory.empty((4, 3), np.float32)
    with pytest.raises(ServerFault, match="the model failed"):
        client.infer("m", image=image, outputs={"total": total})
    client.infer("m", image=image, outputs={"total": total})


def test_hooks_see_one_call(fake: FakeServer) -> None:
    ends: list[Any] = []
    with (
        Client(fake.endpoint, timeout_s=20, hooks=[lambda _: ends.append]) as client,
        client.shared_memory(size_bytes=SIZE) as memory,
    ):
        image = put(memory, IMAGES)
        client.infer("m", image=image)
        fake.regions.close()
        client.infer("m", image=image)
        with pytest.raises(ClientError):
            client.infer("m", image=image[:, :, ::2])
    assert [end.outcome for end in ends] == ["ok", "ok", "InvalidRequest"]
    assert ends[0].request_bytes < 1000


def test_a_mirrored_request_has_the_inputs_of_its_call(fake: FakeServer) -> None:
    fake.serve("m", inputs=ROW_OF_3)
    start(fake, shadow_percent=100, percent=0.0)
    with (
        Client(fake.endpoint, timeout_s=20) as client,
        client.shared_memory(size_bytes=SIZE) as memory,
    ):
        x = put(memory, np.full((1, 3), 4, np.float32))
        block = fake.block(("ModelInfer", "m.challenger"))
        client.infer("m", x=x, key="user-1")
        fake.wait_for(("ModelInfer", "m.challenger"))
        x[:] = 5
        block.set()
        until(lambda: client.shadows.answered)
        np.testing.assert_array_equal(fake.last_inputs["x"], [[4, 4, 4]])
        assert fake.last_request["ModelInfer"].model_name == "m.challenger"

        y = memory.empty((1, 3), np.float32)
        with pytest.raises(InvalidRequest, match="together with a key"):
            client.infer("m", x=x, key="user-1", outputs={"y0": y})
