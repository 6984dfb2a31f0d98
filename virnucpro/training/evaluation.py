"""How well a model set does on genomes it has not seen, per class and length, unscored fragments included."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from virnucpro.calling.verdict import TIE
from virnucpro.training.data import Genome
from virnucpro.training.fragments import Fragment, always, sample

LENGTHS = (300, 500, 1000, 3000)
FRAGMENTS = 200  # per class and length, fewer where a class has too few bases

FrameScores = Callable[[Sequence[Fragment]], list[list[NDArray[np.float32]]]]


@dataclass(frozen=True)
class Row:
    """One class at one length. Shares are None where they have no denominator."""

    kind: str
    label: int
    length: int  # bases
    fragments: int
    scored: int  # fragments with an open frame in any window
    called_viral: int
    auroc_scored: float | None  # against all scored fragments of the other label
    auroc_all: float | None  # the same, unscored fragments ranked below all scored ones

    @property
    def share_scored(self) -> float:
        """Fragments that get any score, of all."""
        return self.scored / self.fragments

    @property
    def called_of_scored(self) -> float | None:
        """Recall of a viral class, false positive rate of another, among scored fragments."""
        return self.called_viral / self.scored if self.scored else None

    @property
    def called_of_all(self) -> float:
        """The same with unscored fragments counted as not viral."""
        return self.called_viral / self.fragments


def evaluate(
    genomes: Sequence[Genome], frame_scores: FrameScores, window_length: int, seed: int
) -> list[Row]:
    """Draw test fragments of each of `LENGTHS` from the genomes, score them, and count.

    `frame_scores` gives for each fragment, and each of its windows, the scores of the window's frames.
    """
    rows = []
    for length in LENGTHS:
        long_enough = [genome for genome in genomes if len(genome.dna) >= length]
        drawn = sample(
            long_enough,
            FRAGMENTS,
            window_length,
            always(length),
            f"{seed}/test/{length}",
            only_with_frames=False,
        )
        rows += _rows(drawn, np.array([roll_up(windows) for windows in frame_scores(drawn)]), length)
    return sorted(rows, key=lambda row: (-row.label, row.kind, row.length))


def roll_up(windows: Iterable[NDArray[np.float32]]) -> float:
    """One fragment's score by the original's rule, viral from `TIE` on, NaN without any frame; a window is
    (frames, 2): P(others), P(virus)."""
    highest = [scores.max(axis=0).astype(float) for scores in windows if len(scores)]
    return float(np.mean([virus / (virus + others) for others, virus in highest])) if highest else np.nan


def _rows(fragments: Sequence[Fragment], score: NDArray[np.float64], length: int) -> list[Row]:
    label = np.array([fragment.label for fragment in fragments])
    kind = np.array([fragment.kind for fragment in fragments])
    scored = ~np.isnan(score)
    called = score >= TIE
    ranked = np.where(scored, score, -1.0)
    rows = []
    for name in dict.fromkeys(kind.tolist()):
        own = kind == name
        is_virus = int(label[own][0])
        compared = own | (label != is_virus)
        rows.append(
            Row(
                kind=name,
                label=is_virus,
                length=length,
                fragments=int(own.sum()),
                scored=int((own & scored).sum()),
                called_viral=int((own & called).sum()),
                auroc_scored=auroc(label[compared & scored], ranked[compared & scored]),
                auroc_all=auroc(label[compared], ranked[compared]),
            )
        )
    return rows


def auroc(label: NDArray[np.int64], score: NDArray[np.float64]) -> float | None:
    """Probability that a viral one scores above another, ties counting half; None without both labels.

    >>> auroc(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.4, 0.8]))
    0.875
    """
    viral, others = score[label == 1], np.sort(score[label == 0])
    if not len(viral) or not len(others):
        return None
    below = np.searchsorted(others, viral, side="left")
    not_above = np.searchsorted(others, viral, side="right")
    return float((below + not_above).mean() / 2 / len(others))
