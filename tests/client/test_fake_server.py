"""The fake that services test themselves against, asked by Triton's own client and by ours."""

import gc
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import shared_memory
from queue import Queue
from typing import Any

import numpy as np
import pytest
from tritonclient import grpc as triton

from clickclean_client import Admin, Client, ClientError, InvalidRequest, ModelNotFound
from clickclean_client import testing as package
from clickclean_client.protocol import NUMPY_DTYPES, grpc, service_pb2
from clickclean_client.testing import FakeServer

IMAGE = {"image": ("FP32", [-1, 1, 8, 8])}
LOGITS = {"logits": ("FP32", [-1, 10])}
ROWS = np.arange(128, dtype=np.float32).reshape(2, 1, 8, 8)


def first_ten(image: Any) -> dict[str, Any]:
    return {"logits": image.reshape(-1, 64)[:, :10] * np.float32(2)}


@pytest.fixture
def digits(fake: FakeServer) -> FakeServer:
    fake.serve("digits", inputs=IMAGE, outputs=LOGITS, max_batch=32, version=3, answer=first_ten)
    return fake


@pytest.fixture
def theirs(digits: FakeServer) -> Iterator[Any]:
    with triton.InferenceServerClient(digits.endpoint) as client:
        yield client


def tensor(name: str, array: Any, dtype: str = "FP32") -> Any:
    value = triton.InferInput(name, list(array.shape), dtype)
    value.set_data_from_numpy(array)
    return value


def test_names_are_lazy() -> None:
    assert package.__all__ == sorted(package.__all__)
    for name in package.__all__:
        assert getattr(package, name).__name__ == name
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="no attribute 'FakeSrver'"):
        _ = package.FakeSrver
    code = "import sys, clickclean_client.testing; print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for library in ("numpy", "grpc", "pytest"):
        assert f"'{library}'" not in done.stdout


def test_it_needs_nothing_beside_the_client() -> None:
    code = (
        "import sys; sys.modules['pytest'] = None\n"
        "from clickclean_client.testing import FakeServer, FakeTls\n"
        "with FakeServer() as server: server.serve('m', inputs={'x': ('FP32', [-1, 3])})\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for library in ("cryptography", "onnx", "pyarrow", "scipy", "torch"):
        assert f"'{library}'" not in done.stdout


def test_what_tritons_own_client_sees(digits: FakeServer, theirs: Any) -> None:
    assert theirs.is_server_live()
    assert theirs.is_server_ready()
    assert theirs.is_model_ready("digits", "3")
    assert not theirs.is_model_ready("digits", "4")
    assert "statistics" in theirs.get_server_metadata().extensions
    metadata = theirs.get_model_metadata("digits")
    assert (list(metadata.versions), list(metadata.inputs[0].shape)) == (["3"], [-1, 1, 8, 8])
    config = theirs.get_model_config("digits").config
    assert (config.max_batch_size, list(config.input[0].dims)) == (32, [1, 8, 8])
    result = theirs.infer("digits", [tensor("image", ROWS)], request_id="r7")
    np.testing.assert_array_equal(result.as_numpy("logits"), first_ten(ROWS)["logits"])
    assert result.get_response().id == "r7"
    assert result.get_response().model_version == "3"
    np.testing.assert_array_equal(digits.last_inputs["image"], ROWS)
    statistics = theirs.get_inference_statistics("digits").model_stats[0]
    assert (statistics.inference_count, statistics.execution_count) == (2, 1)
    assert statistics.inference_stats.success.ns > 0


def test_what_our_client_sees(digits: FakeServer) -> None:
    with Client(digits.endpoint, timeout_s=20) as client:
        assert client.is_ready("digits")
        assert client.metadata("digits").max_batch == 32
        answer = client.infer("digits", image=ROWS)
        assert (answer.version, answer["logits"].shape) == ("3", (2, 10))
        with pytest.raises(InvalidRequest, match="no input 'imgae'"):
            client.infer("digits", imgae=ROWS)
    assert digits.calls["ModelInfer"] == 1
    assert digits.asked["ModelInfer", "digits", ""] == 1


def test_the_repository(digits: FakeServer, theirs: Any) -> None:
    digits.serve("digits", inputs=IMAGE, outputs=LOGITS, version=4)
    with Client(digits.endpoint, timeout_s=20) as client, Admin(digits.endpoint) as admin:
        assert client.infer("digits", image=ROWS).version == "4"
        assert client.infer("digits", image=ROWS, version=3).version == "3"
        digits.unload("digits", 4)
        assert client.infer("digits", image=ROWS).version == "3"
        admin.unload("digits")
        states = {(m.name, m.version): m.state for m in admin.index()}
        assert states == {
            ("digits", "3"): "UNAVAILABLE",
            ("digits", "4"): "UNAVAILABLE",
            ("m", "1"): "READY",
        }
        assert not client.is_ready("digits")
        with pytest.raises(ModelNotFound, match="no available versions"):
            client.infer("digits", image=ROWS)
        admin.load("digits")
        assert client.infer("digits", image=ROWS).version == "4"
        with pytest.raises(ClientError, match="failed to poll"):
            admin.load("nosuch")
    assert [m.name for m in theirs.get_model_repository_index().models] == ["digits", "digits", "m"]


@pytest.mark.parametrize("dtype", sorted(NUMPY_DTYPES))
def test_without_an_answer_inputs_come_back_or_zeros(dtype: str, fake: FakeServer) -> None:
    kind = NUMPY_DTYPES[dtype]
    x = np.array([[b"a", b""]], object) if dtype == "BYTES" else np.ones((1, 2), kind)
    fake.serve(
        "echo",
        inputs={"x": (dtype, [-1, 2])},
        outputs={"same": (dtype, [-1, -1]), "blank": (dtype, [-1, 3, -1])},
    )
    with Client(fake.endpoint, timeout_s=20) as client:
        answer = client.infer("echo", x=x)
    assert answer["same"].tolist() == x.tolist()
    assert answer["blank"].shape == (1, 3, 1)
    assert not any(answer["blank"].ravel())


def test_typed_contents_instead_of_raw_bytes(fake: FakeServer) -> None:
    kinds = {"INT8": "int", "UINT32": "uint", "INT64": "int64", "FP64": "fp64", "BOOL": "bool"}
    fake.serve("typed", inputs={name: (name, [-1, 2]) for name in kinds})
    request = service_pb2.ModelInferRequest(model_name="typed")
    for dtype, kind in kinds.items():
        value = request.inputs.add(name=dtype, datatype=dtype, shape=[1, 2])
        getattr(value.contents, f"{kind}_contents").extend([0, 1])
    raws = fake.respond(request).raw_output_contents
    wanted = [np.array([0, 1], NUMPY_DTYPES[dtype]).tobytes() for dtype in kinds]
    assert list(raws) == wanted


def test_tensors_in_shared_memory(digits: FakeServer, theirs: Any) -> None:
    region = shared_memory.SharedMemory(create=True, size=4096)
    try:
        memory: Any = region.buf
        memory[256 : 256 + ROWS.nbytes] = ROWS.tobytes()
        theirs.register_system_shared_memory("region", region.name, 4000, offset=96)
        assert theirs.get_system_shared_memory_status().regions["region"].byte_size == 4000
        image = triton.InferInput("image", list(ROWS.shape), "FP32")
        image.set_shared_memory("region", ROWS.nbytes, offset=160)
        logits = triton.InferRequestedOutput("logits")
        logits.set_shared_memory("region", 80, offset=2000)
        result = theirs.infer("digits", [image], outputs=[logits])
        assert list(result.get_response().raw_output_contents) == [b""]
        written = np.frombuffer(bytes(memory[2096:2176]), np.float32).reshape(2, 10)
        np.testing.assert_array_equal(written, first_ten(ROWS)["logits"])
        theirs.unregister_system_shared_memory("region")
        with pytest.raises(triton.InferenceServerException, match="Unable to find shared memory"):
            theirs.infer("digits", [image])
    finally:
        region.close()
        region.unlink()


def stream(client: Any, *names: str, empty_final: bool = False) -> list[tuple[Any, ...]]:
    """Ask for each name; what came: the error, or the output, and the flag of the final one."""
    came: Queue[Any] = Queue()
    client.start_stream(lambda result, error: came.put((result, error)))
    for name in names:
        client.async_stream_infer(
            name,
            [tensor("n", np.array([[3]], np.int32), "INT32")],
            enable_empty_final_response=empty_final,
        )
    client.stop_stream()
    found: list[tuple[Any, ...]] = []
    for result, error in iter(lambda: came.get() if came.qsize() else None, None):
        if error is not None:
            found.append(("error", error.message()))
            continue
        value = result.as_numpy("k")
        final = result.get_response().parameters["triton_final_response"].bool_param
        found.append((None if value is None else value.item(), final))
    return found


def count_down(n: Any) -> Iterator[dict[str, Any]]:
    for k in range(n.item(), 0, -1):
        yield {"k": np.array([[k]], np.int32)}


def test_a_decoupled_model_streams(fake: FakeServer, theirs: Any) -> None:
    tensors: dict[str, Any] = {
        "inputs": {"n": ("INT32", [-1, 1])},
        "outputs": {"k": ("INT32", [-1, 1])},
    }
    fake.serve("down", **tensors, answer=count_down, decoupled=True)
    fake.serve("silent", **tensors, answer=lambda **_: iter(()), decoupled=True)
    fake.serve("plain", **tensors)
    down = [(3, False), (2, False), (1, False)]
    assert stream(theirs, "down", "silent", "plain") == [*down, (3, True)]
    assert stream(theirs, "down", "silent", "plain", empty_final=True) == [
        *down,
        (None, True),
        (None, True),
        (3, True),
    ]
    unknown = ("error", "Request for unknown model: 'nosuch' is not found")
    assert stream(theirs, "nosuch", "plain") == [unknown, (3, True)]
    assert fake.calls["ModelStreamInfer"] == 3
    assert fake.asked["ModelStreamInfer", "plain", ""] == 3
    with pytest.raises(triton.InferenceServerException, match="decoupled transaction policy"):
        theirs.infer("down", [tensor("n", np.array([[3]], np.int32), "INT32")])


def test_health_as_load_balancers_ask_it(fake: FakeServer) -> None:
    with grpc.insecure_channel(fake.endpoint) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert check(b"", timeout=20) == b"\x08\x01"
        fake.drain()
        with pytest.raises(grpc.RpcError, match="Server exiting"):
            check(b"", timeout=20)
        with pytest.raises(grpc.RpcError, match="UNIMPLEMENTED"):
            channel.unary_unary("/grpc.health.v1.Health/List")(b"", timeout=20)


def test_many_calls_at_once(digits: FakeServer) -> None:
    def call(number: int) -> bool:
        rows = np.full((1, 1, 8, 8), number, np.float32)
        return bool((client.infer("digits", image=rows)["logits"] == 2 * number).all())

    with Client(digits.endpoint, timeout_s=60) as client, ThreadPoolExecutor(40) as pool:
        client.metadata("digits")
        with digits.block("ModelInfer"):
            answers = [pool.submit(call, number) for number in range(40)]
            digits.wait_for("ModelInfer", 40, timeout_s=60)
            # Blocked calls hold up nobody else.
            assert client.is_ready("digits")
            assert digits.most_at_once == 41
        assert all(answer.result() for answer in answers)
    digits.forget_calls()
    assert (digits.calls, digits.most_at_once) == ({}, 0)


def test_nothing_is_left_after_stop(digits: FakeServer) -> None:
    def ours() -> list[str]:
        names = [thread.name for thread in threading.enumerate()]
        return [name for name in names if "clickclean-fake" in name or "_serve" in name]

    def call() -> None:
        with Client(digits.endpoint, timeout_s=60) as client, pytest.raises(ClientError):
            client.infer("digits", image=ROWS)

    digits.block("ModelInfer")
    callers = [threading.Thread(target=call) for _ in range(20)]
    for caller in callers:
        caller.start()
    digits.wait_for("ModelInfer", 20, timeout_s=60)
    assert len(ours()) > 20
    digits.stop()
    digits.stop()
    for caller in callers:
        caller.join()
    end_s = time.monotonic() + 30
    while ours() and time.monotonic() < end_s:
        time.sleep(0.01)
    assert ours() == []
    gc.collect()


def test_a_program_that_forgets_to_stop_ends() -> None:
    code = (
        "import threading, numpy as np\n"
        "from clickclean_client import Client\n"
        "from clickclean_client.testing import FakeServer\n"
        "server = FakeServer().start()\n"
        "server.serve('m', inputs={'x': ('FP32', [-1, 3])})\n"
        "server.block('ModelInfer')\n"
        "client = Client(server.endpoint, timeout_s=60)\n"
        "call = lambda: client.infer('m', x=np.zeros((1, 3), np.float32))\n"
        "threading.Thread(target=call, daemon=True).start()\n"
        "server.wait_for('ModelInfer')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    assert done.returncode == 0
