"""Windows: how a sequence is cut, by the original's rule."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Spans(NamedTuple):
    """Windows of several sequences, in order, each column (windows,): the sequence's place among them, the
    window's number in it from 1, and its 0-based half-open span there."""

    owner: NDArray[np.int64]
    number: NDArray[np.int64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]


def spans(lengths: NDArray[np.int64], size: int) -> Spans:
    """Cut sequences of `lengths` (n,) bases into windows of `size` that overlap evenly.

    The rule, its short last window included, is the original's: the overlap is shared among n windows
    although only n - 1 of them can be moved, so what rounding leaves over shortens the last one. The
    published classifiers were trained on windows cut this way.
    """
    if size < 1 or (lengths.size and lengths.min() < 1):
        raise ValueError(f"windows of {size} bases over {lengths.min()} bases")
    count = -(-lengths // size)
    surplus = count * size - lengths
    low = surplus // count
    steps_of_one_more = surplus - low * (count - 1)
    owner = np.repeat(np.arange(len(lengths)), count)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    start = place * (size - low[owner]) - np.minimum(place, steps_of_one_more[owner])
    return Spans(owner, place + 1, start, np.minimum(start + size, lengths[owner]))


def windows(length: int, size: int) -> list[tuple[int, int]]:
    """The spans of one sequence.

    >>> windows(480, 500)
    [(0, 480)]
    >>> windows(1200, 500)
    [(0, 500), (399, 899), (798, 1200)]
    """
    cut = spans(np.array([length]), size)
    return [*zip(cut.start.tolist(), cut.end.tolist(), strict=True)]
