"""The statistics against brute force, and against what their definitions promise."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import binom, binomtest

from clickclean_export.statistics import PairedTest, lower_bound, trials_needed


@pytest.mark.parametrize(("right", "trials"), [(0, 9), (1, 9), (480, 500), (500, 500)])
def test_the_bound_is_the_exact_one(right: int, trials: int) -> None:
    exact = binomtest(right, trials, alternative="greater").proportion_ci(0.95, "exact").low
    assert lower_bound(right, trials) == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize("truth", [0.9, 0.97, 0.995])
def test_the_bound_covers_in_at_least_95_of_100(truth: float) -> None:
    trials = 300
    weights = binom.pmf(np.arange(trials + 1), trials, truth)
    covered = [lower_bound(k, trials) <= truth for k in range(trials + 1)]
    assert float(weights[covered].sum()) >= 0.95


@pytest.mark.parametrize(("proportion", "threshold"), [(0.998, 0.99), (1.0, 0.99), (0.97, 0.95)])
def test_trials_needed_is_enough_and_not_far_too_many(proportion: float, threshold: float) -> None:
    needed = trials_needed(proportion, threshold)
    assert needed is not None
    assert lower_bound(math.floor(proportion * needed), needed) >= threshold
    fewer = int(needed * 0.6)
    assert lower_bound(math.floor(proportion * fewer), fewer) < threshold


def test_no_number_of_trials_proves_what_is_not_so() -> None:
    assert trials_needed(0.99, 0.99) is None
    assert trials_needed(0.98, 0.99) is None


def constrained_score(a: int, lost: int, won: int, wrong: int, ratio: float) -> float:
    """The score statistic from its definition: the restricted estimate found numerically."""
    n = a + lost + won + wrong

    def cells(x: tuple[float, float]) -> tuple[float, float, float, float]:
        both, lost_share = x
        won_share = ratio * lost_share - (1 - ratio) * both
        return both, lost_share, won_share, 1 - both - lost_share - won_share

    def loss(x: tuple[float, float]) -> float:
        shares = np.array(cells(x))
        if (shares < -1e-12).any():
            return 1e9
        counts = np.array([a, lost, won, wrong])
        return float(-(counts * np.log(np.clip(shares, 1e-300, 1))).sum())

    starts = [
        (both, (1 - ratio) * both / ratio + extra)
        for both in np.linspace(0.01, 0.999, 60)
        for extra in np.geomspace(1e-6, 0.3, 40)
    ]
    best = minimize(
        loss,
        min(starts, key=loss),
        method="Nelder-Mead",
        options={"xatol": 1e-10, "fatol": 1e-12, "maxiter": 20_000},
    ).x
    both, lost_share, won_share, _ = cells(tuple(best))
    variance = n * ((1 - ratio) ** 2 * both + won_share + ratio**2 * lost_share)
    return float(((a + won) - ratio * (a + lost)) / math.sqrt(variance))


@pytest.mark.parametrize(
    "table", [(498, 0, 0, 2), (490, 3, 2, 5), (480, 8, 3, 9), (400, 20, 30, 50), (495, 1, 0, 4)]
)
def test_the_closed_form_is_the_restricted_maximum(table: tuple[int, int, int, int]) -> None:
    assert PairedTest(*table, 0.99).z == pytest.approx(constrained_score(*table, 0.99), abs=2e-3)


def test_a_model_at_the_limit_passes_in_about_5_of_100_trials() -> None:
    rng = np.random.default_rng(1)
    shares = np.array([0.93, 0.0298, 0.0202, 0.02])
    ratio = (shares[0] + shares[2]) / (shares[0] + shares[1])
    tables = rng.multinomial(500, shares, size=4000)
    proven = sum(
        PairedTest(int(both), int(lost), int(won), int(wrong), float(ratio)).proven
        for both, lost, won, wrong in tables
    )
    assert 0.03 < proven / 4000 < 0.07


def test_samples_needed_would_prove_it() -> None:
    test = PairedTest(490, 5, 2, 3, 0.99)
    assert not test.proven
    needed = test.samples_needed
    assert needed is not None
    both, lost, won, wrong = (math.ceil(count * needed / test.samples) for count in (490, 5, 2, 3))
    grown = PairedTest(both, lost, won, wrong, 0.99)
    assert grown.proven


def test_a_model_that_knows_nothing_proves_nothing() -> None:
    test = PairedTest(0, 0, 0, 500, 0.99)
    assert not test.proven
    assert math.isnan(test.observed_ratio)
    assert test.samples_needed is None
