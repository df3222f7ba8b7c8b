import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from clickclean_client import Client, ModelNotFound
from clickclean_client.protocol import NUMPY_DTYPES
from clickclean_client.testing import FakeServer
from tests.client.challengers import INPUTS

NUMBERS = sorted(set(NUMPY_DTYPES) - {"BYTES"})
ROW = np.zeros((1, 3), np.float32)


@pytest.mark.parametrize("dtype", NUMBERS)
def test_round_trip_of_each_number_dtype(dtype: str, fake: FakeServer, client: Client) -> None:
    fake.serve("m", inputs={"x": (dtype, (-1, -1))})
    info = np.dtype(NUMPY_DTYPES[dtype])
    values = np.frombuffer(bytes(range(8 * info.itemsize)), np.uint8)
    x = (values % 2).astype(bool)[:8] if dtype == "BOOL" else values.view(info)
    x = x.reshape(2, 4)
    y = client.infer("m", x=x)["y0"]
    assert y.dtype == NUMPY_DTYPES[dtype]
    assert y.shape == x.shape
    assert y.tobytes() == x.tobytes()
    assert fake.last_request["ModelInfer"].inputs[0].datatype == dtype


@pytest.mark.parametrize(
    "x",
    [
        np.array([[b"a\0", "ü", b""], [b"x" * 300, "", b"\xff"]], dtype=object),
        np.array([[b"ab", b"c"]]),
        np.array([["ab", "ü"]]),
        np.empty((1, 0), dtype=object),
    ],
    ids=["object", "S", "U", "empty"],
)
def test_round_trip_of_bytes(x: NDArray[Any], fake: FakeServer, client: Client) -> None:
    fake.serve("m", inputs={"x": ("BYTES", (-1, -1))})
    y = client.infer("m", x=x)["y0"]
    assert y.dtype == object
    assert y.shape == x.shape
    wanted = [i.encode() if isinstance(i, str) else i for i in x.ravel().tolist()]
    assert y.ravel().tolist() == wanted


def test_the_wire_form_of_bytes(fake: FakeServer, client: Client) -> None:
    fake.serve("m", inputs={"x": ("BYTES", (-1,))})
    client.infer("m", x=np.array([b"ab", "ü"], dtype=object))
    assert list(fake.last_request["ModelInfer"].raw_input_contents) == [
        b"\2\0\0\0ab\2\0\0\0\xc3\xbc"
    ]


def test_memory_layout_and_byte_order_do_not_matter(fake: FakeServer, client: Client) -> None:
    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    for x in (np.asfortranarray(values), values.astype(">f4"), values[::-1][::-1], values.T.T):
        y = client.infer("m", x=x)["y0"]
        np.testing.assert_array_equal(y, values)
        assert y.dtype.byteorder in "=<"


def test_outputs_are_read_only_views_and_inputs_are_copied(
    fake: FakeServer, client: Client
) -> None:
    x = np.ones((1, 3), np.float32)
    y = client.infer("m", x=x)["y0"]
    x[:] = 5
    assert y.tolist() == [[1, 1, 1]]
    with pytest.raises(ValueError, match="read-only"):
        y[0, 0] = 2
    fake.serve("m", inputs={"x": ("BYTES", (-1,))})
    texts = client.infer("m", x=np.array([b"a"], dtype=object))["y0"]
    with pytest.raises(ValueError, match="read-only"):
        texts[0] = b"b"


def test_the_result_is_a_mapping_that_knows_who_answered(fake: FakeServer, client: Client) -> None:
    fake.serve("m", inputs=INPUTS, version="7")
    result = client.infer("m", {"x": ROW}, version=7, request_id="abc")
    assert (result.model, result.version, result.request_id) == ("m", "7", "abc")
    assert list(result) == ["y0"]
    assert len(result) == 1
    assert "float32[1, 3]" in repr(result)
    assert client.infer("m", {"x": ROW}, version="7").version == "7"
    assert client.infer("m", {"x": ROW}, version=1).version == "1"


def test_names_that_are_no_keywords_go_into_the_mapping(fake: FakeServer, client: Client) -> None:
    names = ("self", "model", "inputs", "version", "image/0")
    fake.serve("m", inputs=dict.fromkeys(names, ("FP32", (-1,))))
    value = np.zeros(1, np.float32)
    given = {name: value for name in names if name not in ("self", "model", "inputs")}
    keywords: dict[str, Any] = {"model": value, "inputs": value}
    client.infer("m", {**given, "self": value}, **keywords)
    assert [i.name for i in fake.last_request["ModelInfer"].inputs] == list(names)


def test_two_inputs_of_different_dtype_and_a_free_axis(fake: FakeServer, client: Client) -> None:
    fake.serve("m", inputs={"ids": ("INT64", (-1, -1)), "weight": ("FP32", (-1, 1))})
    ids = np.arange(10).reshape(2, 5).astype(np.int64)
    result = client.infer("m", weight=np.ones((2, 1), np.float32), ids=ids)
    np.testing.assert_array_equal(result["y0"], ids)
    assert result["y1"].shape == (2, 1)


def test_an_optional_input_may_be_left_out(fake: FakeServer, client: Client) -> None:
    tensors = {"x": ("FP32", (-1, 3)), "bias": ("FP32", (-1, 3))}
    fake.serve("m", inputs=tensors, outputs={"y0": ("FP32", (-1, 3))}, optional=["bias"])
    client.infer("m", x=ROW)
    assert [i.name for i in fake.last_request["ModelInfer"].inputs] == ["x"]


def test_a_model_that_does_not_batch(fake: FakeServer, client: Client) -> None:
    fake.serve(
        "m",
        inputs={"x": ("FP32", (-1, 2)), "k": ("INT32", ())},
        outputs={"y0": ("FP32", (-1, 2)), "y1": ("INT32", ())},
        max_batch=0,
    )
    result = client.infer("m", x=np.zeros((0, 2), np.float32), k=np.array(3, np.int32))
    assert result["y0"].shape == (0, 2)
    assert result["y1"].shape == ()
    assert result["y1"] == 3


def test_what_is_left_of_the_deadline_travels(fake: FakeServer, client: Client) -> None:
    client.infer("m", x=ROW, timeout_s=5)
    timeout_us = fake.last_request["ModelInfer"].parameters["timeout"].int64_param
    assert 0 < timeout_us <= 5_000_000


def test_messages_over_grpcs_default_of_4_mb(fake: FakeServer, client: Client) -> None:
    fake.serve("m", inputs={"x": ("UINT8", (-1, -1))})
    assert client.infer("m", x=np.ones((1, 2**23), np.uint8))["y0"].sum() == 2**23


def test_headers_are_sent_and_not_shown(fake: FakeServer) -> None:
    with Client(fake.endpoint, headers={"X-Token": "s3cret"}) as client:
        client.infer("m", x=ROW, timeout_s=20)
        assert fake.headers["x-token"] == "s3cret"
        assert repr(client) == f"Client('{fake.endpoint}')"
        with pytest.raises(ModelNotFound) as caught:
            client.infer("nosuch", x=ROW, timeout_s=20)
        assert "s3cret" not in repr(caught.value) + repr(vars(caught.value))


def test_many_threads_share_a_client(fake: FakeServer, client: Client) -> None:
    start = threading.Barrier(8)

    def work(number: int) -> bool:
        start.wait()
        rows = [np.full((1 + number % 4, 3), number * 100 + i, np.float32) for i in range(25)]
        return all(np.array_equal(client.infer("m", x=row)["y0"], row) for row in rows)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(work, range(8)))
    finally:
        sys.setswitchinterval(interval)
    assert fake.calls["ModelInfer"] == 200
    assert fake.calls["ModelMetadata"] <= 8
