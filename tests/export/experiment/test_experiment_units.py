"""Which keys and which outcomes count, above all when the split changes."""

from pathlib import Path

import numpy as np
import pytest

from clickclean_export.experiment.log_reader import read_log
from clickclean_export.experiment.plan import check_changes
from clickclean_export.experiment.units import Units, units_of
from tests.export.experiment.logs import EXPERIMENT, Log, split


def units(log: Log, *steps: tuple[float, float]) -> Units:
    log.flush()
    return units_of(read_log(log.folder, EXPERIMENT, "reward"), check_changes(split(*steps)))


def test_the_first_outcome_of_a_key_counts_whichever_call_it_is_of(tmp_path: Path) -> None:
    log = Log(tmp_path)
    for number in range(3):
        log.call(number, "a", "champion", f"p{number}")
    log.outcome(30, "p0", 0.1)
    log.outcome(10, "p2", 0.2)
    log.outcome(20, "p1", 0.3)
    got = units(log, (0, 50))
    assert got.outcome_value.tolist() == [0.2]
    assert got.challenger.tolist() == [False]


def test_outcomes_come_in_the_order_of_their_time(tmp_path: Path) -> None:
    log = Log(tmp_path)
    for seconds, key in ((1, "a"), (2, "b"), (3, "c")):
        log.call(seconds, key, "challenger" if key == "b" else "champion", f"p{key}")
        log.outcome(100 - seconds, f"p{key}", float(seconds))
    got = units(log, (0, 50))
    assert got.outcome_value.tolist() == [3.0, 2.0, 1.0]
    assert got.outcome_challenger.tolist() == [False, True, False]
    assert (np.diff(got.outcome_time_us) > 0).all()


def test_a_key_that_a_ramp_moves_keeps_its_first_arm_and_what_it_does_then_does_not_count(
    tmp_path: Path,
) -> None:
    log = Log(tmp_path)
    log.call(1, "moved", "champion", "p1")
    log.call(200, "moved", "challenger", "p2")
    log.outcome(201, "p2", 0.0)
    log.outcome(300, "p1", 1.0)
    log.call(210, "new", "challenger", "p3")
    log.outcome(220, "p3", 0.5)
    got = units(log, (0, 1), (100, 50))
    assert got.challenger.tolist() == [False, True]
    assert got.epoch.tolist() == [0, 1]
    # p1's outcome is late, and still of the first epoch.
    assert got.outcome_value.tolist() == [0.5, 1.0]
    assert got.outcome_epoch.tolist() == [1, 0]
    assert got.seen_before == 1
    assert got.in_two_arms == 0


@pytest.mark.parametrize(("seconds", "counts"), [(89, 1), (91, 0), (109, 0), (111, 1)])
def test_keys_first_seen_close_to_a_change_do_not_count(
    tmp_path: Path, seconds: float, counts: int
) -> None:
    log = Log(tmp_path)
    log.call(seconds, "a", "champion", "p1")
    log.outcome(500, "p1", 1.0)
    log.call(300, "a", "champion", "p2")
    log.outcome(400, "p2", 1.0)
    got = units(log, (0, 1), (100, 50))
    assert len(got.challenger) == len(got.outcome_value) == counts
    assert got.unsettled == 1 - counts


def test_a_key_in_both_arms_without_a_change_is_told(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.call(1, "a", "champion", "p1")
    log.call(2, "a", "challenger", "p2")
    log.outcome(3, "p2", 1.0)
    got = units(log, (0, 50))
    assert got.in_two_arms == 1
    assert len(got.outcome_value) == 0


def test_a_clock_before_the_start_is_of_the_first_epoch(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.call(-60, "a", "challenger", "p1")
    assert units(log, (0, 50)).epoch.tolist() == [0]
