import pytest

from clickclean_client import InvalidRequest, Retry, RetryBudget
from clickclean_client._latencies import ENOUGH, Latencies


def test_a_young_process_may_repeat_a_few_calls() -> None:
    budget = RetryBudget()
    taken = 0
    while budget.take():
        taken += 1
    assert 5 <= taken <= 20
    assert (budget.taken, budget.refused) == (taken, 1)


def test_in_the_long_run_a_tenth_is_sent_beyond_the_calls() -> None:
    budget = RetryBudget()
    for _ in range(10_000):
        budget.take()
        budget.earn()
    assert budget.taken <= 1.001 * (10_000 / 10 + 10)


def test_an_outage_spends_the_reserve_and_no_more() -> None:
    budget = RetryBudget(reserve=50)
    for _ in range(10_000):
        budget.earn()
    assert sum(budget.take() for _ in range(1_000)) == 50


def test_no_budget_at_all() -> None:
    assert not RetryBudget(ratio=0, reserve=0).take()


@pytest.mark.parametrize(
    "settings", [{"ratio": -0.1}, {"ratio": 1.1}, {"ratio": True}, {"reserve": float("nan")}]
)
def test_what_is_no_budget(settings: dict[str, float]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        RetryBudget(**settings)
    assert "from 0 to" in caught.value.hint


def test_all_clients_of_a_process_share_one() -> None:
    assert Retry().budget is Retry().budget
    assert Retry(budget=RetryBudget()).budget is not Retry().budget


def test_quantiles_are_known_from_a_hundred_answers() -> None:
    times = Latencies()
    for _ in range(ENOUGH - 1):
        times.add(0.01)
    assert times.quantile_s(0.99) is None
    times.add(0.01)
    assert times.quantile_s(0.99) == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
def test_quantiles_are_at_most_9_percent_off(share: float) -> None:
    times = Latencies()
    values = [0.001 * 1.005**number for number in range(1000)]
    for value in values:
        times.add(value)
    true = values[int(share * len(values)) - 1]
    found = times.quantile_s(share)
    assert found is not None
    assert true <= found * 1.001
    assert found <= true * 1.1


def test_what_was_is_forgotten() -> None:
    times = Latencies()
    for _ in range(10_000):
        times.add(0.001)
    for _ in range(10_000):
        times.add(0.1)
    assert times.quantile_s(0.5) == pytest.approx(0.1, rel=0.1)


def test_absurd_times_fit() -> None:
    times = Latencies()
    for value in (0.0, 1e-9, 1e9) * 50:
        times.add(value)
    assert times.quantile_s(0.99) is not None
