"""How true calls are: measures with intervals over genomes, by length and class; pure functions on arrays.

Points come from scikit-learn (extra `train`), intervals from a bootstrap that draws whole groups (genomes,
families) within their class: fragments of one genome are alike, so drawing fragments gives intervals that
are too narrow. The replicates are computed together, since scikit-learn takes milliseconds for each.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from virnucpro.errors import InputError
from virnucpro.training.weighing import calibration_error, even, reliability

# Every record counts the same; or both labels do, and each class within its label.
Mix = Literal["given", "even"]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MEASURES = ("precision", "recall", "f1", "mcc", "auroc", "auprc")
EDGES = (300, 500, 1000, 3000)  # lengths at which a bin begins
_CELLS = 4_000_000  # weights held at a time


@dataclass(frozen=True)
class Answers:
    """What one tool says of labelled sequences, record by record: arrays of (n,)."""

    viral: Bools  # the truth
    kind: NDArray[np.str_]  # class
    group: NDArray[np.str_]  # genome or family
    length: Ints  # bases
    score: Floats  # the higher the more viral; NaN: the tool gives none
    called: Bools  # called virus

    def __getitem__(self, which: Bools) -> Self:
        return type(self)(*(getattr(self, field.name)[which] for field in fields(self)))

    def __len__(self) -> int:
        return len(self.viral)

    @property
    def scored(self) -> Bools:
        """Which records have a score."""
        return ~np.isnan(self.score)

    @property
    def ranked(self) -> Floats:
        """Scores, with one below all others for records that have none."""
        lowest = np.nanmin(self.score, initial=0.0) - 1
        return np.where(self.scored, self.score, lowest)


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; NaN where it is not defined, or one group alone gives no interval."""

    value: float
    low: float = float("nan")
    high: float = float("nan")


@dataclass(frozen=True)
class Overall:
    """Both labels together at one length."""

    length: str
    counted: Literal["all", "scored"]
    records: int
    viral: int
    groups: int
    estimates: dict[str, Estimate]  # by MEASURES


@dataclass(frozen=True)
class OfClass:
    """One class at one length: called viral is the recall of a viral class, else a false-positive rate."""

    kind: str
    viral: bool
    length: str
    records: int
    groups: int
    scored: int
    called: Estimate  # of all
    called_of_scored: Estimate
    auroc: Estimate  # against all records of the other label, those without a score ranked lowest
    auroc_scored: Estimate


@dataclass(frozen=True)
class Evaluation:
    """One tool on one set of labelled records; the answers themselves are kept for curves."""

    tool: str
    answers: Answers
    overall: list[Overall]
    classes: list[OfClass]
    controls: list[OfClass]  # shuffled sequences: neither virus nor anything else
    calibration_error: dict[str, float]  # by length


def evaluate(
    tool: str,
    answers: Answers,
    controls: Answers,
    resamples: int = 500,
    seed: int = 1,
    mix: Mix = "given",
    edges: Sequence[int] = EDGES,
) -> Evaluation:
    """All that is said of one tool. Raises `InputError` where a label or scikit-learn is missing."""
    if answers.viral.all() or not answers.viral.any():
        raise InputError("records of both labels are needed, at least one 'virus' and one 'others'")
    bins = length_bins(answers.length, edges)
    return Evaluation(
        tool,
        answers,
        overall(answers, resamples, seed, mix, edges),
        by_class(answers, resamples, seed, edges),
        by_class(controls, resamples, seed, edges) if len(controls) else [],
        {length: expected_calibration_error(answers[which]) for length, which in bins.items()},
    )


def length_bins(length: Ints, edges: Sequence[int] = EDGES) -> dict[str, Bools]:
    """Which records are in which bin, by the bin's name, empty ones left out; `all` comes last.

    >>> list(length_bins(np.array([250, 500, 999, 5000]), [300, 500, 1000]))
    ['below 300', '500 to 999', '1000 or more', 'all']
    """
    names = [f"{start} to {end - 1}" for start, end in pairwise(edges)]
    names = [f"below {edges[0]}", *names, f"{edges[-1]} or more"]
    bin_of = np.searchsorted(edges, length, side="right")
    found = {name: bin_of == number for number, name in enumerate(names)}
    return {name: which for name, which in found.items() if which.any()} | {
        "all": np.ones(len(length), dtype=bool)
    }


def overall(answers: Answers, resamples: int, seed: int, mix: Mix, edges: Sequence[int]) -> list[Overall]:
    """The measures of each length bin, all records counted and those with a score only."""
    rows = []
    for length, which in length_bins(answers.length, edges).items():
        part = answers[which]
        for counted in ("all", "scored"):
            of = part if counted == "all" else part[part.scored]
            groups = len(_groups(of)[0])
            estimates = _estimates(of, resamples, seed, mix)
            rows.append(Overall(length, counted, len(of), int(of.viral.sum()), groups, estimates))
    return rows


def by_class(answers: Answers, resamples: int, seed: int, edges: Sequence[int]) -> list[OfClass]:
    """Every class at every length, viral classes first."""
    rows = []
    for length, which in length_bins(answers.length, edges).items():
        part = answers[which]
        for kind in np.unique(part.kind).tolist():
            own = part.kind == kind
            viral = bool(part.viral[own][0])
            against = part[own | (part.viral != viral)]
            known, told = part[own], part[own & part.scored]
            whole = _auroc(against, resamples, seed)
            rows.append(
                OfClass(
                    kind,
                    viral,
                    length,
                    len(known),
                    len(_groups(known)[0]),
                    len(told),
                    _share(known.called, known, resamples, seed),
                    _share(told.called, told, resamples, seed),
                    whole,
                    whole if against.scored.all() else _auroc(against[against.scored], resamples, seed),
                )
            )
    return sorted(rows, key=lambda row: (not row.viral, row.kind))


def auroc(viral: NDArray[Any], score: NDArray[Any], weight: Floats | None = None) -> float:
    """Area under the ROC curve, by scikit-learn; NaN without both labels.

    >>> auroc(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.4, 0.8]))
    0.875
    """
    if viral.all() or not viral.any():
        return float("nan")
    return float(metrics().roc_auc_score(viral, score, sample_weight=weight))


def measures(viral: Bools, called: Bools, score: Floats, weight: Floats) -> dict[str, float]:
    """The six measures by scikit-learn; NaN where one is not defined."""
    sk, nan = metrics(), float("nan")
    if not len(viral):
        return dict.fromkeys(MEASURES, nan)
    precision, recall, f1, _ = sk.precision_recall_fscore_support(
        viral, called, average="binary", sample_weight=weight, zero_division=np.nan
    )
    both = bool(viral.any()) and not viral.all()
    return {
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "mcc": float(sk.matthews_corrcoef(viral, called, sample_weight=weight)) if both else nan,
        "auroc": auroc(viral, score, weight),
        "auprc": float(sk.average_precision_score(viral, score, sample_weight=weight)) if both else nan,
    }


def weighted_measures(viral: Bools, called: Bools, score: Floats, weights: Floats) -> dict[str, Floats]:
    """The same for many weightings at once: `weights` (replicates, n); each value (replicates,)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        tp, fp = weights @ (viral & called), weights @ (~viral & called)
        fn, tn = weights @ (viral & ~called), weights @ (~viral & ~called)
        root = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
        above, false = _above(viral, score, weights)
        precision = np.where(above + false > 0, above / (above + false), 0)
        return {
            "precision": tp / (tp + fp),
            "recall": tp / (tp + fn),
            "f1": 2 * tp / (2 * tp + fp + fn),
            "mcc": np.where(root > 0, (tp * tn - fp * fn) / root, 0),
            "auroc": _area(above, false),
            "auprc": (np.diff(above, axis=1, prepend=0) * precision).sum(axis=1) / above[:, -1],
        }


def _above(viral: Bools, score: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """(replicates, different scores): the weight of viral records at or above each, and that of others."""
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)  # last of each run of ties
    ordered, is_viral = weights[:, order], viral[order]
    whole = np.cumsum(ordered, axis=1)[:, ends]
    above = np.cumsum(ordered * is_viral, axis=1)[:, ends]
    return above, whole - above


def _area(above: Floats, false: Floats) -> Floats:
    """Under the ROC curve, by trapezoids."""
    steps = np.diff(false, axis=1, prepend=0)
    halves = above - np.diff(above, axis=1, prepend=0) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.einsum("ij,ij->i", steps, halves) / (above[:, -1] * false[:, -1]))


def mixed(answers: Answers, weights: Floats, mix: Mix) -> Floats:
    """Weights (replicates, n) made those of the mix."""
    return weights if mix == "given" else even(answers.viral, answers.kind, weights)


def replicates(answers: Answers, resamples: int, seed: int) -> Iterator[Floats]:
    """Blocks of bootstrap weights (b, n): how often each record's group was drawn, as many groups of each
    class as it has."""
    random = np.random.default_rng(seed)
    groups, of_record = _groups(answers)
    kinds = np.array([kind for kind, _ in groups])
    times = np.empty((resamples, len(groups)))
    for kind in np.unique(kinds):
        own = kinds == kind
        count = int(own.sum())
        times[:, own] = random.multinomial(count, np.full(count, 1 / count), size=resamples)
    step = max(1, _CELLS // max(1, len(answers)))
    for start in range(0, resamples, step):
        yield times[start : start + step][:, of_record]


def expected_calibration_error(answers: Answers) -> float:
    """Labels and classes weighing evenly. Records without a score are left out; NaN where a label is missing,
    or a score is no probability."""
    curve = reliability_of(answers)
    return float("nan") if curve is None else calibration_error(curve)


def reliability_of(answers: Answers) -> Floats | None:
    """The `reliability` (bins, 3). None where `expected_calibration_error` is not defined."""
    told = answers[answers.scored]
    if (
        not len(told)
        or told.viral.all()
        or not told.viral.any()
        or told.score.min() < 0
        or told.score.max() > 1
    ):
        return None
    return reliability(told.score, told.viral, mixed(told, np.ones((1, len(told))), "even")[0])


def _estimates(answers: Answers, resamples: int, seed: int, mix: Mix) -> dict[str, Estimate]:
    if not len(answers):
        return dict.fromkeys(MEASURES, Estimate(float("nan")))
    given = answers.viral, answers.called, answers.ranked
    points = measures(*given, mixed(answers, np.ones((1, len(answers))), mix)[0])
    drawn: dict[str, list[Floats]] = {name: [] for name in MEASURES}
    for weights in replicates(answers, resamples, seed):
        for name, values in weighted_measures(*given, mixed(answers, weights, mix)).items():
            drawn[name].append(values)
    return {name: _interval(points[name], np.concatenate(drawn[name])) for name in MEASURES}


def _auroc(answers: Answers, resamples: int, seed: int) -> Estimate:
    value = auroc(answers.viral, answers.ranked)
    if np.isnan(value):
        return Estimate(value)
    drawn = [
        _area(*_above(answers.viral, answers.ranked, weights))
        for weights in replicates(answers, resamples, seed)
    ]
    return _interval(value, np.concatenate(drawn))


def _share(of: Bools, answers: Answers, resamples: int, seed: int) -> Estimate:
    if not len(of):
        return Estimate(float("nan"))
    if len(_groups(answers)[0]) < 2:
        return Estimate(float(of.mean()))
    drawn = [weights @ of / weights.sum(axis=1) for weights in replicates(answers, resamples, seed)]
    return _interval(float(of.mean()), np.concatenate(drawn))


def _interval(value: float, drawn: Floats) -> Estimate:
    known = drawn[~np.isnan(drawn)]
    if np.isnan(value) or not len(known):
        return Estimate(value)
    low, high = np.percentile(known, (2.5, 97.5)).tolist()
    return Estimate(value, low, high)


def _groups(answers: Answers) -> tuple[list[tuple[str, str]], Ints]:
    """The (class, group) pairs in order, and the number of each record's pair."""
    pairs = list(zip(answers.kind.tolist(), answers.group.tolist(), strict=True))
    known = sorted(set(pairs))
    number = {pair: place for place, pair in enumerate(known)}
    return known, np.array([number[pair] for pair in pairs], dtype=np.int64)


def metrics() -> Any:
    """`sklearn.metrics`; `InputError` where scikit-learn is not installed."""
    try:
        import sklearn.metrics
    except ImportError:
        raise InputError(
            "scikit-learn is not installed, and measures need it: pip install 'virnucpro[train]'"
        ) from None
    return sklearn.metrics
