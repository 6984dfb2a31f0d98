"""One split of a dataset as training takes it: fragments, their windows, their open frames."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from virnucpro.errors import InputError
from virnucpro.training.data import Split
from virnucpro.training.dataset import Windows, read_windows
from virnucpro.training.fit import Examples, balanced_weights
from virnucpro.training.frames import Cut
from virnucpro.training.small_encoders import LabelledFrames

MIN_FRAMES = 10  # of each label, to train on and to validate


@dataclass(frozen=True)
class Part:
    """The fragments of one split, and these cut into windows and open frames."""

    fragments: Windows
    cut: Cut

    @classmethod
    def read(cls, dataset: Path, split: Split, window_length: int) -> Self:
        """All of a split. Raises `InputError` for a folder that is no dataset."""
        fragments = read_windows(dataset, split)
        return cls(fragments, Cut.of(fragments, window_length))

    def at_most(self, frames: int, seed: int) -> "Part":
        """The same windows with so many frames, all classes alike as far as they have any."""
        return Part(self.fragments, self.cut.only(choose_frames(self.kinds, frames, seed)))

    @property
    def kinds(self) -> NDArray[np.str_]:
        """The class of each frame, (n,)."""
        return np.array(self.fragments.kinds)[self.cut.owner]

    def labelled(self) -> LabelledFrames:
        """The open frames, each with its fragment's label, weighted by `balanced_weights`.

        Raises `InputError` where a label has next to none.
        """
        y = self.fragments.labels[self.cut.owner].astype(np.int64)
        for label, name in enumerate(("other", "viral")):
            if (found := int((y == label).sum())) < MIN_FRAMES:
                raise InputError(
                    f"only {found} open frame(s) of {name} sequences, at least {MIN_FRAMES} are needed; "
                    "add sequences to the dataset"
                )
        return LabelledFrames(self.cut.frames, y, balanced_weights(y, self.kinds.tolist()))

    def examples(self, features: NDArray[np.float32]) -> Examples:
        """The same with `features` (n, dim) in place of the frames."""
        frames = self.labelled()
        return Examples(features, frames.y, frames.weight)


def choose_frames(kinds: NDArray[np.str_], most: int, seed: int) -> NDArray[np.int64]:
    """Which frames, at most `most`, in order; small classes first, what they leave goes to the others.

    >>> choose_frames(np.array(["phage", "human", "phage", "phage"]), 2, seed=1).tolist()[0] < 4
    True
    """
    order = np.random.default_rng(seed).permutation(len(kinds))
    names = np.unique(kinds)
    taken, left = [], most
    for number, kind in enumerate(sorted(names, key=lambda name: int((kinds == name).sum()))):
        own = order[kinds[order] == kind][: left // (len(names) - number)]
        left -= len(own)
        taken.append(own)
    return np.sort(np.concatenate(taken)) if taken else np.zeros(0, np.int64)
