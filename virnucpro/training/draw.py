"""Windows drawn from genomes: every class alike, within a class every group by the root of its bases."""

import bisect
import heapq
import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Self

from virnucpro.errors import InputError
from virnucpro.training.data import Genome, Split

SHORTEST_WHOLE = 100  # bases of a record that may be a window as it is
MOST_WEIGHT = 2_000_000  # bases of a group; more of them do not make it come up more often
DEPTH = 8  # a group is tried for at most this many times its own bases, at each length of a list
KNOWN_LETTERS = 0.8  # of a window's letters must be A, C, G or T


@dataclass(frozen=True)
class Window:
    """The bases [start, end) of genome number `genome`."""

    genome: int
    start: int
    end: int
    number: int = 0  # on the original's grid, from 1; 0: off it


@dataclass(frozen=True)
class Material:
    """What there is to draw from."""

    genomes: list[Genome]
    names: list[str]  # of each genome, all different
    split: list[Split]

    def of(self, window: Window) -> Genome:
        """The genome that the window is of."""
        return self.genomes[window.genome]

    def dna(self, window: Window) -> str:
        """The window's bases."""
        return self.of(window).dna[window.start : window.end]


def unique(ids: Sequence[str]) -> list[str]:
    """Ids as they are, the second of a kind with `/2` behind it, and so on: pieces of one genome share one.

    >>> unique(["a", "b", "a"])
    ['a', 'b', 'a/2']
    """
    seen: Counter[str] = Counter()
    names = []
    for id in ids:
        seen[id] += 1
        names.append(id if seen[id] == 1 else f"{id}/{seen[id]}")
    return names


@dataclass(frozen=True)
class Lengths:
    """Bases of a window: a number, or a range, from which lengths are drawn log-uniformly."""

    shortest: int
    longest: int
    whole: int  # records of so many bases, and fewer than the shortest, are windows as they are

    @classmethod
    def parse(cls, text: str, keep_short: bool = False) -> list[Self]:
        """From `500`, `300,500,1000` or `100-3000`. Raises `InputError` for anything else.

        >>> Lengths.parse("300,500")
        [Lengths(shortest=300, longest=300, whole=300), Lengths(shortest=500, longest=500, whole=500)]
        """
        ranges = []
        for part in text.split(","):
            shortest, _, longest = part.partition("-")
            if not shortest.isdecimal() or not (longest or shortest).isdecimal():
                raise InputError(f"lengths {text!r}: give numbers (300,500) or a range (100-3000)")
            whole = min(SHORTEST_WHOLE, int(shortest)) if keep_short else int(shortest)
            ranges.append(cls(int(shortest), int(longest or shortest), whole))
        if any(not 30 <= each.shortest <= each.longest for each in ranges):
            raise InputError(f"lengths {text!r}: the shortest window is of 30 bases, the longest not shorter")
        return ranges

    def draw(self, source: random.Random, most: int) -> int:
        """A length between the shortest and the longest, at most `most`."""
        longest = min(self.longest, most)
        if longest <= self.shortest:
            return longest
        return min(longest, int(math.exp(source.uniform(math.log(self.shortest), math.log(longest + 1)))))

    def __str__(self) -> str:
        return f"{self.shortest}" + (f"-{self.longest}" if self.longest > self.shortest else "")


Stream = Iterator[Window]


def draw(
    genomes: Sequence[Genome],
    numbers: Sequence[int],
    count: int,
    stream: Callable[[Sequence[int], str], Stream],
    wanted: Callable[[Window], bool],
    seed: str,
) -> list[Window]:
    """Up to `count` windows of each class from the genomes with these numbers, class by class.

    `stream` gives the windows of a group's genomes, from a seed; those not `wanted` are passed over. What a
    group gives depends on no other group.
    """
    groups: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for number in numbers:
        groups[genomes[number].kind][genomes[number].group].append(number)
    windows = []
    for kind, members in groups.items():
        streams, weights = [], []
        for group, of_group in members.items():
            streams.append(filter(wanted, stream(of_group, f"{seed}/{kind}/{group}")))
            bases = sum(len(genomes[number].dna) for number in of_group)
            weights.append(math.sqrt(min(bases, MOST_WEIGHT)))
        windows += take_evenly(streams, weights, count)
    return windows


def at_random(genomes: Sequence[Genome], numbers: Sequence[int], lengths: Lengths, seed: str) -> Stream:
    """Windows anywhere on these genomes, none twice, until the genomes are used up (`DEPTH`).

    A genome comes up by its length; those too short for a window never do.
    """
    source = random.Random(f"{seed}/{lengths}")
    numbers = [number for number in numbers if len(genomes[number].dna) >= lengths.whole]
    ends = list(accumulate(len(genomes[number].dna) for number in numbers))
    left = DEPTH * ends[-1] if ends else 0
    seen = set()
    while left > 0:
        number = numbers[bisect.bisect_right(ends, source.randrange(ends[-1]))]
        dna = genomes[number].dna
        length = lengths.draw(source, len(dna))
        start = source.randrange(len(dna) - length + 1)
        window = Window(number, start, start + length)
        left -= length
        if window not in seen and _known(dna[start : start + length]):
            seen.add(window)
            yield window


def _known(dna: str) -> bool:
    return sum(map(dna.count, "ACGT")) >= KNOWN_LETTERS * len(dna)


def take_evenly(streams: Sequence[Stream], weights: Sequence[float], count: int) -> list[Window]:
    """Up to `count` windows, from each stream in proportion to its weight as long as it lasts."""
    taken: list[Window] = []
    turns = [(1 / weight, place) for place, weight in enumerate(weights)]
    heapq.heapify(turns)
    while turns and len(taken) < count:
        turn, place = turns[0]
        window = next(streams[place], None)
        if window is None:
            heapq.heappop(turns)
        else:
            taken.append(window)
            heapq.heapreplace(turns, (turn + 1 / weights[place], place))
    return taken
