"""Fit a model set's calibration, presets and curve from scores of sequences that it was not trained on.

Everything is measured at even odds: viruses weigh as much as everything else, and within each the classes
weigh the same, however many sequences of each there are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from virnucpro.calling.calibration import KNOTS, Calibration, Fit, Floats, sigmoid
from virnucpro.errors import InputError
from virnucpro.training import weighing
from virnucpro.training.weighing import calibration_error, reliability

MIN_OF_A_CLASS = 5  # sequences, for a length to have coefficients and cut-offs of its own
# Highest false positive rates that a preset may have at any length, by class.
STRICT_RATE = 0.01
BALANCED_RATES = {"human": 0.05}
BALANCED_RATE = 0.15  # the mean over the classes
SENSITIVE_RATE = 0.25  # the mean over the classes
_LEAST_RECALL = 0.1  # a cut-off that finds less than this is no use, whatever its rates
_COST = 0.002  # of F1 or recall, that one cut-off for all lengths may cost
_CUTS = np.round(np.arange(0.005, 1.0, 0.005), 3)
_SHOWN = np.round([0.01, *np.arange(0.05, 0.96, 0.05), 0.97, 0.99], 2)  # scores of the curve
_RIDGE = 1.0  # as much as one sequence says; it keeps coefficients finite where classes do not overlap

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Scored:
    """n sequences of known origin. `composition`, `frames`, `share`, `length`: as `Calibration.score` takes
    them; `label`: 1 for viruses; `kind`: the class."""

    composition: Floats
    frames: Floats
    share: Floats
    length: Floats
    label: Ints
    kind: NDArray[np.str_]

    def of(self, chosen: NDArray[Any]) -> "Scored":
        """Those chosen by a mask or by indices."""
        return Scored(**{name: values[chosen] for name, values in vars(self).items()})

    def of_kinds(self, kinds: NDArray[np.str_]) -> "Scored":
        """Those of these classes."""
        return self.of(np.isin(self.kind, kinds))

    def __add__(self, other: "Scored") -> "Scored":
        """These, then the others."""
        return Scored(
            **{name: np.concatenate([values, vars(other)[name]]) for name, values in vars(self).items()}
        )


def fit_calibration(
    scored: Scored, framed: Scored | None = None, about: Mapping[str, Any] | None = None
) -> Calibration:
    """The calibration of a model set, from sequences of about the lengths `KNOTS` that it was not trained on.

    `scored`: those for composition alone; `framed`: those whose frame scores were not trained on either, None
    where frames shall not count. Sequences without composition log-odds are left out. The calibration's knots
    are those of `KNOTS` to which `MIN_OF_A_CLASS` sequences of every class are near; raises `InputError`
    where there is none, or only one label.
    """
    scored = scored.of(~np.isnan(scored.composition))
    framed = framed and framed.of(~np.isnan(framed.composition))
    knots = tuple(k for k in KNOTS if all(_enough(part, k) for part in (scored, framed) if part))
    if not knots or len(np.unique(scored.label)) < 2:
        raise InputError(
            f"calibration needs viruses and others, and {MIN_OF_A_CLASS} sequences of every class that are "
            "of about one length; add sequences"
        )
    composition, error = _fit(scored, knots, [scored.composition], [0])
    errors, both = {"composition": error}, None
    facts: dict[str, Any] = {"sequences": len(scored.label), "expected_calibration_error": errors}
    if framed is not None:
        terms = [framed.composition, framed.share * np.nan_to_num(framed.frames), framed.share]
        both, errors["frames"] = _fit(framed, knots, terms, [0, 1], composition)
        facts["sequences_with_frame_scores"] = len(framed.label)
    return Calibration(composition, both, knots, about={**facts, **(about or {})})


def _nearest(scored: Scored, knot: int) -> NDArray[np.bool_]:
    """Which sequences (n,) are nearer, by ratio, to this length than to any other of `KNOTS`."""
    distance = np.abs(np.log(scored.length)[:, None] - np.log(KNOTS))
    return np.asarray(distance.argmin(axis=1) == KNOTS.index(knot))


def _enough(scored: Scored, knot: int) -> bool:
    near = scored.kind[_nearest(scored, knot)]
    return min(int((near == kind).sum()) for kind in np.unique(scored.kind)) >= MIN_OF_A_CLASS


def _fit(
    scored: Scored,
    knots: Sequence[int],
    terms: Sequence[Floats],
    not_negative: Sequence[int],
    simpler: Fit | None = None,
) -> tuple[Fit, dict[str, float]]:
    """The fit on these terms (n,), and its expected calibration error by length.

    With `simpler`, a fit to fewer of them on more sequences, coefficients are taken half way from there and
    cut-offs as they are: few groups of genomes say more of themselves than of others.
    """
    design = np.column_stack([np.ones(len(scored.label)), *terms])
    coefficients = _at_knots(scored, knots, design, [1 + number for number in not_negative])
    if simpler is not None:
        known = simpler.coefficients.shape[1]
        coefficients[:, :known] += simpler.coefficients
        coefficients /= 2
    x = np.log(scored.length)
    here = np.column_stack([np.interp(x, np.log(knots), column) for column in coefficients.T])
    score = sigmoid((design * here).sum(axis=1))
    rates, error = [], {}
    for knot in knots:
        near = _nearest(scored, knot)
        own, part = score[near], scored.of(near)
        rates.append(Rates.of(own, part))
        error[str(knot)] = round(expected_calibration_error(own, part.label, even(part)), 4)
    presets = choose_presets(rates) if simpler is None else simpler.presets
    curve = [found.curve([cuts[k] for cuts in presets.values()]) for k, found in enumerate(rates)]
    return Fit(coefficients, presets, curve), error


def expected_calibration_error(score: Floats, label: Ints, weight: Floats) -> float:
    """Of scores (n,) at these weights."""
    return calibration_error(reliability(score, label, weight))


def even(scored: Scored) -> Floats:
    """Weights (n,) that sum to n: both labels alike, and within each label all classes alike."""
    return np.asarray(weighing.even(scored.label == 1, scored.kind, np.ones((1, len(scored.label))))[0])


def _at_knots(scored: Scored, knots: Sequence[int], design: Floats, not_negative: Sequence[int]) -> Floats:
    """Coefficients (knots, m) for the columns of `design` (n, m). A sequence between two knots counts for
    both, for the nearer more."""
    x, fitted = np.log(scored.length), []
    for k in range(len(knots)):
        hat = np.interp(x, np.log(knots), np.eye(len(knots))[k])
        own = hat > 0
        part = scored.of(own)
        fitted.append(logistic(design[own], part.label, even(part) * hat[own], not_negative))
    return np.array(fitted)


def logistic(x: Floats, y: Ints, weight: Floats, not_negative: Sequence[int]) -> Floats:
    """Coefficients (m,) of a weighted logistic regression on `x` (n, m), by Newton's method; those of the
    columns `not_negative` are 0 where they would fall below."""
    kept = list(range(x.shape[1]))
    while True:
        found = np.zeros(x.shape[1])
        found[kept] = _newton(x[:, kept], y, weight)
        below = [column for column in kept if column in not_negative and found[column] < 0]
        if not below:
            return found
        kept.remove(min(below, key=lambda column: found[column]))


def _newton(x: Floats, y: Ints, weight: Floats) -> Floats:
    def loss(beta: Floats) -> float:
        z = x @ beta
        return float((weight * (np.logaddexp(0, z) - y * z)).sum() + 0.5 * _RIDGE * beta @ beta)

    beta = np.zeros(x.shape[1])
    for _ in range(100):
        p = sigmoid(x @ beta)
        gradient = x.T @ (weight * (p - y)) + _RIDGE * beta
        curvature = (x * (weight * p * (1 - p))[:, None]).T @ x + _RIDGE * np.eye(x.shape[1])
        step = np.linalg.solve(curvature, gradient)
        while loss(beta - step) > loss(beta) and np.abs(step).max() > 1e-10:
            step = step / 2
        beta = beta - step
        if np.abs(step).max() < 1e-8:
            break
    return np.asarray(beta)


@dataclass(frozen=True)
class Rates:
    """What each cut-off of `_CUTS` (m) does at one length: `recall` (m,), the mean over the viral classes,
    and `wrong`, (m,) for each other class, its false positive rate."""

    recall: Floats
    wrong: Mapping[str, Floats]

    @classmethod
    def of(cls, score: Floats, scored: Scored, cuts: Floats = _CUTS) -> "Rates":
        """From scores (n,) and what they are scores of."""

        def reached(kind: str, label: int) -> Floats:
            own = np.sort(score[(scored.kind == kind) & (scored.label == label)])
            return np.asarray(1.0 - np.searchsorted(own, cuts, side="left") / len(own))

        viral, others = (np.unique(scored.kind[scored.label == label]) for label in (1, 0))
        found = [reached(str(kind), 1) for kind in viral]
        recall = np.mean(found, axis=0) if found else np.zeros(len(cuts))
        return cls(recall, {str(kind): reached(str(kind), 0) for kind in others})

    @property
    def mean_wrong(self) -> Floats:
        return np.mean(list(self.wrong.values()), axis=0) if self.wrong else np.zeros(len(self.recall))

    @property
    def precision(self) -> Floats:
        """At even odds; 1 where nothing is called."""
        called = self.recall + self.mean_wrong
        return np.divide(self.recall, called, out=np.ones(len(called)), where=called > 0)

    @property
    def f1(self) -> Floats:
        return np.asarray(2 * self.recall / (1.0 + self.recall + self.mean_wrong))

    def excess(self, limits: Mapping[str, float], mean: float) -> Floats:
        """By how much the false positive rates are over the limits of their classes, and their mean over its
        own, summed; infinite for a useless cut."""
        over = np.maximum(0.0, self.mean_wrong - mean)
        for kind in limits.keys() & self.wrong.keys():
            over = over + np.maximum(0.0, self.wrong[kind] - limits[kind])
        return np.where((self.recall < _LEAST_RECALL) & (self.recall < self.recall.max()), np.inf, over)

    def curve(self, cuts: Sequence[float]) -> list[dict[str, Any]]:
        """The points that the model set keeps, these cut-offs among them."""
        points = []
        for at in np.searchsorted(_CUTS, np.unique([*_SHOWN, *cuts]) - 1e-9):
            points.append(
                {
                    "score": float(_CUTS[at]),
                    "precision": round(float(self.precision[at]), 4),
                    "recall": round(float(self.recall[at]), 4),
                    "false_positive_rate": {k: round(float(r[at]), 4) for k, r in self.wrong.items()},
                }
            )
        return points


def choose_presets(rates: Sequence[Rates]) -> dict[str, Floats]:
    """A cut-off for each preset and knot, from what every cut-off does at every knot.

    strict: the best recall with at most 1 % of each class called; balanced: the best F1 among the cut-offs
    that keep to `BALANCED_RATES` and on average to `BALANCED_RATE`; sensitive: the best recall with a mean
    false positive rate of 25 % at most. Where no cut-off keeps to the limits, the one that is over them by
    the least. One number serves all lengths where that costs nearly nothing.
    """
    recall = [rate.recall for rate in rates]
    strict = _choose([rate.excess(dict.fromkeys(rate.wrong, STRICT_RATE), 1.0) for rate in rates], recall)
    balanced = _choose(
        [rate.excess(BALANCED_RATES, BALANCED_RATE) for rate in rates], [rate.f1 for rate in rates]
    )
    sensitive = _choose([np.maximum(0.0, rate.mean_wrong - SENSITIVE_RATE) for rate in rates], recall)
    return {
        "strict": np.maximum(strict, balanced),
        "balanced": balanced,
        "sensitive": np.minimum(sensitive, balanced),
    }


def _choose(over: Sequence[Floats], good: Sequence[Floats]) -> Floats:
    """For each knot the cut-off that is least `over` its limits and, among these, as `good` as can be; or one
    for all knots that keeps as near to the limits and is not worse, on average, by more than `_COST`."""

    def best(over: Floats, good: Floats) -> int:
        return int(np.where(over <= over.min() + 1e-9, good, -np.inf).argmax())

    own = [best(*pair) for pair in zip(over, good, strict=True)]
    all_over, all_good = np.sum(over, axis=0), np.mean(good, axis=0)
    one = best(all_over, all_good)
    reached = np.mean([values[at] for values, at in zip(good, own, strict=True)])
    if all_over[one] <= sum(values.min() for values in over) + 1e-9 and all_good[one] >= reached - _COST:
        own = [one] * len(own)
    return np.asarray(_CUTS[own])
