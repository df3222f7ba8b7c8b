"""Requests of the kinds that killed a model process or failed its batch mates elsewhere."""

import struct
from collections.abc import Iterator

import numpy as np
import pytest

from clickclean_client import Client
from clickclean_server import Endpoint, serving
from clickclean_server.ownership import start_time
from tests.server.tiny_models import WEIGHTS, TinyRepository, pair
from tests.server.watching import Watch, eventually
from tests.server.wire import ROW, RawInput, Wire, wire_to

GOOD_LINEAR = [RawInput("x", "FP32", [1, 4], ROW)]
GOOD_PAIR = [RawInput("ids", "INT64", [1, 2], struct.pack("<2q", 9, 5))]
GOOD_PAIR += [RawInput("bias", "FP32", [1, 4], ROW)]
NAN_ROW = np.full(4, np.nan, np.float32).tobytes()


@pytest.fixture(scope="module")
def wire(steady: Endpoint) -> Iterator[Wire]:
    with wire_to(steady.grpc) as found:
        yield found


def ids(shape: list[int], *values: int) -> list[RawInput]:
    data = struct.pack(f"<{len(values)}q", *values)
    return [RawInput("ids", "INT64", shape, data), RawInput("bias", "FP32", [1, 4], ROW)]


BAD = {
    "batch 0": ("linear", [RawInput("x", "FP32", [0, 4], b"")]),
    "batch 0 with a row": ("linear", [RawInput("x", "FP32", [0, 4], ROW)]),
    "batch 2^32 with a row": ("linear", [RawInput("x", "FP32", [2**32, 4], ROW)]),
    "batch 2^32 + 2": ("linear", [RawInput("x", "FP32", [2**32 + 2, 4], ROW)]),
    "batch 2^62": ("linear", [RawInput("x", "FP32", [2**62, 4], b"")]),
    "negative batch": ("linear", [RawInput("x", "FP32", [-1, 4], ROW)]),
    "batch over the limit": ("linear", [RawInput("x", "FP32", [9, 4], ROW * 9)]),
    "too few bytes": ("linear", [RawInput("x", "FP32", [2, 4], ROW)]),
    "too many bytes": ("linear", [RawInput("x", "FP32", [1, 4], ROW * 2)]),
    "wrong fixed axis": ("linear", [RawInput("x", "FP32", [1, 5], ROW + ROW[:4])]),
    "wrong rank": ("linear", [RawInput("x", "FP32", [1, 2, 2], ROW)]),
    "no shape": ("linear", [RawInput("x", "FP32", [], b"")]),
    "wrong dtype": ("linear", [RawInput("x", "INT32", [1, 4], ROW)]),
    "text for numbers": ("linear", [RawInput("x", "BYTES", [1, 4], ROW)]),
    "unknown dtype": ("linear", [RawInput("x", "FP31", [1, 4], ROW)]),
    "unknown input": ("linear", [RawInput("z", "FP32", [1, 4], ROW)]),
    "no input": ("linear", []),
    "the same input twice": ("linear", GOOD_LINEAR * 2),
    "an input too few": ("pair", GOOD_PAIR[:1]),
    "rows that differ": ("pair", ids([2, 1], 1, 2)),
    "empty free axis": ("pair", ids([1, 0])),
    "not a number": ("linear", [RawInput("x", "FP32", [1, 4], NAN_ROW)]),
    "free axis of 2^31 without bytes": ("pair", ids([1, 2**31])),
    "free axis of 2^40": ("pair", ids([1, 2**40], 1)),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_request_fails_alone(wire: Wire, case: str) -> None:
    model, inputs = BAD[case]
    good = GOOD_LINEAR if model == "linear" else GOOD_PAIR
    bad, mates = wire.send_among(good, model, *inputs)
    assert bad.code in {"INVALID_ARGUMENT", "INTERNAL"}
    assert 0 < len(bad.text.encode()) < 4096
    assert "Traceback" not in bad.text
    assert [mate.code for mate in mates] == ["OK"] * 4
    assert len({mate.data for mate in mates}) == 1


def test_an_index_out_of_range_leaves_its_mates_alone(wire: Wire) -> None:
    """What the engine answers to it is the engine's affair; it must not crash."""
    wrong, mates = wire.send_among(GOOD_PAIR, "pair", *ids([1, 2], 99, -50))
    assert wrong.code in {"OK", "INTERNAL"}
    assert [mate.code for mate in mates] == ["OK"] * 4
    assert len({mate.data for mate in mates}) == 1


def test_requests_of_several_shapes_share_a_batch(wire: Wire) -> None:
    longer = ids([1, 3], 1, 2, 3)
    odd, mates = wire.send_among(GOOD_PAIR, "pair", *longer)
    assert {odd.code, *(mate.code for mate in mates)} == {"OK"}
    table = pair().weights["table"]
    expected = table[[9, 5]].mean(axis=0) + 1
    np.testing.assert_allclose(np.frombuffer(mates[0].data, np.float32), expected, atol=1e-5)


def test_a_batch_limit_wrapped_around_computes_what_its_bytes_say(wire: Wire) -> None:
    """2^32 + 1 rows are 1 row for this server; the answer is that of the one row."""
    answer = wire.send("linear", RawInput("x", "FP32", [2**32 + 1, 4], ROW))
    expected = np.ones((1, 4), np.float32) @ WEIGHTS
    np.testing.assert_allclose(np.frombuffer(answer.data, np.float32), expected[0])


def test_nothing_of_this_harmed_the_server(steady: Endpoint) -> None:
    events = {event["event"] for event in Watch(steady).events()}
    assert events <= {"starting", "ready", "overloaded"}


def test_the_shape_that_kills_the_model_process_costs_a_second(
    repository: TinyRepository,
) -> None:
    # Its size overflows to 0 bytes in Triton, and the stub aborts before our code sees the request.
    repository.add("pair", pair(), delay_us=100_000)
    with serving(repository.root) as endpoint, wire_to(endpoint.grpc) as wire:
        watch = Watch(endpoint)
        server, dead = watch.server(), watch.model_process("pair")
        bad, _ = wire.send_among(GOOD_PAIR, "pair", *ids([1, 2**61]))
        assert bad.code == "INTERNAL"
        watch.next_event("revived")
        eventually(lambda: start_time(dead) is None, "the end of the old process")
        assert wire.send("pair", *GOOD_PAIR).code == "OK"
        assert watch.server() == server
        with Client(endpoint.grpc) as client:
            assert client.is_ready()
