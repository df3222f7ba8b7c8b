"""The verb `schema`: what a server says, as a file, and compared with one."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from clickclean_client import Axis, ModelMetadata, load_schema
from clickclean_client.slots import AXES
from clickclean_client.testing import FakeServer
from tests.conftest import Command

NAMES = json.dumps({"tensors": {"x": ["batch", 3, "height"]}, "ranges": {"height": [32, 512]}})


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with FakeServer() as server:
        server.serve("m", inputs={"x": ("FP32", (-1, 3, -1))}, parameters={AXES: NAMES})
        yield server


def test_what_is_printed_and_what_is_written_can_be_pinned(
    fake: FakeServer, clickclean: Command, tmp_path: Path
) -> None:
    done = clickclean("schema", "m", "--server", fake.endpoint)
    assert (done.code, done.err) == (0, "")
    found = ModelMetadata.from_json(done.out)
    assert found.inputs[0].axes == (Axis("batch"), Axis("axis 1", 3), Axis("height", -1, 32, 512))
    file = tmp_path / "schemas" / "m.json"
    written = clickclean("schema", "m", "-s", fake.endpoint, "-o", str(file))
    assert (written.code, written.out) == (0, "")
    assert file.read_text() == done.out
    assert load_schema(file) == found


def test_a_server_that_differs_from_the_file(
    fake: FakeServer, clickclean: Command, tmp_path: Path
) -> None:
    file = tmp_path / "m.json"
    words = ("schema", "m", "-s", fake.endpoint, "--check", str(file))
    assert clickclean(*words[:4], "-o", str(file)).code == 0
    same = clickclean(*words)
    assert (same.code, same.out) == (0, "")
    assert same.err == f"the schema of m at {fake.endpoint} is that of {file}\n"
    fake.serve("m", inputs={"x": ("FP32", (-1, 4, -1)), "mask": ("BOOL", (-1, 1))}, max_batch=8)
    new = tmp_path / "new.json"
    done = clickclean(*words, "-o", str(new))
    assert done.code == 1
    assert done.out.splitlines() == [
        "max_batch is 8, the schema says 4",
        "axis 1 of the input 'x' is 4, the schema says 3",
        "the input 'mask' is new, it is BOOL[batch, 1]",
        "axis 1 of the output 'y0' is 4, the schema says 3",
        "the output 'y1' is new, it is BOOL[batch, 1]",
    ]
    assert done.err == (
        f"error: model 'm' at {fake.endpoint} has another schema than {file}: 5 differences.\n"
        f"hint: change the callers, then: clickclean schema m -s {fake.endpoint} -o {file}\n"
    )
    assert load_schema(new).max_batch == 8


def test_one_version(fake: FakeServer, clickclean: Command) -> None:
    fake.serve("m", inputs={"z": ("INT8", (-1,))}, version="7")
    done = clickclean("schema", "m", "-s", fake.endpoint, "--version", "7")
    assert [spec.name for spec in ModelMetadata.from_json(done.out).inputs] == ["z"]


def test_a_file_that_is_no_schema_is_refused_before_the_server_is_asked(
    fake: FakeServer, clickclean: Command, tmp_path: Path
) -> None:
    file = tmp_path / "m.json"
    file.write_text('{"format": 1, "model": "m", "max_bach": 4, "inputs": [], "outputs": []}')
    done = clickclean("schema", "m", "-s", fake.endpoint, "--check", str(file))
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"error: The schema {file} cannot be used: max_bach is an unknown key.\n"
        "hint: Did you mean 'max_batch'?\n"
    )
    assert not fake.calls


def test_servers_and_models_that_are_not_there(fake: FakeServer, clickclean: Command) -> None:
    done = clickclean("schema", "nosuch", "-s", fake.endpoint)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error: Model 'nosuch' at {fake.endpoint} is not served")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    done = clickclean("schema", "m", "-s", address)
    assert (done.code, done.out) == (1, "")
    assert f"Is a Triton server listening for gRPC on {address}?" in done.err
