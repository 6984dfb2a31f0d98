"""A dataset's composition model, kept as soon as it is there, with what calibration is fitted on."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from virnucpro.files import atomic
from virnucpro.models.composition import CompositionModel, load_composition, save_composition
from virnucpro.training.composition import Settings as Nets
from virnucpro.training.composition import out_of_fold, train_composition
from virnucpro.training.dataset import Windows
from virnucpro.training.frames import Cut
from virnucpro.training.settings import Settings


@dataclass(frozen=True)
class Composition:
    """The model; the fold (n,) of each fragment that it was trained on, of which one net has seen nothing;
    the losses of every epoch."""

    model: CompositionModel
    folds: NDArray[np.int64]
    losses: list[float]

    def held_out(self, *cuts: Cut) -> list[NDArray[np.float32]]:
        """Log-odds of the windows of what it was trained on, in that order, by the net that has not seen
        their group; (m,) for each cut."""
        found, start = [], 0
        for cut in cuts:
            found.append(out_of_fold(self.model, cut.bases, self.folds[start + cut.fragment]))
            start += cut.fragments
        return found


def make_composition(work: Path, training: Windows, settings: Settings) -> Composition:
    """Train, or read what a killed training of the same dataset has left in `work`."""
    model, rest = work / "composition.safetensors", work / "composition.json"
    if not rest.exists():
        trained = train_composition(training, settings.seed, Nets(epochs=settings.composition_epochs))
        save_composition(model, trained.model)
        with atomic(rest) as partial:
            partial.write_text(json.dumps({"folds": trained.folds.tolist(), "losses": trained.losses}))
    said = json.loads(rest.read_text())
    return Composition(load_composition(model), np.array(said["folds"], np.int64), said["losses"])
