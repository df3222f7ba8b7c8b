"""The plan of an experiment: read back as written, and refused where it is impossible."""

import json
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from clickclean_export.experiment.errors import PlanError
from clickclean_export.experiment.plan import (
    ExperimentPlan,
    SplitChange,
    check_changes,
    plan_as_json,
    plan_from_json,
)
from tests.export.experiment.logs import PLAN, at, split


def test_a_plan_is_read_back_as_written() -> None:
    plan = replace(PLAN, better="lower", alpha=0.01, latency_ratio_max=1.2)
    assert plan_from_json(plan_as_json(plan)) == plan


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"experiment": " "}, "experiment"),
        ({"salt": ""}, "salt"),
        ({"champion": 0}, "champion"),
        ({"challenger": 2}, "challenger"),
        ({"better": "more"}, "better"),
        ({"alpha": 0.0}, "alpha"),
        ({"alpha": float("nan")}, "alpha"),
        ({"guardrail_alpha": 0.7}, "guardrail_alpha"),
        ({"sample_ratio_alpha": 1.0}, "sample_ratio_alpha"),
        ({"units_min": 5}, "units_min"),
        ({"tuned_units": 0}, "tuned_units"),
        ({"error_rate_margin": 1.0}, "error_rate_margin"),
        ({"error_rate_margin": -0.1}, "error_rate_margin"),
        ({"latency_ratio_max": 0.0}, "latency_ratio_max"),
        ({"latency_ratio_max": float("inf")}, "latency_ratio_max"),
        ({"started": "yesterday"}, "started"),
        ({"started": "2026-11-23T12:00:00"}, "time zone"),
    ],
)
def test_an_impossible_plan_is_refused_with_the_name_of_what_is_wrong(
    change: dict[str, Any], word: str
) -> None:
    with pytest.raises(PlanError, match=word) as caught:
        replace(PLAN, **change)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"alhpa": 0.1}, "alhpa"),
        ({"champion": "2"}, "champion"),
        ({"alpha": 7}, "alpha"),
        ({"salt": None}, "salt"),
    ],
)
def test_a_plan_in_a_file_is_held_to_the_same(change: dict[str, Any], word: str) -> None:
    tree = {**json.loads(plan_as_json(PLAN)), **change}
    with pytest.raises(PlanError, match=word):
        plan_from_json(json.dumps(tree))


def test_no_json_is_no_plan() -> None:
    with pytest.raises(PlanError, match="cannot be read"):
        plan_from_json("{")


def test_defaults_are_filled_in() -> None:
    least = ("experiment", "model", "champion", "challenger", "salt", "started")
    assert plan_from_json(json.dumps({name: getattr(PLAN, name) for name in least})) == PLAN
    assert isinstance(PLAN, ExperimentPlan)


def test_changes_of_the_split_are_put_in_order_and_joined() -> None:
    changes = check_changes(split((50, 10), (0, 1), (60, 10), (90, 50)))
    assert [change.percent for change in changes] == [1, 10, 50]
    assert changes[1].time == at(50)


def test_a_share_is_what_the_assignment_deals() -> None:
    assert SplitChange(at(0), 0.005).share == 5e-5
    assert SplitChange(at(0), 33.333).share == 0.33333


@pytest.mark.parametrize("percent", [-1.0, 100.5, float("nan"), 0.0005])
def test_an_impossible_percentage_is_refused(percent: float) -> None:
    with pytest.raises(PlanError, match="percent"):
        SplitChange(at(0), percent)


def test_a_history_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(PlanError, match="two entries"):
        check_changes(split((0, 1), (0, 2)))
    with pytest.raises(PlanError, match="empty"):
        check_changes([])
    with pytest.raises(PlanError, match="time zone"):
        SplitChange(datetime(2026, 1, 1), 1.0)
