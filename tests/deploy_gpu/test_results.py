"""Results, assembled from fake outcomes of steps and fake figures."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.deploy_gpu.fakes import fake_build, fake_load
from trtexec_output import parse_trtexec
from verify import facts
from verify_results import Measured, Outcome, Status, assemble, exit_code, page

SAMPLE = (Path(__file__).parent / "samples" / "tensorrt_10_13_0.txt").read_text(encoding="utf-8")
IMAGE = {
    "VERIFY_BASE_IMAGE": "example.com/triton:0",
    "VERIFY_BASE_DIGEST": "example.com/triton@sha256:aa",
    "VERIFY_IMAGE_ID": "sha256:bb",
    "TRITON_SERVER_VERSION": "2.0.0",
    "NVIDIA_TRITON_SERVER_VERSION": "0.0",
    "TRT_VERSION": "11.4.0.106",
    "CUDA_VERSION": "13.4.1",
}
CSV = "Fake GPU, 999.0, 8.9, 24564 MiB\n"


def outcome(name: str, status: Status = "passed", code: int | None = 0, *words: str) -> Outcome:
    return Outcome(name, words or ("clickclean", name), status, code, 1.25, "a note | with a bar")


def results(*outcomes: Outcome, **changes: Any) -> dict[str, Any]:
    parts: dict[str, Any] = {
        "facts": facts(IMAGE, CSV),
        "build": fake_build(),
        "loadtest": fake_load(),
        "trtexec": [Measured(32, parse_trtexec(SAMPLE))],
    }
    return assemble(outcomes=outcomes, **(parts | changes))


def test_everything_known_is_in_the_tree() -> None:
    tree = json.loads(json.dumps(results(outcome("publish"), outcome("engine build"))))
    assert (tree["format"], tree["complete"], tree["exit_code"]) == (1, True, 0)
    assert tree["device"] == {
        "name": "Fake GPU",
        "driver": "999.0",
        "compute_capability": "8.9",
        "memory": "24564 MiB",
    }
    assert tree["image"] == {
        "base": "example.com/triton:0",
        "base_digest": "example.com/triton@sha256:aa",
        "built": "sha256:bb",
    }
    versions = tree["versions"]
    assert versions.pop("clickclean")
    assert versions == {
        "triton": "2.0.0",
        "triton_container": "0.0",
        "tensorrt": "11.4.0.106",
        "cuda": "13.4.1",
    }
    assert [step["command"] for step in tree["steps"]] == [
        "clickclean publish",
        "clickclean 'engine build'",
    ]
    assert tree["engine"]["record"]["inputs"]["library_version"] == "11.4.0.106"
    assert tree["loadtest"]["latency"]["p99_ms"] == 2.5
    assert not [name for name in tree["loadtest"] if name.startswith("sample_")]
    assert tree["trtexec"][0]["run"]["compute"]["mean_ms"] == 1666.2


def test_the_page_shows_the_figures() -> None:
    text = page(results(outcome("engine build")))
    assert "Every step passed." in text
    assert "| name | Fake GPU |" in text
    assert "| engine build | passed | 0 | 1.2 | a note \\| with a bar |" in text
    assert "| 1 | 0.1 | 0.2 | 0.4 | 2.00 x | 4.00 x |" in text
    assert "| int8 plan | 499 of 500 | 500 of 500 | accuracy: pass |" in text
    assert "- not done: something was left out" in text
    assert "| verdict | meet |" in text
    assert "| p99, ms | 2.5 |" in text
    assert "| 32 | 17.99 | 1,667 | 1,673 | 1,675 | 1,675 | 0.6352 | 1,666 | 0.06396 |" in text
    assert "- batch 32: Throughput may be bound by Enqueue Time" in text


def test_without_an_fp16_plan_the_page_says_so() -> None:
    text = page(results(outcome("engine build"), build=fake_build(fp16_ms=None)))
    assert "| 1 | 0.1 | - | 0.4 | - | 4.00 x |" in text


def test_nothing_measured_is_a_page_too() -> None:
    tree = results(
        outcome("device", "failed", 9, "nvidia-smi"),
        outcome("engine build", "skipped", None),
        facts=facts({}, ""),
        build=None,
        loadtest=None,
        trtexec=[],
    )
    assert (tree["complete"], tree["exit_code"]) == (False, 1)
    text = page(tree)
    assert "**Not complete: see the steps.**" in text
    assert "| name | not known |" in text
    for heading in ("INT8 : FP16", "Served by Triton", "trtexec\n"):
        assert heading not in text


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ([outcome("a"), outcome("b")], 0),
        ([outcome("a"), outcome("b", "failed", 3), outcome("c", "failed", 4)], 3),
        ([outcome("a", "failed", 10), outcome("b", "skipped", None)], 10),
        ([outcome("a", "failed", 127), outcome("b", "failed", 3)], 1),
        ([outcome("a", "failed", 3, "nvidia-smi")], 1),
        ([outcome("a", "timed out", None), outcome("b", "failed", 3)], 1),
        ([outcome("a"), outcome("b", "skipped", None)], 1),
        ([outcome("a", "failed", -9)], 1),
        ([], 1),
    ],
)
def test_the_first_bad_step_gives_the_exit_code(outcomes: list[Outcome], code: int) -> None:
    assert exit_code(outcomes) == code
