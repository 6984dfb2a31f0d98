"""The expected share of false calls: by hand, on mixes of known make, and its order."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from virnucpro.calling.calibration import sigmoid
from virnucpro.calling.fdr import FalseDiscovery, posterior, prevalence


def false_discovery(scores: np.ndarray) -> np.ndarray:
    return FalseDiscovery.of(scores)(scores)


def alike(scores: np.ndarray) -> float:
    """The prevalence of scores that occur once each."""
    return prevalence(scores, np.ones(len(scores), dtype=np.int64))


def mix(share: float, n: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Scores calibrated for even odds, and the truth: two normal distributions 2.5 apart."""
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < share
    x = rng.normal(np.where(truth, 1.25, -1.25), 1.0)
    return sigmoid(2.5 * x), truth


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
def test_is_the_share_of_false_calls_in_the_samples_own_mix(share: float) -> None:
    scores, truth = mix(share, 20_000)
    assert alike(scores) == pytest.approx(share, abs=0.02)
    found = false_discovery(scores)
    for cut in (0.3, 0.5, 0.9):
        called = scores >= cut
        wrong = 1 - truth[called].mean()
        assert found[called].max() == pytest.approx(wrong, abs=0.06)


def test_by_hand() -> None:
    scores = np.array([0.2, 0.9, np.nan, 0.9])
    share = alike(scores[~np.isnan(scores)])
    assert share == prevalence(np.array([0.2, 0.9]), np.array([1, 2]))
    high, low = posterior(np.array([0.9, 0.2]), share)
    expected = [(2 * (1 - high) + 1 - low) / 3, 1 - high, np.nan, 1 - high]
    assert false_discovery(scores) == pytest.approx(expected, nan_ok=True)
    assert share == pytest.approx((2 * high + low + 1) / 5, abs=1e-5)  # the fixed point, prior and all


def test_few_or_none_give_no_certainty() -> None:
    assert alike(np.empty(0)) == 0.5
    assert len(false_discovery(np.empty(0))) == 0
    assert np.isnan(false_discovery(np.array([np.nan]))).all()
    for score in (0.0, 1.0):
        assert 0 < alike(np.array([score])) < 1
        assert np.isfinite(false_discovery(np.array([score]))).all()


@given(st.lists(st.one_of(st.just(float("nan")), st.integers(0, 50).map(lambda n: n / 50)), max_size=60))
def test_never_lower_for_a_lower_score(given_scores: list[float]) -> None:
    scores = np.array(given_scores, dtype=float)
    found = false_discovery(scores)
    assert (np.isnan(found) == np.isnan(scores)).all()
    scored = ~np.isnan(scores)
    pairs = sorted(zip(scores[scored], found[scored], strict=True))
    assert all(0 <= rate <= 1 for _, rate in pairs)
    for (low, its), (high, other) in itertools.pairwise(pairs):
        assert its == other if low == high else its >= other
