import math

import numpy as np
import pytest

from clickclean_export.errors import GateRefused
from clickclean_export.gates import Gate, GatedHop, enforce, judge
from clickclean_export.hops import (
    ENGINE,
    INT8,
    ONNX,
    TORCH,
    Answers,
    ErrorStatistics,
    HopResult,
    compare,
    error_statistics,
)
from clickclean_export.recipe import GatesSection

RULES = GatesSection()


def result(
    hop: str = INT8,
    *,
    samples: int = 500,
    lost: int = 0,
    won: int = 0,
    both_wrong: int = 2,
    disagreeing: int | None = None,
    finite: bool = True,
    max_rel: float = 0.0,
) -> HopResult:
    both = samples - lost - won - both_wrong
    return HopResult(
        hop=hop,
        samples=samples,
        right=both + won,
        agreeing=samples - (lost + won if disagreeing is None else disagreeing),
        finite=finite,
        errors={"logits": ErrorStatistics(max_rel, max_rel, max_rel, max_rel)},
        both_right=both,
        float_only=lost,
        candidate_only=won,
    )


def gate(hop: GatedHop, name: str) -> Gate:
    return next(gate for gate in hop.gates if gate.name == name)


def test_a_model_that_lost_nothing_passes_every_gate() -> None:
    hop = judge(result(), RULES)
    assert hop.outcome == "pass"
    assert [g.name for g in hop.gates] == [
        "finite outputs",
        "accuracy",
        "agreement with float",
        "accuracy as a share of float",
    ]
    enforce(hop, RULES)


@pytest.mark.parametrize(
    ("changed", "name", "outcome"),
    [
        ({"both_wrong": 26}, "accuracy", "fail"),
        ({"both_wrong": 20}, "accuracy", "inconclusive"),
        ({"both_wrong": 10}, "accuracy", "pass"),
        ({"disagreeing": 6}, "agreement with float", "fail"),
        ({"disagreeing": 5}, "agreement with float", "inconclusive"),
        ({"disagreeing": 1}, "agreement with float", "pass"),
        ({"lost": 6}, "accuracy as a share of float", "fail"),
        ({"lost": 4}, "accuracy as a share of float", "inconclusive"),
        ({"finite": False}, "finite outputs", "fail"),
    ],
)
def test_outcomes(changed: dict[str, int], name: str, outcome: str) -> None:
    assert gate(judge(result(**changed), RULES), name).outcome == outcome  # type: ignore[arg-type]


def test_a_refusal_names_hop_and_numbers() -> None:
    with pytest.raises(GateRefused) as caught:
        enforce(judge(result(both_wrong=40, disagreeing=9), RULES), RULES)
    text = str(caught.value)
    assert "'int8 onnx'" in text
    assert "accuracy 92.00%, wanted >= 95.00%" in text
    assert "agreement with float 98.20%, wanted >= 99.00%" in text
    assert caught.value.exit_code == 3
    assert caught.value.hint


def test_inconclusive_says_how_many_more_and_refuses_only_when_asked() -> None:
    hop = judge(result(disagreeing=3), RULES)
    found = gate(hop, "agreement with float")
    assert found.samples_needed is not None
    assert f"{found.samples_needed - 500} more like these would do" in found.sentence(500)
    enforce(hop, RULES)
    with pytest.raises(GateRefused, match="more like these would do"):
        enforce(hop, GatesSection(on_inconclusive="refuse"))


def test_exactly_on_the_threshold_can_never_be_certain() -> None:
    found = gate(judge(result(disagreeing=5), RULES), "agreement with float")
    assert found.outcome == "inconclusive"
    assert found.samples_needed is None
    assert "no number of such samples" in found.sentence(500)


def test_the_float_hops_have_the_gates_that_make_sense_there() -> None:
    assert [g.name for g in judge(result(TORCH), RULES).gates] == ["finite outputs", "accuracy"]
    onnx = judge(result(ONNX, max_rel=0.01), RULES)
    assert gate(onnx, "tolerance of 'logits'").outcome == "fail"
    assert "0.01, wanted <= 0.001" in gate(onnx, "tolerance of 'logits'").sentence(500)


def answers(logits: list[list[float]]) -> Answers:
    array = np.array(logits, np.float32)
    finite = bool(np.isfinite(array).all())
    return Answers({"logits": (array,)}, np.nan_to_num(array).argmax(axis=1), finite)


def test_the_paired_table_is_counted_from_the_answers() -> None:
    labels = np.array([0, 1, 1, 0])
    reference = answers([[2, 1], [1, 2], [2, 1], [2, 1]])
    candidate = answers([[2, 1], [2, 1], [1, 2], [2, 1]])
    found = compare(ENGINE, candidate, reference, labels)
    assert (found.both_right, found.float_only, found.candidate_only) == (2, 1, 1)
    assert (found.right, found.agreeing) == (3, 2)
    table = found.paired(0.99)
    assert (table.samples, table.both_wrong) == (4, 0)


def test_error_statistics_of_known_numbers() -> None:
    wanted = (np.array([[1.0, -4.0]]), np.array([[0.0, 0.0]]))
    got = (np.array([[1.5, -4.0]]), np.array([[0.0, -1.0]]))
    found = error_statistics(got, wanted)
    assert found.max_abs == 1.0
    assert found.max_rel == 0.25
    assert found.rmse == pytest.approx(math.sqrt((0.25 + 1) / 4))


def test_nan_is_never_within_a_tolerance() -> None:
    wanted = (np.array([[1.0]]),)
    assert error_statistics((np.array([[np.nan]]),), wanted).max_rel == math.inf
    nan = answers([[np.nan, 1.0]])
    hop = judge(compare(ONNX, nan, answers([[0.0, 1.0]]), np.array([1])), RULES)
    assert {g.name for g in hop.gates if g.outcome == "fail"} >= {
        "finite outputs",
        "tolerance of 'logits'",
    }
