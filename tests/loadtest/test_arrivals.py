import pytest

from clickclean_loadtest.arrivals import Arrival, Arrivals, Beats


def test_requests_are_due_at_a_constant_rate_whatever_is_taken_when() -> None:
    arrivals = Arrivals(rate=50, count=4)
    assert [arrivals.take() for _ in range(5)] == [
        Arrival(0, 0.0),
        Arrival(1, 0.02),
        Arrival(2, 0.04),
        Arrival(3, 0.06),
        None,
    ]


def test_a_cut_keeps_what_was_due_and_drops_what_was_only_taken() -> None:
    arrivals = Arrivals(rate=10, count=100)
    taken = [arrivals.take() for _ in range(30)]
    arrivals.cut(elapsed_s=2.05)
    kept = [arrival for arrival in taken if arrival is not None and arrivals.holds(arrival)]
    assert [kept[0].due_s, kept[-1].due_s] == [0.0, 2.0]
    assert arrivals.count == 21
    assert arrivals.take() is None


def test_a_cut_after_the_end_changes_nothing() -> None:
    arrivals = Arrivals(rate=10, count=5)
    arrivals.cut(elapsed_s=100)
    assert arrivals.count == 5


def test_a_blocked_loop_shows_in_every_beat_that_was_due() -> None:
    beats = Beats(interval_s=0.01)
    for beat in range(100):
        beats.note(beat * 0.01 + 0.0001)
    assert len(beats.lags_s) == 100
    assert max(beats.lags_s) == pytest.approx(0.0001)
    beats.note(2.0)  # blocked for a second
    late = [lag for lag in beats.lags_s if lag > 0.5]
    assert len(late) == pytest.approx(50, abs=1)
