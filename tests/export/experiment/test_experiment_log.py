"""Reading what several processes logged, damaged files and foreign rows included."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clickclean_client.experiments import tables
from clickclean_export.experiment.errors import LogError
from clickclean_export.experiment.log_reader import ExperimentLog, SetAside, read_log
from tests.export.experiment.logs import EXPERIMENT, Log


def read(log: Log) -> ExperimentLog:
    log.flush()
    return read_log(log.folder, EXPERIMENT, "reward")


def test_files_of_several_processes_become_one_log_in_the_order_of_time(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.call(5, "b", "challenger", "p2", latency_ms=20.0, error="Overloaded", fallback=True)
    log.outcome(9, "p2", 0.5)
    log.flush()
    log.call(1, "a", "champion", "p1", version=7)
    log.outcome(2, "p1", 1.0)
    got = read(log)
    calls = got.exposures
    assert (np.diff(calls.time_us) == 4_000_000).all()
    assert calls.challenger.tolist() == [False, True]
    assert calls.version.tolist() == [7, 3]
    assert calls.latency_ms.tolist() == [10.0, 20.0]
    assert calls.error.tolist() == calls.fallback.tolist() == [False, True]
    assert calls.units == 2
    assert got.outcomes.value.tolist() == [1.0, 0.5]
    assert got.outcomes.call.tolist() == [0, 1]


def test_what_the_client_writes_is_read(tmp_path: Path) -> None:
    exposure = tables.Exposure(
        5, EXPERIMENT, "digits", "challenger", 3, "p1", "00ff", 12.5, "Overloaded", fallback=True
    )
    tables.write_table([exposure], tmp_path, "one")
    tables.write_table([tables.Outcome(6, EXPERIMENT, "p1", "reward", 0.5)], tmp_path, "one")
    shadow = tables.Shadow(
        7, EXPERIMENT, "digits", "p1", 2, 3, 1.0, 2.0, "", agree=True, max_difference=0.1
    )
    tables.write_table([shadow], tmp_path, "one")
    got = read_log(tmp_path, EXPERIMENT, "reward")
    assert got.set_aside == SetAside()
    assert got.exposures.time_us.tolist() == [5]
    assert got.exposures.error.tolist() == got.exposures.challenger.tolist() == [True]
    assert got.outcomes.value.tolist() == [0.5]
    assert got.shadows.agree.tolist() == [True]


def test_other_experiments_and_other_metrics_are_left_out(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.call(1, "a", "champion", "p1")
    log.call(1, "b", "champion", "p2", experiment="another")
    log.outcome(2, "p1", 1.0, name="dwell")
    log.outcome(2, "p1", 1.0, experiment="another")
    got = read(log)
    assert len(got.exposures) == 1
    assert len(got.outcomes) == 0
    assert got.set_aside.outcomes_without_exposure == 0


@pytest.mark.parametrize("content", [b"", b"PAR1 not really", b"x" * 100])
def test_a_damaged_file_is_named_and_the_rest_is_read(tmp_path: Path, content: bytes) -> None:
    log = Log(tmp_path)
    log.call(1, "a", "champion", "p1")
    log.flush()
    damaged = tmp_path / "exposures" / "damaged.parquet"
    damaged.write_bytes(content)
    got = read(log)
    assert len(got.exposures) == 1
    (sentence,) = got.set_aside.files
    assert str(damaged) in sentence
    assert "cannot be read" in sentence


def test_a_file_cut_off_in_the_middle_is_named(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.call(1, "a", "champion", "p1")
    log.flush()
    whole = tmp_path / "exposures" / "part-1.parquet"
    (tmp_path / "exposures" / "cut.parquet").write_bytes(whole.read_bytes()[:-20])
    assert "cut.parquet" in read(log).set_aside.files[0]


def test_a_foreign_file_is_named_with_the_column_it_lacks(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.call(1, "a", "champion", "p1")
    log.outcome(1, "p1", 1.0)
    log.flush()
    (tmp_path / "outcomes" / "part-1.parquet").rename(tmp_path / "exposures" / "moved.parquet")
    (sentence,) = read(log).set_aside.files
    assert "moved.parquet" in sentence
    assert "'arm'" in sentence


def test_a_file_that_is_being_written_is_not_seen(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.call(1, "a", "champion", "p1")
    log.flush()
    (tmp_path / "exposures" / "part-2.parquet.writing").write_bytes(b"PAR1 half")
    assert read(log).set_aside.files == ()


def test_a_folder_with_nothing_but_damage_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "exposures").mkdir()
    (tmp_path / "exposures" / "only.parquet").write_bytes(b"rubbish")
    with pytest.raises(LogError, match=r"only\.parquet") as caught:
        read_log(tmp_path, EXPERIMENT, "reward")
    assert caught.value.exit_code == 1


def test_an_absent_folder_is_an_error_and_an_empty_one_is_not(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="is not a folder"):
        read_log(tmp_path / "nowhere", EXPERIMENT, "reward")
    got = read_log(tmp_path, EXPERIMENT, "reward")
    assert len(got.exposures) == len(got.outcomes) == len(got.shadows) == 0


def test_a_repeated_prediction_counts_once_and_the_earliest(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.call(9, "a", "champion", "p1", latency_ms=90.0)
    log.flush()
    log.call(1, "a", "champion", "p1", latency_ms=10.0)
    got = read(log)
    assert got.exposures.latency_ms.tolist() == [10.0]
    assert got.set_aside.repeated_predictions == 1
    assert got.set_aside.ambiguous_predictions == 0


def test_an_outcome_of_a_prediction_id_with_two_keys_is_nobodys(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.call(1, "a", "champion", "p1")
    log.call(2, "b", "challenger", "p1")
    log.call(3, "c", "challenger", "p2")
    log.outcome(4, "p1", 1.0)
    log.outcome(5, "p2", 0.0)
    got = read(log)
    assert got.set_aside.ambiguous_predictions == 1
    assert got.outcomes.value.tolist() == [0.0]
    assert got.exposures.units == 2


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_an_outcome_that_is_no_number_is_counted_and_left_out(tmp_path: Path, value: Any) -> None:
    log = Log(tmp_path)
    log.call(1, "a", "champion", "p1")
    log.outcome(2, "p1", value)
    log.outcome(3, "p1", 1.0)
    got = read(log)
    assert got.outcomes.value.tolist() == [1.0]
    assert got.set_aside.outcomes_without_number == 1


def test_outcomes_without_a_call_and_calls_without_an_arm_are_counted(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.call(1, "a", "champion", "p1")
    log.call(1, "b", "third", "p2")
    log.call(1, "c", "champion", "p3", latency_ms=None)
    log.outcome(2, "p2", 1.0)
    log.outcome(2, "gone", 1.0)
    got = read(log)
    assert len(got.exposures) == 1
    assert got.set_aside.incomplete_rows == 2
    assert got.set_aside.outcomes_without_exposure == 2
