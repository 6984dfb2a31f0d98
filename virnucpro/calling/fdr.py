"""The expected share of false calls in one sample, for that sample's own mix of sequences."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_PSEUDO = 1.0  # sequences of each kind that the Beta(2, 2) prior on the prevalence adds
_ROUNDS, _STILL = 200, 1e-6


@dataclass(frozen=True)
class FalseDiscovery:
    """`rates`: the expected share of false calls among all sequences of a sample that score at least as high
    as each of `scores`, which are all that occur, in rising order."""

    scores: Floats
    rates: Floats

    @classmethod
    def of(cls, scores: Floats) -> "FalseDiscovery":
        """Of a sample's scores (n,), calibrated for even odds; NaN is no score. Memory: a copy of them."""
        distinct, count = np.unique(scores[~np.isnan(scores)], return_counts=True)
        wrong = (1.0 - posterior(distinct, prevalence(distinct, count))) * count
        rates = np.cumsum(wrong[::-1]) / np.cumsum(count[::-1])
        return cls(distinct, np.maximum.accumulate(rates)[::-1])

    def __call__(self, scores: Floats) -> Floats:
        """For scores (n,) that occur in the sample; NaN for NaN. Never lower for a lower score."""
        known = ~np.isnan(scores)
        found = np.full(len(scores), np.nan)
        found[known] = self.rates[np.searchsorted(self.scores, scores[known])]
        return found


def prevalence(scores: Floats, count: NDArray[np.int64]) -> float:
    """The share of viruses among sequences whose scores (n,), of `count` sequences each, are for even odds.

    Expectation and maximisation after Saerens, Latinne & Decaestecker (Neural Computation 14, 2002), with a
    weak Beta(2, 2) prior, so that a handful of sequences gives no 0 or 1; 0.5 without any.
    """
    share = 0.5
    for _ in range(_ROUNDS):
        viral = float(posterior(scores, share) @ count)
        expected = (viral + _PSEUDO) / (float(count.sum()) + 2 * _PSEUDO)
        still = abs(expected - share) < _STILL
        share = expected
        if still:
            break
    return share


def posterior(scores: Floats, share: float) -> Floats:
    """Scores (n,) for even odds, as probabilities (n,) where a `share` of all sequences is viral."""
    viral, others = scores * share, (1.0 - scores) * (1.0 - share)
    return np.asarray(viral / (viral + others))
