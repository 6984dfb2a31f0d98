"""Evaluation: counts of scored and unscored fragments, calls, AUROC."""

from collections.abc import Sequence

import numpy as np
import pytest

from virnucpro.calling.verdict import TIE
from virnucpro.training.card import results_table
from virnucpro.training.data import Genome
from virnucpro.training.evaluation import FRAGMENTS, LENGTHS, Row, auroc, evaluate, roll_up
from virnucpro.training.fragments import Fragment


def test_auroc_against_pairs() -> None:
    random = np.random.default_rng(1)
    label = random.integers(0, 2, 60)
    score = random.integers(0, 8, 60) / 8
    pairs = [(v > o) + (v == o) / 2 for v in score[label == 1] for o in score[label == 0]]
    assert auroc(label, score) == pytest.approx(np.mean(pairs))
    assert auroc(np.array([1, 1]), np.array([0.1, 0.2])) is None


def test_roll_up_follows_the_consensus_rule() -> None:
    tie = np.array([[0.5, 0.5]], dtype=np.float32)
    viral = np.array([[0.9, 0.1], [0.05, 0.95]], dtype=np.float32)
    none = np.zeros((0, 2), dtype=np.float32)
    assert roll_up([tie]) == TIE
    assert roll_up([viral, none]) == pytest.approx(0.95 / (0.95 + 0.9))
    assert np.isnan(roll_up([none]))


def test_counts_unscored_fragments_both_ways() -> None:
    open_everywhere = Genome(1, "phage", "P", None, "P", "GCC" * 2000)
    closed = Genome(0, "human", "H", None, "H", "TAATTAATTAATTTATTAATTAA" * 300)
    bacterium = Genome(0, "bacteria", "B", None, "B", "GCA" * 2000)

    def scores(fragments: Sequence[Fragment]) -> list[list[np.ndarray]]:
        p = {"phage": 0.75, "bacteria": 0.25, "human": 0.25}
        return [
            [
                np.array([[1 - p[f.kind], p[f.kind]]] * len(window), dtype=np.float32).reshape(-1, 2)
                for window in f.windows
            ]
            for f in fragments
        ]

    rows = {
        (row.kind, row.length): row for row in evaluate([open_everywhere, closed, bacterium], scores, 500, 1)
    }
    assert set(rows) == {(kind, length) for kind in ("phage", "human", "bacteria") for length in LENGTHS}
    phage, human, bacteria = (rows[kind, 500] for kind in ("phage", "human", "bacteria"))
    assert (phage.share_scored, phage.called_of_scored, phage.called_of_all) == (1, 1, 1)
    assert phage.auroc_scored == phage.auroc_all == 1
    assert (human.share_scored, human.called_of_scored, human.called_of_all) == (0, None, 0)
    assert human.auroc_scored is None and human.auroc_all == 1
    assert (bacteria.called_of_scored, bacteria.fragments) == (0, 96) or bacteria.fragments == FRAGMENTS


def test_table_shows_a_dash_where_nothing_was_scored() -> None:
    row = Row("human", 0, 300, fragments=50, scored=0, called_viral=0, auroc_scored=None, auroc_all=0.9)
    assert results_table([row]).endswith("| human | 300 | 50 | 0% | – | 0% | – | 0.900 |\n")
