from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from clickclean_client import Golden
from clickclean_export.hops import ENGINE, Answers, ErrorStatistics, HopResult
from clickclean_export.samples import GOLDEN_ROWS, write_golden, write_misread


def result(max_abs: float) -> HopResult:
    errors = ErrorStatistics(max_abs, max_abs, max_abs, max_abs)
    return HopResult(
        hop=ENGINE,
        samples=140,
        right=138,
        agreeing=140,
        finite=True,
        errors={"logits": errors},
        both_right=138,
        float_only=0,
        candidate_only=0,
    )


@pytest.fixture
def answers(tiny: SimpleNamespace) -> Answers:
    """One-hot answers that are right for every row but the third and the last."""
    predicted = tiny.evaluation.labels.copy()
    predicted[[2, -1]] = (predicted[[2, -1]] + 1) % 10
    logits = np.eye(10, dtype=np.float32)[predicted] * 8
    sizes = np.cumsum([len(feed["image"]) for feed in tiny.evaluation.feeds])[:-1]
    return Answers({"logits": tuple(np.split(logits, sizes))}, predicted, finite=True)


def test_golden_rows_are_evaluation_rows_with_the_engines_answers(
    tiny: SimpleNamespace, answers: Answers, tmp_path: Path
) -> None:
    write_golden(tmp_path, tiny.recipe, tiny.evaluation, answers, result(0.5))
    golden = Golden.load(tmp_path / "golden.npz")
    assert golden.rows == GOLDEN_ROWS
    assert golden.prediction == "logits"
    np.testing.assert_array_equal(golden.inputs["image"][:32], tiny.evaluation.feeds[0]["image"])
    np.testing.assert_array_equal(golden.outputs["logits"].argmax(1), answers.predicted[:64])
    assert golden.labels is not None
    np.testing.assert_array_equal(golden.labels, tiny.evaluation.labels[:64])


@pytest.mark.parametrize(("moved", "tolerance"), [(0.5, 0.5), (0.0, 8e-3), (1e-7, 8e-3)])
def test_the_tolerance_is_what_int8_moved_but_never_below_float_rounding(
    tiny: SimpleNamespace, answers: Answers, tmp_path: Path, moved: float, tolerance: float
) -> None:
    write_golden(tmp_path, tiny.recipe, tiny.evaluation, answers, result(moved))
    assert Golden.load(tmp_path / "golden.npz").tolerance["logits"] == pytest.approx(tolerance)


def test_misread_rows_are_kept_with_both_labels(
    tiny: SimpleNamespace, answers: Answers, tmp_path: Path
) -> None:
    write_misread(tmp_path, tiny.evaluation, answers.predicted)
    with np.load(tmp_path / "misread.npz") as found:
        assert found["row"].tolist() == [2, 139]
        np.testing.assert_array_equal(found["label"], tiny.evaluation.labels[[2, 139]])
        np.testing.assert_array_equal(found["predicted"], answers.predicted[[2, 139]])
        np.testing.assert_array_equal(found["input.image"][0], tiny.evaluation.feeds[0]["image"][2])
