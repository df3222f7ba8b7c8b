import numpy as np
import pytest

from clickclean_loadtest.arrivals import Arrivals
from clickclean_loadtest.record import Record
from clickclean_loadtest.result import LatencySummary


def simulate(*, users: int, stall: tuple[float, float]) -> Record:
    """50 requests/s for 30 s to a service that takes 5 ms and answers nothing during the stall."""
    arrivals, record = Arrivals(rate=50, count=1500), Record()
    free_s = [0.0] * users
    while (arrival := arrivals.take()) is not None:
        user = min(range(users), key=free_s.__getitem__)
        sent_s = max(arrival.due_s, free_s[user])
        begin_s = stall[1] if stall[0] <= sent_s < stall[1] else sent_s
        free_s[user] = begin_s + 0.005
        record.note(
            arrival,
            sent_s=sent_s,
            done_s=free_s[user],
            on_time=sent_s == arrival.due_s,
            kind="",
            why="",
        )
    return record


@pytest.mark.parametrize("stall_s", [0.5, 1.0, 2.0, 4.0])
def test_a_stall_shows_in_the_corrected_percentiles_and_not_in_a_closed_loops(
    stall_s: float,
) -> None:
    rows = simulate(users=5, stall=(10.0, 10.0 + stall_s)).rows()
    corrected = LatencySummary.of(rows.latency_ms)
    uncorrected = LatencySummary.of(rows.service_ms)
    assert uncorrected.p99_ms == pytest.approx(5.0, abs=0.01)
    # Of a share of requests due during the stall, the luckiest 1 % of the run waited longest.
    assert corrected.p99_ms > 1000 * (stall_s - 0.01 * 30) * 0.9
    assert corrected.max_ms <= 1000 * stall_s + 200


def test_without_a_stall_both_views_agree() -> None:
    rows = simulate(users=5, stall=(10.0, 10.0)).rows()
    np.testing.assert_allclose(rows.latency_ms, rows.service_ms)
    np.testing.assert_allclose(rows.lag_ms, 0.0)


def note(
    record: Record, index: int, *, latency_s: float, kind: str = "", late_s: float = 0
) -> None:
    arrivals = Arrivals(rate=10, count=1000)
    arrivals.taken = index
    arrival = arrivals.take()
    assert arrival is not None
    record.note(
        arrival,
        sent_s=arrival.due_s + late_s,
        done_s=arrival.due_s + latency_s,
        on_time=late_s == 0,
        kind=kind,
        why=f"{kind} {index}",
    )


def test_rows_come_in_the_order_of_the_schedule() -> None:
    record = Record()
    for index in (3, 0, 2, 1):
        note(record, index, latency_s=float(index))
    assert record.rows().latency_ms.tolist() == pytest.approx([0.0, 1000.0, 2000.0, 3000.0])


def test_a_refusal_has_no_latency_and_a_timeout_has_the_time_waited() -> None:
    record = Record()
    note(record, 0, latency_s=0.1)
    note(record, 1, latency_s=0.001, kind="Overloaded")
    note(record, 2, latency_s=5.0, kind="DeadlineExceeded")
    note(record, 3, latency_s=5.5, kind="NotSent", late_s=5.5)
    note(record, 4, latency_s=0.2, kind="WrongAnswer")
    rows = record.rows()
    assert rows.latency_ms.tolist() == pytest.approx([100.0, 5000.0, 5500.0, 200.0])
    assert record.errors == {
        "Overloaded": 1,
        "DeadlineExceeded": 1,
        "NotSent": 1,
        "WrongAnswer": 1,
    }
    assert record.examples["WrongAnswer"] == "WrongAnswer 4"


def test_only_requests_that_found_a_free_user_tell_the_generators_lag() -> None:
    record = Record()
    note(record, 0, latency_s=1.0)
    note(record, 1, latency_s=1.0, late_s=0.9)
    assert record.rows().lag_ms.tolist() == pytest.approx([0.0])


def test_the_warm_up_is_cut_by_due_time() -> None:
    record = Record()
    for index in range(20):
        note(record, index, latency_s=0.1, kind="ServerFault" if index < 5 else "")
    rows = record.rows().since(0.5)
    assert len(rows) == 15
    assert set(rows.kind) == {""}
