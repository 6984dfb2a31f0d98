"""What records of many classes count, and how far scores are from being probabilities at those weights."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BINS = 10  # of the reliability curve


def even(viral: NDArray[np.bool_], kind: NDArray[np.str_], weights: Floats) -> Floats:
    """Weights (replicates, n) made those of an even mix, each row with the sum n: both labels count the same,
    and each class within its label."""
    result = np.empty_like(weights)
    for label in (True, False):
        kinds = np.unique(kind[viral == label])
        for each in kinds:
            own = (kind == each) & (viral == label)
            result[:, own] = weights[:, own] / weights[:, own].sum(axis=1, keepdims=True) / len(kinds)
    return np.asarray(result * (len(viral) / np.maximum(result.sum(axis=1, keepdims=True), 1e-300)))


def reliability(score: Floats, viral: NDArray[Any], weight: Floats) -> Floats:
    """(bins, 3): each bin's share of the weight, mean score, share of viral; NaN for the last two of a bin
    without a record. Scores (n,) from 0 to 1."""
    bin_of = np.minimum((score * BINS).astype(int), BINS - 1)
    share, mean, truth = (
        np.bincount(bin_of, weight * value, BINS) / weight.sum() for value in (1.0, score, viral)
    )
    with np.errstate(invalid="ignore"):
        return np.column_stack([share, mean / share, truth / share])


def calibration_error(curve: Floats) -> float:
    """The expected calibration error: mean distance of score and truth over the bins of `reliability`."""
    share, score, truth = curve.T
    return float(np.nansum(share * np.abs(score - truth)))
