"""The fake as a process of its own, as a pytest plugin, and as the page about it shows it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from clickclean_client import AccessRefused, Client
from clickclean_client.testing import FakeServerError
from clickclean_client.testing.__main__ import main, parse_model
from tests.repo.sources import ROOT, blocks

DIGITS = "digits:image=FP32[-1,1,8,8]->logits=FP32[-1,10]"
FAKE = [sys.executable, "-m", "clickclean_client.testing", "--model", DIGITS]


@contextmanager
def running(*words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The program and the endpoint that it printed."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([*FAKE, *words], text=True, **pipes) as program:  # type: ignore[call-overload]
        try:
            yield program, program.stdout.readline().strip()
        finally:
            program.kill()


def test_a_process_that_serves_until_sigterm() -> None:
    with running("--delay-ms", "1", "--token", "s3cret") as (program, endpoint):
        image = np.zeros((2, 1, 8, 8), np.float32)
        with Client(endpoint, timeout_s=20) as client, pytest.raises(AccessRefused):
            client.infer("digits", image=image)
        headers = {"authorization": "Bearer s3cret"}
        with Client(endpoint, timeout_s=20, headers=headers) as client:
            assert client.infer("digits", image=image)["logits"].shape == (2, 10)
            assert client.metadata("digits").max_batch == 32
        program.send_signal(signal.SIGTERM)
        assert program.wait(30) == 0


def test_a_process_ends_with_the_one_that_holds_its_stdin() -> None:
    with running() as (program, endpoint):
        assert endpoint.startswith("127.0.0.1:")
        assert program.stdin is not None
        program.stdin.close()
        assert program.wait(30) == 0


@pytest.mark.parametrize(
    ("text", "inputs", "outputs"),
    [
        ("m:x=FP32[-1,3]", {"x": ("FP32", [-1, 3])}, None),
        ("m:a=INT64[-1, 2],b=BYTES[-1]", {"a": ("INT64", [-1, 2]), "b": ("BYTES", [-1])}, None),
        ("m:k=BOOL[]->y.0=FP16[1],z=UINT8[2]", {"k": ("BOOL", [])}, ["y.0", "z"]),
    ],
)
def test_how_a_model_is_written(text: str, inputs: object, outputs: list[str] | None) -> None:
    settings = parse_model(text)
    assert (settings["model"], settings["inputs"]) == ("m", inputs)
    assert list(settings.get("outputs", ())) == (outputs or [])


@pytest.mark.parametrize(
    "text", ["m", "m:", "m:x", "m:x=FP32", "m:x=FP32[a]", "m:x=FP32[1]->", "m:x=FP32[1]y"]
)
def test_what_is_no_model(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FakeServerError, match="describes no model"):
        parse_model(text)
    assert main(["--model", text]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert "\nhint: Write --model" in said.err


def test_the_example_of_the_page_passes(tmp_path: Path) -> None:
    page = ROOT / "docs" / "client-testing.md"
    texts = [block.text for block in blocks(page) if block.language == "python"]
    (example,) = [text for text in texts if "def test_a_good_answer" in text]
    (tmp_path / "test_service.py").write_text(example, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout
