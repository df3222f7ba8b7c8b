import dataclasses
import math
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from clickclean_client import Client, Golden, GoldenError, ModelNotFound
from clickclean_client.testing import FakeServer
from tests.client.challengers import INPUTS


def make(**changes: Any) -> Golden:
    golden = Golden(
        inputs={"x": np.arange(18, dtype=np.float32).reshape(6, 3)},
        outputs={
            "y0": np.arange(18, dtype=np.float32).reshape(6, 3),
            "k": np.arange(6, dtype=np.int64)[:, None],
        },
        tolerance={"y0": 0.5, "k": 0.0},
        labels=np.arange(6, dtype=np.int64),
        prediction="y0",
    )
    return dataclasses.replace(golden, **changes)


def assert_same(left: Golden, right: Golden) -> None:
    for name in ("inputs", "outputs"):
        ours, theirs = getattr(left, name), getattr(right, name)
        assert list(ours) == list(theirs)
        for key in ours:
            assert ours[key].dtype == theirs[key].dtype
            np.testing.assert_array_equal(ours[key], theirs[key])
    assert left.tolerance == right.tolerance
    assert left.prediction == right.prediction
    assert (left.labels is None) == (right.labels is None)
    if left.labels is not None and right.labels is not None:
        np.testing.assert_array_equal(left.labels, right.labels)


@pytest.mark.parametrize(
    "golden",
    [
        make(),
        make(labels=None, prediction=""),
        make(inputs={"a.b/c": np.zeros((6, 1), np.float16), "file": np.ones((6, 2), bool)}),
        make(inputs={"t": np.array([[b"a"], [b""], [b"\0x"], [b"b"], [b"c"], [b"\xff"]], object)}),
        make(outputs={"y0": np.full((6, 2), np.inf, np.float32)}, tolerance={"y0": 1e-4}),
    ],
)
def test_save_and_load(golden: Golden, tmp_path: Path) -> None:
    path = tmp_path / "golden"
    golden.save(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["golden"]
    assert_same(Golden.load(path), golden)


def test_the_keys_in_the_file(tmp_path: Path) -> None:
    make().save(tmp_path / "g.npz")
    with np.load(tmp_path / "g.npz", allow_pickle=False) as file:
        assert sorted(file.files) == [
            "input.x",
            "label",
            "output.k",
            "output.y0",
            "prediction",
            "tolerance.k",
            "tolerance.y0",
        ]


def test_rows_head_and_row() -> None:
    golden = make()
    assert golden.rows == 6
    head = golden.head(2)
    assert head.rows == 2
    assert head.outputs["k"].tolist() == [[0], [1]]
    assert head.labels is not None
    assert head.labels.tolist() == [0, 1]
    assert golden.head(99).rows == 6
    row = golden.row(5)
    assert row.inputs["x"].tolist() == [[15, 16, 17]]
    assert row.tolerance == golden.tolerance
    for index in (-1, 6):
        with pytest.raises(IndexError):
            golden.row(index)
    with pytest.raises(GoldenError, match="rows"):
        golden.head(0)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"inputs": {}}, "no inputs"),
        ({"outputs": {}, "prediction": ""}, "no outputs"),
        ({"inputs": {"x": np.zeros((5, 3))}}, r"have \[5, 6\]"),
        ({"inputs": {"x": np.float32(1).reshape(())}}, r"have \[0, 6\]"),
        ({"labels": np.arange(5)}, r"have \[5, 6\]"),
        ({"labels": np.arange(6, dtype=np.int32)}, "labels are int32"),
        ({"prediction": "z"}, "'z' is none of its outputs"),
        ({"tolerance": {"y0": 1.0}}, "'k' has no finite tolerance"),
        ({"tolerance": {"y0": -1.0, "k": 0.0}}, "'y0' has no finite tolerance"),
        ({"tolerance": {"y0": math.inf, "k": 0.0}}, "'y0' has no finite tolerance"),
        ({"outputs": {"y0": np.full((6, 1), np.nan, np.float32)}}, "'y0' holds NaN"),
    ],
)
def test_inconsistent_data(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(GoldenError, match=problem) as caught:
        make(**changes)
    assert caught.value.hint


def test_files_that_are_missing_or_something_else(tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    with pytest.raises(GoldenError, match="does not exist") as caught:
        Golden.load(path)
    assert str(path) in str(caught.value)
    with pytest.raises(GoldenError, match="cannot be read"):
        Golden.load(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(GoldenError, match="cannot be read"):
        Golden.load(path)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(GoldenError, match="no npz file"):
        Golden.load(path)


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "ran"),)

    path = tmp_path / "golden.npz"
    with path.open("wb") as file:
        np.savez(file, **{"input.x": np.array([Bomb()], dtype=object)})
    with pytest.raises(GoldenError, match="cannot be read"):
        Golden.load(path)
    assert not (tmp_path / "ran").exists()


def test_a_file_with_an_inconsistency_is_named(tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    arrays: dict[str, NDArray[Any]] = {"input.x": np.zeros((1, 1)), "output.y": np.zeros((1, 1))}
    with path.open("wb") as file:
        np.savez(file, **arrays)
    with pytest.raises(GoldenError, match=r"golden\.npz cannot be used: the output 'y' has no"):
        Golden.load(path)
    with path.open("wb") as file:
        np.savez(file, **arrays, **{"tolerance.y": np.zeros(2)})
    with pytest.raises(GoldenError, match="a tolerance is no number"):
        Golden.load(path)


def test_damaged_files_are_golden_errors(tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    make().save(path)
    whole = path.read_bytes()
    dice = random.Random(1)
    refused = 0
    for _ in range(400):
        damaged = bytearray(whole[: dice.choice((len(whole), dice.randrange(len(whole))))])
        for _ in range(dice.randrange(1, 4)):
            if damaged:
                damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        path.write_bytes(damaged)
        try:
            Golden.load(path)
        except GoldenError:
            refused += 1
    assert refused > 200


def test_bytes_that_npz_would_shorten(tmp_path: Path) -> None:
    golden = make(inputs={"t": np.array([[b"a\0"]] * 6, dtype=object)})
    with pytest.raises(GoldenError, match="ends with a NUL"):
        golden.save(tmp_path / "golden.npz")


def test_a_path_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(GoldenError, match="cannot be written") as caught:
        make().save(tmp_path / "nosuch" / "golden.npz")
    assert caught.value.hint


def test_an_answer_within_and_over_the_tolerance() -> None:
    golden = make()
    near = {**golden.outputs, "y0": golden.outputs["y0"] + np.float32(0.25)}
    check = golden.compare(near)
    assert (check.ok, check.output, check.worst, check.reason) == (True, "y0", 0.25, "")
    assert check.tolerance == 0.5
    far = {**golden.outputs, "y0": golden.outputs["y0"] - np.float32(0.75)}
    check = golden.compare(far)
    assert (check.ok, check.output, check.worst) == (False, "y0", 0.75)
    assert check.reason == "The output 'y0' is off by 0.75, allowed is 0.5."
    assert golden.compare(golden.outputs).ok
    assert golden.compare({**golden.outputs, "extra": np.zeros(1)}).ok


@pytest.mark.parametrize(
    ("output", "value", "reason"),
    [
        ("y0", None, "is missing"),
        ("y0", np.zeros((6, 2), np.float32), "has the shape [6, 2], not [6, 3]"),
        ("y0", np.zeros((6, 3), np.float64), "is float64, not float32"),
        ("y0", np.full((6, 3), np.nan, np.float32), "holds NaN"),
        ("y0", np.full((6, 3), np.inf, np.float32), "is off by inf"),
        ("y0", np.full((6, 3), b"a", object), "is object, not float32"),
    ],
)
def test_answers_that_are_not_ok(output: str, value: Any, reason: str) -> None:
    golden = make()
    answer = {name: array for name, array in golden.outputs.items() if name != output}
    if value is not None:
        answer[output] = value
    check = golden.compare(answer)
    assert not check.ok
    assert check.output == output
    assert check.worst == math.inf
    assert reason in check.reason


def test_the_failing_output_decides_not_the_larger_difference() -> None:
    golden = make(tolerance={"y0": 100.0, "k": 0.0})
    answer = {"y0": golden.outputs["y0"] + np.float32(50), "k": golden.outputs["k"] + 1}
    check = golden.compare(answer)
    assert (check.ok, check.output, check.worst) == (False, "k", 1.0)


def test_infinities_large_integers_and_bytes() -> None:
    exact: dict[str, NDArray[Any]] = {
        "f": np.full((6, 1), -np.inf, np.float32),
        "i": np.full((6, 1), 2**60, np.int64),
        "b": np.full((6, 1), b"yes", object),
    }
    golden = make(outputs=exact, tolerance=dict.fromkeys(exact, 0.0), prediction="")
    assert golden.compare(exact).ok
    for name, wrong in (("f", np.inf), ("f", 0.0), ("i", 2**60 + 1), ("b", b"no")):
        array = exact[name].copy()
        array[3] = wrong
        check = golden.compare({**exact, name: array})
        assert (check.ok, check.output) == (False, name)


def test_check_against_a_server(fake: FakeServer, client: Client) -> None:
    golden = make(outputs={"y0": make().outputs["y0"]})
    assert golden.check(client, "m").ok
    assert fake.last_request["ModelInfer"].inputs[0].shape == [4, 3]
    assert fake.calls["ModelInfer"] == 1
    fake.serve("m", inputs=INPUTS, max_batch=0, version="2")
    assert golden.check(client, "m", version=2).ok
    assert fake.last_request["ModelInfer"].inputs[0].shape == [6, 3]
    wrong = make(outputs={"y0": make().outputs["y0"] + np.float32(1)})
    assert not wrong.check(client, "m").ok
    with pytest.raises(ModelNotFound):
        golden.check(client, "nosuch")


def test_a_single_array_is_no_golden_file(tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(GoldenError, match="no npz file"):
        Golden.load(path)
