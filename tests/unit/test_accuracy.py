"""Measures of accuracy: values by hand, scikit-learn's, intervals over groups, records without a score."""

import numpy as np
import pytest

from virnucpro.training.accuracy import (
    MEASURES,
    Answers,
    Mix,
    by_class,
    expected_calibration_error,
    length_bins,
    measures,
    mixed,
    overall,
    reliability_of,
    replicates,
    weighted_measures,
)

EDGES = (300, 500, 1000)


def answers(
    viral: list[int],
    score: list[float],
    called: list[int],
    kind: list[str] | None = None,
    group: list[str] | None = None,
    length: int = 500,
) -> Answers:
    """One record an entry; by default each is a group of its own and classes are the labels."""
    names = kind or ["phage" if one else "bacteria" for one in viral]
    return Answers(
        np.array(viral, dtype=bool),
        np.array(names),
        np.array(group or [str(number) for number in range(len(viral))]),
        np.full(len(viral), length),
        np.array(score, dtype=float),
        np.array(called, dtype=bool),
    )


def random_answers(records: int, groups: int, seed: int = 3) -> Answers:
    """Scores that depend on the group as much as on the label, ties included."""
    random = np.random.default_rng(seed)
    group = random.integers(0, groups, records)
    viral = group % 2 == 0
    score = np.round(viral * 0.3 + random.normal(0, 0.3, groups)[group] + random.normal(0, 0.1, records), 1)
    return answers(
        viral.astype(int).tolist(), score.tolist(), (score > 0.2).tolist(), group=group.astype(str).tolist()
    )


def test_measures_by_hand() -> None:
    #  TP TP FN | FP TN TN TN, the order of scores: + + - + - - -
    of = answers([1, 1, 1, 0, 0, 0, 0], [0.9, 0.8, 0.4, 0.6, 0.3, 0.2, 0.1], [1, 1, 0, 1, 0, 0, 0])
    found = measures(of.viral, of.called, of.score, np.ones(7))
    assert found["precision"] == pytest.approx(2 / 3)
    assert found["recall"] == pytest.approx(2 / 3)
    assert found["f1"] == pytest.approx(2 / 3)
    assert found["mcc"] == pytest.approx((2 * 3 - 1 * 1) / (3 * 3 * 4 * 4) ** 0.5)
    assert found["auroc"] == pytest.approx(11 / 12)
    assert found["auprc"] == pytest.approx((1 + 1 + 3 / 4) / 3)


@pytest.mark.parametrize("mix", ["given", "even"])
def test_many_weightings_at_once_are_those_of_scikit_learn(mix: Mix) -> None:
    of = random_answers(400, 12)
    weights = mixed(of, next(replicates(of, 5, 1)), mix)
    together = weighted_measures(of.viral, of.called, of.score, weights)
    for row, weight in enumerate(weights):
        alone = measures(of.viral, of.called, of.score, weight)
        assert {name: together[name][row] for name in MEASURES} == pytest.approx(alone)


def test_records_without_a_score_rank_lowest_and_are_not_called() -> None:
    nan = float("nan")
    of = answers([1, 1, 0, 0], [-5.0, nan, -7.0, nan], [1, 0, 0, 0])
    rows = {(row.length, row.counted): row for row in overall(of, 20, 1, "given", EDGES)}
    everything, scored = rows["500 to 999", "all"], rows["500 to 999", "scored"]
    assert (everything.records, scored.records) == (4, 2)
    assert everything.estimates["recall"].value == 0.5
    assert everything.estimates["auroc"].value == pytest.approx((1 + 1 + 0 + 0.5) / 4)
    assert scored.estimates["recall"].value == scored.estimates["auroc"].value == 1
    phage = next(row for row in by_class(of, 20, 1, EDGES) if row.kind == "phage")
    assert (phage.records, phage.scored, phage.called.value, phage.called_of_scored.value) == (2, 1, 0.5, 1)


def test_a_class_that_no_one_scored_has_no_measures_among_the_scored() -> None:
    of = answers([1, 0, 0], [0.9, float("nan"), float("nan")], [1, 0, 0])
    bacteria = next(row for row in by_class(of, 20, 1, EDGES) if row.kind == "bacteria")
    assert bacteria.called.value == 0 and np.isnan(bacteria.called_of_scored.value)
    assert np.isnan(bacteria.auroc_scored.value) and bacteria.auroc.value == 1
    nothing = overall(of[np.zeros(3, dtype=bool)], 20, 1, "given", EDGES)
    assert all(np.isnan(row.estimates["f1"].value) for row in nothing)


def test_intervals_over_groups_are_wider_than_over_fragments() -> None:
    of = random_answers(600, 12)
    alone = Answers(of.viral, of.kind, np.arange(600).astype(str), of.length, of.score, of.called)
    wide, narrow = (overall(one, 400, 1, "given", EDGES)[-2].estimates for one in (of, alone))
    for name in ("auroc", "recall", "f1"):
        assert wide[name].value == narrow[name].value
        assert wide[name].high - wide[name].low > 1.5 * (narrow[name].high - narrow[name].low)
        assert wide[name].low <= wide[name].value <= wide[name].high


def test_every_replicate_draws_as_many_groups_of_each_class_as_there_are() -> None:
    of = answers([1] * 4 + [0] * 4, [0.5] * 8, [0] * 8, group=["a", "a", "b", "c", "a", "d", "d", "d"])
    drawn = np.concatenate(list(replicates(of, 50, 1)))
    assert (drawn[:, 0] == drawn[:, 1]).all() and (drawn[:, 5] == drawn[:, 7]).all()
    assert (drawn[:, [0, 2, 3]].sum(axis=1) == 3).all() and (drawn[:, [4, 5]].sum(axis=1) == 2).all()
    assert (drawn[:, 0] != drawn[:, 4]).any()  # a group's name counts within its class only


def test_one_group_alone_has_no_interval() -> None:
    of = answers([1, 1, 0, 0], [0.9, 0.1, 0.2, 0.3], [1, 0, 0, 0], group=["one", "one", "x", "y"])
    rows = {row.kind: row for row in by_class(of, 20, 1, EDGES)}
    assert rows["phage"].called.value == 0.5 and np.isnan(rows["phage"].called.low)
    assert rows["bacteria"].called.low == 0


def test_an_even_mix_does_not_change_with_the_number_of_records() -> None:
    few = answers([1, 1, 0, 0], [0.9, 0.1, 0.8, 0.1], [1, 0, 1, 0])
    many = answers(
        [1, 1, 0, 0] + [0, 0] * 20, [0.9, 0.1, 0.8, 0.1] + [0.8, 0.1] * 20, [1, 0, 1, 0] + [1, 0] * 20
    )
    even = [overall(of, 10, 1, "even", EDGES)[-2].estimates for of in (few, many)]
    for name in MEASURES:
        assert even[0][name].value == pytest.approx(even[1][name].value)
    assert even[0]["precision"].value == pytest.approx(0.5)


def test_shuffled_labels_are_a_coin() -> None:
    random = np.random.default_rng(5)
    viral = random.permutation(np.arange(4000) % 2)
    score = random.random(4000)
    found = overall(answers(viral.tolist(), score.tolist(), (score > 0.5).tolist()), 50, 1, "given", EDGES)
    assert found[-2].estimates["auroc"].value == pytest.approx(0.5, abs=0.03)
    assert found[-2].estimates["mcc"].value == pytest.approx(0, abs=0.05)


def test_calibration_error_by_hand() -> None:
    #  0.1: of 4 records 1 is viral; 0.7: of 4 records 3 are.
    of = answers([1, 0, 0, 0, 1, 1, 1, 0], [0.1] * 4 + [0.7] * 4, [0] * 8)
    assert expected_calibration_error(of) == pytest.approx((0.15 + 0.05) / 2)
    curve = reliability_of(of)
    assert curve is not None and curve[1].tolist() == pytest.approx([0.5, 0.1, 0.25])
    assert np.isnan(expected_calibration_error(answers([1, 0], [3.0, -2.0], [1, 0])))


def test_bins_of_length() -> None:
    length = np.array([299, 300, 499, 500, 1000, 9000])
    assert {name: int(which.sum()) for name, which in length_bins(length, EDGES).items()} == {
        "below 300": 1,
        "300 to 499": 2,
        "500 to 999": 1,
        "1000 or more": 2,
        "all": 6,
    }
