"""From the fragments of a dataset to their windows, open frames and evidence, as a run has them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from virnucpro.calling.predict import read_merged
from virnucpro.errors import InputError
from virnucpro.sequences.frames import Frame, open_frames
from virnucpro.sequences.windows import windows
from virnucpro.training.dataset import Windows

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Cut:
    """Fragments cut by a run's rule: m windows in order, n open frames in order.

    `bases`: the windows' letters; `fragment` (m,): which fragment each is of; `frames`: the open frames, with
    their `ids`, as the files of a run name them; `window` (n,): which window each is of.
    """

    bases: list[str]
    fragment: Ints
    frames: list[Frame]
    ids: list[str]
    window: Ints

    @classmethod
    def of(cls, fragments: Windows, window_length: int) -> "Cut":
        """Cut each fragment into windows of at most `window_length` bases."""
        bases: list[str] = []
        fragment, frames, ids, window = [], [], [], []
        for number, (name, sequence) in enumerate(zip(fragments.ids, fragments.sequences, strict=True)):
            for k, (start, end) in enumerate(windows(len(sequence), window_length), 1):
                for frame in open_frames(sequence[start:end]):
                    frames.append(frame)
                    ids.append(f"{name}_chunk_{k}{frame.name}")
                    window.append(len(bases))
                bases.append(sequence[start:end])
                fragment.append(number)
        return cls(bases, np.array(fragment, np.int64), frames, ids, np.array(window, np.int64))

    @property
    def fragments(self) -> int:
        """How many there are; each has a window."""
        return int(self.fragment[-1]) + 1 if len(self.fragment) else 0

    @property
    def owner(self) -> Ints:
        """(n,) which fragment each frame is of."""
        return self.fragment[self.window]

    def only(self, rows: Ints) -> "Cut":
        """The same windows with these of the frames."""
        frames, ids = ([column[row] for row in rows] for column in (self.frames, self.ids))
        return Cut(self.bases, self.fragment, frames, ids, self.window[rows])

    def best(self, scores: NDArray[np.float32]) -> NDArray[np.float64]:
        """(m, 2) highest P(others) and P(virus) over each window's frames, from `scores` (n, 2); NaN where
        no frame is open."""
        found = np.full((len(self.bases), 2), -np.inf)
        np.maximum.at(found, self.window, scores)
        return np.where(np.isinf(found), np.nan, found)


def read_features(files: Iterable[Path], ids: Sequence[str]) -> NDArray[np.float32]:
    """(n, dim) rows of the frames `ids` from `output_N_merged.pt` files.

    Raises `InputError` for a frame that is in no file: the files are those of other sequences.
    """
    row_of = {name: row for row, name in enumerate(ids)}
    features: NDArray[np.float32] | None = None
    found = np.zeros(len(ids), dtype=bool)
    for path in files:
        names, data = read_merged(path)
        rows = [row_of[name] for name in names if name in row_of]
        if features is None and len(names):
            features = np.empty((len(ids), data.shape[1]), dtype=np.float32)
        if features is not None and len(names):
            features[rows] = data.numpy()[[name in row_of for name in names]]
        found[rows] = True
    if features is None or not found.all():
        missing = ids[int(found.argmin())] if len(ids) else "any frame"
        raise InputError(f"the merged files hold no row of {missing}; extract the features of this dataset")
    return features
