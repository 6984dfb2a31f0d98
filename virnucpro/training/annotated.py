"""The original's training data: windows by its grid, frames that lie inside an annotated protein."""

import random
from collections.abc import Iterator, Sequence

from virnucpro.sequences.frames import Frame, open_frames
from virnucpro.sequences.windows import windows
from virnucpro.training.data import Genome
from virnucpro.training.draw import Window

_AMBIGUOUS = frozenset("NRYMKSWHBVD")


def annotated_frames(dna: str, proteins: str) -> list[Frame]:
    """The frames of a window that the original trains on; `proteins` are those of the record, one a line.

    No letter of the window is ambiguous, the frame is open, and its protein lies inside an annotated one of
    the same record, whichever that is and wherever its gene stands.

    >>> [frame.name for frame in annotated_frames("ATGGCAGCAGCTGCA", "XMAAAAX")]
    ['F1', 'R2']
    """
    if not proteins or _AMBIGUOUS.intersection(dna):
        return []
    return [frame for frame in open_frames(dna) if frame.protein in proteins]


def proteins_of(genome: Genome) -> str:
    """What `annotated_frames` searches: no protein can span two lines."""
    return "\n".join(genome.proteins)


def annotated_windows(
    genomes: Sequence[Genome], numbers: Sequence[int], length: int, seed: str
) -> Iterator[Window]:
    """Every window of the genomes' grids that has an annotated frame, in random order."""
    grid = [
        Window(number, start, end, place)
        for number in numbers
        if genomes[number].proteins
        for place, (start, end) in enumerate(windows(len(genomes[number].dna), length), 1)
    ]
    random.Random(seed).shuffle(grid)
    proteins = {number: proteins_of(genomes[number]) for number in numbers}
    for window in grid:
        dna = genomes[window.genome].dna[window.start : window.end]
        if annotated_frames(dna, proteins[window.genome]):
            yield window
