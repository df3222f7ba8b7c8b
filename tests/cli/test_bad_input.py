"""What a user types wrong: one sentence, a hint, the documented exit code, nothing left behind."""

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.conftest import BIN, ROOT, Command, Finished, PublishedModels
from tests.models.onnx_files import conv_block

DIGITS = ROOT / "examples" / "digits"


def refused(done: Finished, code: int, sentence: str) -> None:
    assert done.code == code, done.err
    assert "Traceback" not in done.err
    assert done.out == ""
    problems = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(problems) == 1, done.err
    assert sentence in problems[0]


def copy_of_digits(tmp_path: Path, old: str = "", new: str = "") -> Path:
    folder = tmp_path / "digits"
    shutil.copytree(DIGITS, folder, ignore=shutil.ignore_patterns("build"))
    text = (folder / "recipe.toml").read_text()
    assert old in text
    (folder / "recipe.toml").write_text(text.replace(old, new))
    return folder / "recipe.toml"


def test_publish_without_a_recipe(clickclean: Command, tmp_path: Path) -> None:
    done = clickclean("publish", str(tmp_path / "recipe.toml"), "-r", str(tmp_path / "r"))
    refused(done, 2, "no such file")
    assert not (tmp_path / "r").exists()


def test_publish_with_an_unknown_key(clickclean: Command, tmp_path: Path) -> None:
    recipe = copy_of_digits(tmp_path, "[serving]\n", "[serving]\nqueue_delay_ms = 3\n")
    done = clickclean("publish", str(recipe), "-r", str(tmp_path / "r"))
    refused(done, 2, "unknown key 'serving.queue_delay_ms'")
    assert "hint: did you mean 'queue_delay_us'?" in done.err


def test_publish_without_a_checkpoint(clickclean: Command, tmp_path: Path) -> None:
    done = clickclean("publish", str(copy_of_digits(tmp_path)), "-r", str(tmp_path / "r"))
    refused(done, 2, "digits.pt: no such file")
    assert not (tmp_path / "r" / "digits").exists()


def test_publish_into_a_file(clickclean: Command, tmp_path: Path) -> None:
    (tmp_path / "r").write_text("a file")
    done = clickclean("publish", str(copy_of_digits(tmp_path)), "-r", str(tmp_path / "r"))
    refused(done, 1, "model repository")


def test_a_gate_refuses_with_its_numbers_and_publishes_nothing(
    clickclean: Command, digits_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "digits"
    shutil.copytree(digits_folder, folder)
    text = (folder / "recipe.toml").read_text().replace("accuracy_min = 0.95 ", "accuracy_min = 1 ")
    (folder / "recipe.toml").write_text(text.replace("accuracy_min = 1 ", "accuracy_min = 1.0 "))
    done = clickclean("publish", str(folder / "recipe.toml"), "-r", str(tmp_path / "r"))
    refused(done, 3, "refused at hop 'torch'")
    assert re.search(r"accuracy 9\d\.\d\d%, wanted >= 100\.00%", done.err)
    assert not (tmp_path / "r" / "digits").exists()


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("promote", "digits", "9"), 1, "version 9 of model 'digits' is not in the repository"),
        (("promote", "digts", "1"), 1, "model 'digts'"),
        (("report", "nothing"), 1, "model 'nothing' is not in the repository"),
        (("serve", "--model", "digit"), 2, "no model 'digit'"),
        (("loadtest", "digits", "--rate", "0"), 2, "rate is 0"),
        (("loadtest", "digits", "--duration", "20"), 2, "20"),
        (("loadtest", "digits", "--batch", "0"), 2, "batch is 0"),
    ],
)
def test_wrong_names_and_numbers(
    clickclean: Command,
    published: PublishedModels,
    words: tuple[str, ...],
    code: int,
    sentence: str,
) -> None:
    refused(clickclean(*words, "-r", str(published.repository)), code, sentence)


def test_a_repository_that_is_not_there(clickclean: Command, tmp_path: Path) -> None:
    for verb in ("versions", "serve"):
        done = clickclean(verb, "-r", str(tmp_path / "nowhere"))
        assert done.code in {1, 2}
        assert "Traceback" not in done.err
        assert done.err.startswith("error: ")


def test_a_port_in_use(clickclean: Command, published: PublishedModels) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = clickclean("serve", "-r", str(published.repository), "--grpc-port", str(port))
    refused(done, 1, f"Port {port} on 127.0.0.1 is in use")


def test_asking_where_nobody_listens(clickclean: Command, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    np.savez(tmp_path / "x.npz", image=np.zeros((1, 1, 8, 8), np.float32))
    done = clickclean("infer", "digits", "-s", address, "-i", str(tmp_path / "x.npz"))
    refused(done, 1, address)
    done = clickclean("loadtest", "digits", "-s", address, "-r", str(tmp_path))
    refused(done, 1, address)


def test_usage_errors_are_the_shells_own(clickclean: Command) -> None:
    for words in (("publish",), ("publsh",), ("promote", "digits", "one"), ("infer", "--rows")):
        done = clickclean(*words)
        assert done.code == 2
        assert "Traceback" not in done.err


@pytest.mark.parametrize("words", [["versions"], ["versions", "--json"]])
def test_a_full_disk_is_a_sentence(words: list[str], published: PublishedModels) -> None:
    buffered = {name: text for name, text in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [BIN / "clickclean", *words, "-r", published.repository],
            env=buffered,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "error: No space left on device.\n")


def test_a_name_that_the_terminal_cannot_show(tmp_path: Path) -> None:
    onnx.save(conv_block(inputs={"m": ["배치", 2]}), tmp_path / "model.onnx")
    done = subprocess.run(
        [BIN / "clickclean", "engine", "check", tmp_path / "model.onnx", "--axis", "batch=1"],
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert rb"its axis '\ubc30\uce58' is free" in done.stdout
