"""From a folder of logs to one decision, its words, its JSON and its picture."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from clickclean_export.experiment.errors import PlotError
from clickclean_export.experiment.judgement import Judgement, judge
from clickclean_export.experiment.plot import plot_judgement
from tests.export.experiment.logs import PLAN, Log, Traffic, split, write_traffic


def judged(folder: Path, traffic: Traffic, keys: int, percent: float) -> Judgement:
    write_traffic(folder, traffic, keys)
    return judge(PLAN, folder, split((0, percent)))


def test_a_loss_is_called_worse(tmp_path: Path) -> None:
    got = judged(tmp_path, Traffic(challenger=0.9), 6_000, 50)
    assert got.decision == "challenger worse"
    assert got.difference.high < 0 < got.champion.mean - got.challenger.mean
    assert got.difference.p_value <= PLAN.alpha
    assert got.champion.units + got.challenger.units == got.champion.exposures + (
        got.challenger.exposures
    )
    assert not got.must_stop


def test_the_same_numbers_are_better_where_less_is_better(tmp_path: Path) -> None:
    write_traffic(tmp_path, Traffic(challenger=0.9), 6_000)
    got = judge(replace(PLAN, better="lower"), tmp_path, split((0, 50)))
    assert got.decision == "challenger better"


def test_no_difference_keeps_running(tmp_path: Path) -> None:
    got = judged(tmp_path, Traffic(), 4_000, 50)
    assert got.decision == "running"
    assert got.difference.low < 0 < got.difference.high
    assert "No difference found yet" in got.sentence


def test_it_is_too_early_to_say(tmp_path: Path) -> None:
    got = judged(tmp_path, Traffic(), 60, 50)
    assert got.decision == "running"
    assert "Too early" in got.sentence
    assert math.isinf(got.difference.low)


def test_failures_stop_the_experiment_whatever_else_is_true(tmp_path: Path) -> None:
    got = judged(tmp_path, Traffic(share=0.1, challenger=0.2, errors=0.5), 3_000, 10)
    assert got.decision == "stop: guardrail errors"
    assert got.must_stop
    assert got.challenger.fallbacks == got.challenger.errors > 0
    assert got.difference.first == -1


def test_slowness_stops_the_experiment(tmp_path: Path) -> None:
    got = judged(tmp_path, Traffic(share=0.1, latency=3.0), 3_000, 10)
    assert got.decision == "stop: guardrail latency"
    assert "times is allowed" in got.sentence


def test_lost_keys_make_it_invalid_even_with_a_difference(tmp_path: Path) -> None:
    got = judged(tmp_path, Traffic(challenger=0.8, lost=0.2), 8_000, 50)
    assert got.decision == "invalid: sample ratio"
    assert got.difference.first == -1
    assert not got.must_stop


def test_a_ramp_on_a_bad_day_feigns_no_difference(tmp_path: Path) -> None:
    write_traffic(tmp_path, Traffic(share=0.02, champion=0.99, challenger=0.99), 5_000, seed=1)
    later = Traffic(share=0.5, champion=0.7, challenger=0.7)
    write_traffic(tmp_path, later, 5_000, seed=2, begin_s=520)
    got = judge(PLAN, tmp_path, split((0, 2), (510, 50)))
    assert got.champion.mean - got.challenger.mean > 0.1
    assert got.decision == "running"
    assert not got.sample_ratio.alarm
    assert [epoch.percent for epoch in got.sample_ratio.epochs] == [2, 50]


def test_outcomes_that_only_one_arm_logs_are_told(tmp_path: Path) -> None:
    log = Log(tmp_path)
    for number in range(2_000):
        arm = ("champion", "challenger")[number % 2]
        log.call(number, f"k{number}", arm, f"p{number}")
        if arm == "champion" or number % 4 == 1:
            log.outcome(number + 1, f"p{number}", float(number % 3 == 0))
    log.flush()
    got = judge(PLAN, tmp_path, split((0, 50)))
    assert not got.sample_ratio.alarm
    assert any("outcome at all" in note for note in got.notes)


def test_notes_tell_of_a_foreign_version_and_of_skipped_files(tmp_path: Path) -> None:
    log = Log(tmp_path)
    for number in range(10):
        log.call(number, f"k{number}", "champion", f"p{number}", version=5)
    log.flush()
    (tmp_path / "outcomes").mkdir()
    (tmp_path / "outcomes" / "bad.parquet").write_bytes(b"bad")
    notes = "\n".join(judge(PLAN, tmp_path, split((0, 50))).notes)
    assert "calls of the champion were answered by version 5, not 2" in notes
    assert "bad.parquet" in notes
    assert "no outcome named 'reward'" in notes


def test_shadow_calls_are_counted_and_compared(tmp_path: Path) -> None:
    log = Log(tmp_path)
    for seconds in range(8):
        log.shadow(seconds, agree=seconds > 1, max_difference=seconds / 10)
    log.shadow(9, error="Unavailable", agree=False, max_difference=math.nan, challenger_ms=999.0)
    log.flush()
    shadow = judge(PLAN, tmp_path, split((0, 50))).shadow
    assert (shadow.mirrored, shadow.errors, shadow.agreed) == (9, 1, 6)
    assert shadow.agreement == pytest.approx(6 / 8)
    assert shadow.max_difference == pytest.approx(0.7)
    assert (shadow.champion.p50_ms, shadow.challenger.p99_ms) == (10.0, 12.0)


@pytest.mark.parametrize("keys", [0, 30, 1_500])
def test_json_and_text_hold_whatever_is_known(tmp_path: Path, keys: int) -> None:
    if keys:
        write_traffic(tmp_path, Traffic(share=0.3), keys)
    got = judge(PLAN, tmp_path, split((0, 30)))
    tree = json.loads(json.dumps(got.as_tree(), allow_nan=False))
    assert tree["decision"] == got.decision
    assert tree["champion"]["units"] == got.champion.units
    assert (tree["difference"]["low"] is None) == math.isinf(got.difference.low)
    assert set(tree["guardrails"]) == {"errors", "latency"}
    text = got.as_text()
    assert text.startswith(f"{PLAN.experiment}: running\n{got.sentence}\n")
    assert all(note in text for note in got.notes)
    assert "nan" not in text
    assert all(len(line) < 200 for line in text.splitlines())


def test_a_look_gives_the_same_judgement_whatever_the_order_of_files(tmp_path: Path) -> None:
    trees = []
    for name, seeds in (("a", (1, 2)), ("b", (2, 1))):
        for number, seed in enumerate(seeds):
            write_traffic(tmp_path / name, Traffic(challenger=0.93), 1_000, seed=seed)
            for kind in ("exposures", "outcomes"):
                folder = tmp_path / name / kind
                (folder / f"traffic-{seed}.parquet").rename(folder / f"{number}.parquet")
        trees.append(judge(PLAN, tmp_path / name, split((0, 50))).as_tree())
    assert trees[0] == trees[1]


@pytest.mark.parametrize("keys", [0, 3_000])
def test_the_picture_names_what_it_shows(tmp_path: Path, keys: int) -> None:
    if keys:
        write_traffic(tmp_path, Traffic(challenger=0.85), keys)
    got = judge(PLAN, tmp_path, split((0, 10), (150, 50)))
    plot_judgement(got, tmp_path / "plot.svg")
    drawing = (tmp_path / "plot.svg").read_text(encoding="utf-8")
    for words in (PLAN.experiment, "mean reward", "time (UTC)", "evidence", "10 %", "50 %"):
        assert words in drawing
    assert ("valid at every look" in drawing) == bool(keys)


def test_a_picture_can_be_a_png(tmp_path: Path) -> None:
    plot_judgement(judge(PLAN, tmp_path, split((0, 10))), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["plot.gif", "plot", "absent/plot.svg"])
def test_a_picture_that_cannot_be_written_is_said_so(tmp_path: Path, name: str) -> None:
    got = judge(PLAN, tmp_path, split((0, 10)))
    with pytest.raises(PlotError) as caught:
        plot_judgement(got, tmp_path / name)
    assert caught.value.exit_code == 2
