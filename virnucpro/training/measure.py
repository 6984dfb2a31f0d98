"""What a set that was just trained says of fragments it was not trained on, and how true that is."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from virnucpro.calling.calibration import Calibration
from virnucpro.calling.verdict import Evidence, Judge
from virnucpro.training.accuracy import Answers, Evaluation, evaluate
from virnucpro.training.calibrate import Scored
from virnucpro.training.dataset import Windows
from virnucpro.training.epochs import Log
from virnucpro.training.frames import Cut

SET, BY_COMPOSITION, BASELINE = "this set", "composition alone", "some frame is open"
RESAMPLES = 200  # of the bootstrap


def evidence(
    fragments: Windows, cut: Cut, log_odds: NDArray[np.float32], scores: NDArray[np.float32]
) -> Evidence:
    """Of n fragments, from all their windows: their composition's `log_odds` (m,), and `scores` (frames, 2),
    P(others) and P(virus)."""
    length = np.array([len(bases) for bases in cut.bases], dtype=np.float64)
    others, virus = cut.best(scores).T
    of_windows = Evidence.of_windows(length, log_odds.astype(np.float64), virus, others)
    whole = np.array([len(sequence) for sequence in fragments.sequences], dtype=np.float64)
    return of_windows.pooled(cut.fragment, whole)


def scored(fragments: Windows, found: Evidence) -> Scored:
    """The same with what the fragments are, to calibrate on."""
    return Scored(
        composition=found.composition,
        frames=found.frames,
        share=found.share,
        length=found.length,
        label=fragments.labels.astype(np.int64),
        kind=np.array(fragments.kinds),
    )


def measure(
    fragments: Windows, found: Evidence, both: Calibration, composition: Calibration, seed: int
) -> list[Evaluation]:
    """By the set's own verdict, by its composition model alone with a calibration and cut-offs of its own,
    and by the rule that has no model: some frame is open."""
    verdicts = Judge(both, score_all=True)(found)
    alone = Judge(composition, score_all=True)(found)
    answers = {
        SET: (verdicts.score, verdicts.call == "virus"),
        BY_COMPOSITION: (alone.score, alone.call == "virus"),
        BASELINE: (found.share, found.share > 0),
    }
    truth = (fragments.labels == 1, np.array(fragments.kinds), np.array(fragments.groups))
    length = found.length.astype(np.int64)
    nobody = np.zeros(len(length), dtype=bool)
    return [
        evaluate(tool, given, given[nobody], RESAMPLES, seed, "even")
        for tool, (score, called) in answers.items()
        for given in (Answers(*truth, length, score, called),)
    ]


def log_gain(measured: Sequence[Evaluation], log: Log) -> None:
    """What frame scores add to composition alone on these fragments, one line a length."""
    for both, alone in zip(measured[0].overall, measured[1].overall, strict=True):
        if both.counted == "all":
            gain = ", ".join(
                f"{name} {both.estimates[name].value:.3f} (without frames {alone.estimates[name].value:.3f})"
                for name in ("auroc", "f1")
            )
            log(f"validation, {both.length} bases: {gain}")


def facts(measured: list[Evaluation]) -> list[dict[str, Any]]:
    """For a manifest: the rows of every tool, without the answers."""
    return [
        {
            "tool": each.tool,
            "overall": [_plain(asdict(row)) for row in each.overall],
            "classes": [_plain(asdict(row)) for row in each.classes],
        }
        for each in measured
    ]


def _plain(value: Any) -> Any:
    """Numbers to four digits, null for NaN."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, float):
        return None if np.isnan(value) else round(value, 4)
    return value
