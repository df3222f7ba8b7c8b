"""The benches run: all contestants answer rightly and are timed."""

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.repo.sources import ROOT


def bench(*words: str, program: str = "serving.py") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "bench" / program), *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


def test_figures_of_a_quick_run(digits_repository: Path, tmp_path: Path) -> None:
    written = tmp_path / "figures.json"
    done = bench("--quick", "--repository", str(digits_repository), "--json", str(written))
    assert done.returncode == 0, done.stderr
    figures = json.loads(written.read_text(encoding="utf-8"))
    computing = [line for line in figures["lines"] if line["name"] in done.stderr]
    assert {(line["name"], line["callers"]) for line in computing} == {
        (name, callers)
        for name in ("OpenVINO in process", "Click Clean (Triton, gRPC)", "FastAPI (HTTP, bytes)")
        for callers in (1, 16)
    }
    for line in computing:
        assert line["rate"] > 0
        assert 0 < line["p50_ms"] <= line["p99_ms"]
        assert line["errors"] == 0
        assert line["name"] in done.stdout
    assert len(figures["ratios"]) == 6
    assert figures["surroundings"]["cores"] in done.stdout


def test_our_client_and_the_raw_one_take_turns(digits_repository: Path, tmp_path: Path) -> None:
    written = tmp_path / "figures.json"
    words = ("--quick", "--repository", str(digits_repository), "--json", str(written))
    done = bench(*words, program="client.py")
    assert done.returncode == 0, done.stderr
    lines = json.loads(written.read_text(encoding="utf-8"))["lines"]
    servers = {line["server"] for line in lines}
    assert servers == {"digits on tritonserver", "a constant answer", "imports"}
    for server in servers - {"imports"}:
        asked = {line["what"] for line in lines if line["server"] == server}
        assert {"one caller, p50", "16 threads"} < asked
    for line in lines:
        assert line["ours"] > 0
        assert line["raw"] > 0
        assert 0 < line["ratio"]["low"] <= line["ratio"]["median"] <= line["ratio"]["high"]
        assert line["errors"] == 0, line["first_error"]
        assert line["what"] in done.stdout
        judged = line["server"] != "a constant answer" and "CPU" not in line["what"]
        assert line["verdict"].startswith(("<= ", ">= ")) == judged


@pytest.mark.parametrize(
    ("limit", "at_most", "interval", "words"),
    [
        (1.05, True, (1.00, 1.02, 1.04), "<= 1.05 met"),
        (1.05, True, (1.00, 1.02, 1.10), "<= 1.05 met, but the interval spans it"),
        (1.05, True, (1.06, 1.08, 1.10), "<= 1.05 missed"),
        (1.00, False, (0.90, 0.95, 1.10), ">= 1.00 missed, but the interval spans it"),
        (1.00, False, (1.10, 1.20, 1.30), ">= 1.00 met"),
    ],
)
def test_a_verdict_says_when_the_interval_leaves_a_doubt(
    limit: float,
    at_most: bool,
    interval: tuple[float, float, float],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(ROOT / "bench")
    target = importlib.import_module("client_table").Target(limit, at_most)
    low, median, high = interval
    assert target.verdict(importlib.import_module("pairs").Ratio(median, low, high)) == words


@pytest.mark.parametrize("program", ["serving.py", "client.py"])
@pytest.mark.parametrize("there", [True, False])
def test_without_a_promoted_version(there: bool, program: str, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    if there:
        (repository / "digits" / "1").mkdir(parents=True)
    done = bench("--repository", str(repository), program=program)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines()[-2:] == [
        f"error: no version of 'digits' is promoted in {repository}",
        "hint: make demo",
    ]


def test_a_contestant_that_answers_wrongly_is_refused(
    digits_repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "bench")
    contestants = importlib.import_module("contestants")
    subject = importlib.import_module("serving").subject_in(digits_repository)
    right = subject.golden.outputs["logits"]

    @contextmanager
    def answers(change: float) -> Iterator[Callable[[int], Any]]:
        yield lambda row: right[row : row + 1] + change

    contestants.prove(subject, "right", lambda: answers(0.0), np.asarray)
    with pytest.raises(contestants.WrongAnswerError, match="wrong gives a wrong answer to row 0"):
        contestants.prove(subject, "wrong", lambda: answers(0.1), np.asarray)
