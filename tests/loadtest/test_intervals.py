import numpy as np
import pytest

from clickclean_loadtest.intervals import (
    interval_of_mean,
    interval_of_share,
    percentile,
    tries_without_hit,
)


def test_a_percentile_is_an_observed_value_that_the_share_does_not_exceed() -> None:
    values = np.arange(1.0, 101.0)
    assert percentile(values, 99) == 99.0
    assert percentile(values, 50) == 50.0
    assert percentile(np.array([]), 99) == 0.0


def test_the_interval_of_the_mean_covers_the_truth_also_when_neighbours_are_alike() -> None:
    random = np.random.default_rng(1)
    covered = plain = 0
    for _ in range(200):
        noise = random.normal(size=4000)
        series = np.empty(4000)
        series[0] = noise[0]
        for index in range(1, 4000):
            series[index] = 0.9 * series[index - 1] + noise[index]
        low, high = interval_of_mean(series)
        covered += low <= 0.0 <= high
        plain += abs(series.mean()) <= 1.96 * series.std() / np.sqrt(series.size)
    assert covered >= 180
    assert plain < 120  # what the standard error of independent values would have claimed


def test_the_interval_of_a_share_matches_wilsons_published_example() -> None:
    # Newcombe 1998, Statistics in Medicine 17, table I: 81 of 263, and 0 of 20.
    assert interval_of_share(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert interval_of_share(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert interval_of_share(0, 0) == (0.0, 1.0)


def test_tries_without_a_hit_are_just_enough() -> None:
    needed = tries_without_hit(0.01)
    assert interval_of_share(0, needed)[1] <= 0.01 < interval_of_share(0, needed - 1)[1]
