import pytest

from clickclean_server.diagnosis import Diagnosis, Verdict
from clickclean_server.probe import Outcome, Probe


def probe(outcome: Outcome, executions: int | None = None) -> Probe:
    return Probe(version=1, outcome=outcome, reason="", executions=executions)


RIGHT, FAULT = probe(Outcome.RIGHT), probe(Outcome.FAULT)


def judge(probes: list[Probe], hang_after_s: float = 5.0) -> list[Verdict]:
    """One probe each second, each taking a second."""
    diagnosis = Diagnosis(hang_after_s)
    return [
        diagnosis.judge(found, started=float(second), now=second + 1.0)
        for second, found in enumerate(probes)
    ]


def test_two_faults_in_a_row_are_a_dead_model() -> None:
    assert judge([RIGHT, FAULT, FAULT]) == [Verdict.WELL, Verdict.SUSPECT, Verdict.DEAD]


@pytest.mark.parametrize("between", [RIGHT, probe(Outcome.LATE, 7)])
def test_faults_apart_are_not(between: Probe) -> None:
    assert Verdict.DEAD not in judge([FAULT, between, FAULT])


def test_late_while_batches_are_finished_is_overload_for_however_long() -> None:
    verdicts = judge([probe(Outcome.LATE, count) for count in range(60)])
    assert set(verdicts) == {Verdict.BUSY}


def test_late_without_any_progress_is_hung() -> None:
    verdicts = judge([probe(Outcome.LATE, 7)] * 6)
    assert verdicts == [Verdict.BUSY] * 4 + [Verdict.HUNG] * 2


def test_a_server_that_does_not_even_tell_its_counters_is_hung() -> None:
    assert judge([probe(Outcome.LATE)] * 6)[-1] is Verdict.HUNG


def test_progress_and_a_right_answer_start_the_clock_anew() -> None:
    stalled = [probe(Outcome.LATE, 7)] * 4
    assert Verdict.HUNG not in judge([*stalled, probe(Outcome.LATE, 8), *stalled])
    assert Verdict.HUNG not in judge([*stalled, RIGHT, *stalled])
