"""Composition models for tests, one to compute by hand and one of the real kind; and a calibration."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from virnucpro.calling.calibration import KNOTS, Calibration, Fit
from virnucpro.models.composition import CompositionModel, save_composition, shapes

SLOPE = 20.0


class ByGC:
    """Log-odds from the share of G and C; none below `least` bases that are A, C, G or T."""

    def __init__(self, least: int = 10) -> None:
        self.least = least

    def log_odds(self, sequences: Sequence[str]) -> NDArray[np.float32]:
        found = np.full(len(sequences), np.nan, dtype=np.float32)
        for number, sequence in enumerate(sequences):
            assert sequence == sequence.upper()
            known = sum(map(sequence.count, "ACGT"))
            if known >= self.least:
                found[number] = SLOPE * ((sequence.count("G") + sequence.count("C")) / known - 0.5)
        return found


def calibration(with_frames: bool = True) -> Calibration:
    """Composition counts a little less the shorter the sequence; cut-offs fall with the length."""
    steps = np.arange(len(KNOTS)) / 10
    presets = {"strict": 0.9 - steps / 2, "balanced": 0.6 - steps / 2, "sensitive": 0.3 - steps / 2}
    ones = np.ones(len(KNOTS))
    rates = {"human": 0.1, "bacteria": 0.2}
    points = [
        {"score": s, "precision": 0.5 + s / 2, "recall": 1 - s, "false_positive_rate": rates}
        for s in (0.01, 0.5, 0.99)
    ]
    composition = Fit(np.column_stack([-0.1 * ones, 0.5 + steps]), presets, [points] * len(KNOTS))
    both = Fit(
        np.column_stack([-0.2 * ones, 0.5 + steps, 0.7 * ones, 0.3 * ones]), presets, [points] * len(KNOTS)
    )
    return Calibration(composition, both if with_frames else None)


def write_composition(path: Path) -> Path:
    """A composition model of the real class with random weights."""
    random = np.random.default_rng(14)
    classes = {"phage": 1, "bacteria": 0}
    tensors = {
        name: random.normal(0.0, 0.2, shape).astype(np.float32)
        for name, shape in shapes(1, 8, len(classes)).items()
    }
    save_composition(path, CompositionModel(classes, {**tensors, "scale": np.ones_like(tensors["scale"])}))
    return path


def write_calibration(path: Path) -> Path:
    """`calibration()` as a file."""
    calibration().write(path)
    return path
