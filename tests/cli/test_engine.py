"""`clickclean engine` as it is typed, on a machine without a GPU."""

import json
from pathlib import Path

import pytest

from tests.conftest import WITHOUT_GPU, Command, PublishedModels

LOG = (
    "E1123 10:00:00.000000 1 logging.cc:40] IRuntime::deserializeCudaEngine: Error Code 6: The"
    " engine plan file is generated on an incompatible device, expecting compute 8.9 got compute"
    " 8.6, please rebuild.\n"
)


@WITHOUT_GPU
def test_building_needs_a_gpu(clickclean: Command, published: PublishedModels) -> None:
    done = clickclean("engine", "build", "digits", "-r", str(published.repository))
    assert done.code == 4
    assert "no usable NVIDIA GPU" in done.err
    assert "hint: plans are built where they run" in done.err


@WITHOUT_GPU
def test_the_preflight_of_this_machine_needs_a_gpu(
    clickclean: Command, published: PublishedModels
) -> None:
    done = clickclean("engine", "preflight", "-r", str(published.repository))
    assert done.code == 4
    assert "no usable NVIDIA GPU" in done.err


def test_the_preflight_of_a_fleet_needs_none(
    clickclean: Command, published: PublishedModels
) -> None:
    words = ("--gpu", "NVIDIA L4=8.9", "--gpu", "Tesla T4=7.5", "--tensorrt-version", "11.4.0.106")
    done = clickclean("engine", "preflight", "digits", *words, "-r", str(published.repository))
    assert done.code == 4
    assert "NVIDIA L4 (8.9), TensorRT 11.4.0.106: does not fit" in done.out
    assert "do: on a machine with NVIDIA L4: clickclean engine build digits:1" in done.out
    as_json = clickclean(
        "engine", "preflight", *words, "--json", "-r", str(published.repository)
    ).json
    assert {(row["model"], row["compute_capability"]) for row in as_json} == {
        (model, cc) for model in ("digits", "strokes") for cc in ("8.9", "7.5")
    }
    assert all(row["mismatches"][0]["code"] == "no-plan" for row in as_json)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--gpu", "NVIDIA L4"], "TensorRT version is not known"),
        (["--gpu", "NVIDIA L4", "--tensorrt-version", "11.4.0.106"], "is not a GPU type"),
        (["--gpu", "L4=eight", "--tensorrt-version", "11.4.0.106"], "is not a GPU type"),
    ],
)
def test_a_gpu_that_cannot_be_read(
    words: list[str], sentence: str, clickclean: Command, published: PublishedModels
) -> None:
    for verb in (["engine", "preflight"], ["promote", "digits", "1"]):
        done = clickclean(*verb, *words, "-r", str(published.repository))
        assert done.code == 2
        assert sentence in done.err


def test_a_version_that_a_fleet_could_not_load_is_not_promoted(
    clickclean: Command, published: PublishedModels, tmp_path: Path
) -> None:
    repository = published.copy(tmp_path / "repository", "digits")
    words = ("--gpu", "NVIDIA L4=8.9", "--tensorrt-version", "11.4.0.106")
    done = clickclean("promote", "digits", "1", *words, "-r", str(repository))
    assert done.code == 4
    assert "no plan for compute capability 8.9" in done.err


def test_a_log_is_explained(clickclean: Command, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_bytes(b"I1123 nothing\n\xff\xfe\n" + LOG.encode() + LOG.encode())
    done = clickclean("engine", "explain", str(log))
    assert done.code == 0
    assert done.out.startswith("line 3, 2 times: ")
    assert "8.6" in done.out
    assert "clickclean engine build" in done.out
    (found,) = json.loads(clickclean("engine", "explain", str(log), "--json").out)
    assert (found["line"], found["times"]) == (3, 2)


def test_a_log_without_known_errors(clickclean: Command, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("I1123 all is well\n")
    done = clickclean("engine", "explain", str(log))
    assert done.code == 1
    assert "nothing in" in done.err
    assert clickclean("engine", "explain", str(log), "--json").json == []


def test_a_log_that_is_not_there(clickclean: Command, tmp_path: Path) -> None:
    done = clickclean("engine", "explain", str(tmp_path / "none.log"))
    assert done.code == 2
    assert "cannot be read" in done.err
