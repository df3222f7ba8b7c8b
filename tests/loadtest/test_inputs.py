from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clickclean_client import Golden, TensorSpec
from clickclean_loadtest import LoadTestError
from clickclean_loadtest.answers import Answers
from clickclean_loadtest.inputs import Workload, workload_from_file, workload_from_golden

SPECS = (
    TensorSpec("x", np.dtype(np.float32), "FP32", (-1, 4)),
    TensorSpec("mask", np.dtype(np.bool_), "BOOL", (-1,), optional=True),
)
X = np.arange(12, dtype=np.float32).reshape(3, 4)


def saved(tmp_path: Path, **arrays: Any) -> Path:
    path = tmp_path / "rows.npz"
    np.savez(path, **arrays)
    return path


def test_requests_take_the_rows_in_turn_and_go_round() -> None:
    workload = Workload.of({"x": X}, None, batch=2)
    assert [workload.request(index).tolist() for index in range(3)] == [[0, 1], [2, 0], [0, 1]]
    np.testing.assert_array_equal(workload.take(workload.request(1))["x"], X[[2, 0]])


def test_a_file_of_inputs_and_labels(tmp_path: Path) -> None:
    path = saved(tmp_path, x=X, label=np.array([1, 2, 3], dtype=np.int32))
    workload = workload_from_file(path, specs=SPECS, batch=1)
    assert list(workload.inputs) == ["x"]
    assert workload.labels is not None
    assert workload.labels.tolist() == [1, 2, 3]


def test_a_golden_file_is_a_file_of_inputs_too(tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    Golden({"x": X}, {"y": X}, {"y": 0.1}, labels=np.array([1, 2, 3])).save(path)
    workload = workload_from_file(path, specs=SPECS, batch=1)
    np.testing.assert_array_equal(workload.inputs["x"], X)
    assert workload.labels is not None


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"image": X}, "lacks the input 'x'"),
        ({"x": X, "mask": np.ones(2, dtype=np.bool_)}, "differ in rows"),
        ({"x": X, "label": np.zeros(2, dtype=np.int64)}, "differ in rows"),
        ({"x": X, "label": np.zeros(3)}, "label is float64"),
        ({"x": X, "y": X}, "'y' is no input"),
        ({"x": X[:0]}, "without rows"),
        ({"x": np.float32(1)}, "without rows"),
        ({"x": np.array([{}, {}], dtype=np.object_)}, "not an .npz of plain arrays"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    tmp_path: Path, arrays: dict[str, Any], says: str
) -> None:
    with pytest.raises(LoadTestError, match=says) as caught:
        workload_from_file(saved(tmp_path, **arrays), specs=SPECS, batch=1)
    assert caught.value.exit_code == 2


def test_a_missing_file_a_text_and_a_single_array_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    with pytest.raises(LoadTestError, match="does not exist"):
        workload_from_file(path, specs=SPECS, batch=1)
    path.write_text("no arrays", encoding="utf-8")
    with pytest.raises(LoadTestError, match=r"not an \.npz"):
        workload_from_file(path, specs=SPECS, batch=1)
    with path.open("wb") as file:
        np.save(file, X)
    with pytest.raises(LoadTestError, match="single array"):
        workload_from_file(path, specs=SPECS, batch=1)


def test_answers_are_compared_row_by_row_and_scored(repository: Path) -> None:
    workload = workload_from_golden(repository, "double", "3", batch=2)
    answers = Answers(workload, repository=repository, model="double")
    rows = workload.request(1)
    right = {"y": 2 * workload.take(rows)["x"]}
    judged = answers.judge(rows, "3", right)
    assert (judged.checked, judged.why, judged.labelled, judged.right) == (True, "", 2, 2)

    other_rows = answers.judge(workload.request(2), "3", right)
    assert "off by" in other_rows.why
    shifted = answers.judge(rows, "3", {"y": right["y"] + 0.01})
    assert "off by 0.01" in shifted.why
    assert shifted.right == 2
    assert "missing" in answers.judge(rows, "3", {"z": right["y"]}).why
    flat = answers.judge(rows, "3", {"y": right["y"].ravel()})
    assert (flat.labelled, flat.right) == (2, 0)


def test_a_version_without_golden_rows_of_its_own_is_not_compared(repository: Path) -> None:
    workload = workload_from_golden(repository, "double", "3", batch=1)
    answers = Answers(workload, repository=repository, model="double")
    judged = answers.judge(workload.request(0), "4", {"y": np.zeros((1, 4), dtype=np.float32)})
    assert not judged.checked
    assert not answers.can_check("4")
    assert judged.labelled == 1  # the only output is the prediction
