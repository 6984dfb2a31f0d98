"""Fragments: random stretches of genomes, cut into windows and open frames as the pipeline does."""

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from virnucpro.sequences.frames import Frame, open_frames
from virnucpro.sequences.windows import windows
from virnucpro.training.data import Genome

DEPTH = 8  # a group gives at most this many times its own bases: small classes are not copied without end


@dataclass(frozen=True)
class Fragment:
    """A stretch of one genome, `windows` holding the open frames of each of its windows."""

    label: int
    kind: str
    group: str
    id: str  # "<genome>:<start>-<end>", 1-based and inclusive
    windows: list[list[Frame]]

    @property
    def frames(self) -> list[Frame]:
        """All open frames, window by window."""
        return [frame for window in self.windows for frame in window]


def cut(genome: Genome, start: int, length: int, window_length: int) -> Fragment:
    """The fragment [start, start + length) of a genome, shorter at the genome's end."""
    dna = genome.dna[start : start + length]
    frames = [open_frames(dna[begin:end]) for begin, end in windows(len(dna), window_length)]
    name = f"{genome.id}:{start + 1}-{start + len(dna)}"
    return Fragment(genome.label, genome.kind, genome.group, name, frames)


Length = Callable[[random.Random], int]  # draws the bases of a fragment


def always(bases: int) -> Length:
    """Every fragment of the same length."""
    return lambda _: bases


def sample(
    genomes: Iterable[Genome],
    count: int,
    window_length: int,
    length: Length,
    seed: str,
    only_with_frames: bool,
) -> list[Fragment]:
    """Up to `count` fragments of each class, one group after the other in turn, so that no group dominates.

    A class gives fewer when its groups are used up (`DEPTH`).
    The same arguments give the same fragments, whatever else is in `genomes`.
    """
    groups: dict[str, dict[str, list[Genome]]] = {}
    for genome in genomes:
        groups.setdefault(genome.kind, {}).setdefault(genome.group, []).append(genome)
    fragments = []
    for kind, members in groups.items():
        streams = [
            _stream(
                of_group, window_length, length, random.Random(f"{seed}/{kind}/{group}"), only_with_frames
            )
            for group, of_group in members.items()
        ]
        fragments += _in_turn(streams, count)
    return fragments


def _stream(
    genomes: list[Genome],
    window_length: int,
    length: Length,
    draw: random.Random,
    only_with_frames: bool,
) -> Iterator[Fragment]:
    left = DEPTH * sum(len(genome.dna) for genome in genomes)
    sizes = [len(genome.dna) for genome in genomes]
    while left > 0:
        genome = draw.choices(genomes, sizes)[0]
        wanted = length(draw)
        start = draw.randrange(max(1, len(genome.dna) - wanted + 1))
        left -= wanted
        fragment = cut(genome, start, wanted, window_length)
        if fragment.frames or not only_with_frames:
            yield fragment


def _in_turn(streams: list[Iterator[Fragment]], count: int) -> list[Fragment]:
    taken: list[Fragment] = []
    while streams and len(taken) < count:
        unfinished = []
        for stream in streams:
            fragment = next(stream, None)
            if fragment is not None:
                taken.append(fragment)
                unfinished.append(stream)
        streams = unfinished
    return taken[:count]
