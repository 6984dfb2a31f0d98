"""What genomes share: distinct canonical 24-mers in common, found exactly, in bounded memory.

24 bases are long enough that unrelated genomes share next to none by chance, and short enough to find
relatives that have diverged by several per cent.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

K = 24
_PER_PASS = 1 << 26  # 24-mers held at a time: half a gigabyte, twice while they are sorted
_PER_BATCH = 1 << 20  # bases whose 24-mers are made at a time: what stays in cache is faster
_NEIGHBOURS = 8  # of a 24-mer in many genomes, pairs of this many neighbours are counted, not all
_PERIODS = range(1, 7)
_MISMATCHES = 2

_CODES = np.full(256, 4, dtype=np.uint8)
_CODES[np.frombuffer(b"ACGTacgt", dtype=np.uint8)] = [0, 1, 2, 3] * 2

Kmers = NDArray[np.uint64]


def canonical_kmers(dna: str) -> tuple[Kmers, NDArray[np.bool_]]:
    """(n - 23,) the smaller of each 24-mer and its reverse complement, two bits a base; and which are whole.

    Those with a letter other than A, C, G and T are not whole, and their number means nothing.

    >>> canonical_kmers("A" * 23 + "C")[0]
    array([1], dtype=uint64)
    >>> canonical_kmers("G" + "T" * 23)[0]
    array([1], dtype=uint64)
    """
    codes = _CODES[np.frombuffer(dna.encode(), dtype=np.uint8)]
    if len(codes) < K:
        return np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.bool_)
    unknown = np.concatenate([[0], np.cumsum(codes == 4, dtype=np.int32)])
    whole = unknown[K:] == unknown[:-K]
    bases = (codes & 3).astype(np.uint64)
    return np.minimum(_packed(bases), _packed(3 - bases[::-1])[::-1]), whole


def _packed(bases: Kmers) -> Kmers:
    """Each 24 bases in a row as one number, by doubling: 2, 4, 8, 16 bases, then 16 and 8."""
    of_eight = bases
    for width in (1, 2, 4):
        of_eight = (of_eight[:-width] << np.uint64(2 * width)) | of_eight[width:]
    of_sixteen = (of_eight[:-8] << np.uint64(16)) | of_eight[8:]
    packed: Kmers = (of_sixteen[:-8] << np.uint64(16)) | of_eight[16:]
    return packed


def low_complexity(kmers: Kmers) -> NDArray[np.bool_]:
    """(n,) which 24-mers repeat a unit of one to six bases, but for two of them: no sign of kinship."""
    repeats = np.zeros(len(kmers), dtype=np.bool_)
    for period in _PERIODS:
        rest = np.uint64((1 << 2 * (K - period)) - 1)
        differing = (kmers ^ (kmers >> np.uint64(2 * period))) & rest
        differing = (differing | (differing >> np.uint64(1))) & np.uint64(0x5555555555555555)
        repeats |= np.bitwise_count(differing) <= _MISMATCHES
    return repeats


@dataclass(frozen=True)
class Shared:
    """24-mers that occur in more than one group: one row for each record that one occurs in, once."""

    kmers: Kmers  # (n,) sorted; the rows of one 24-mer are neighbours
    records: NDArray[np.int64]  # (n,) numbers of records, rising within a 24-mer

    def without(self, rows: NDArray[np.bool_]) -> Self:
        """The rows that are not these."""
        return type(self)(self.kmers[~rows], self.records[~rows])

    def of(self, records: Sequence[int]) -> Kmers:
        """The distinct 24-mers that occur in any of these records, sorted."""
        return np.unique(self.kmers[np.isin(self.records, records)])

    def rows_of(self, kmers: Kmers) -> Self:
        """The rows of these 24-mers."""
        rows = np.isin(self.kmers, kmers)
        return type(self)(self.kmers[rows], self.records[rows])

    def pairs(self, owners: NDArray[np.int64]) -> Counter[tuple[int, int]]:
        """How many distinct 24-mers two owners have in common; owners[record] is a number.

        Exact for 24-mers of up to nine owners; of those in more, each owner is paired with eight others only.
        """
        order = np.lexsort((owners[self.records], self.kmers))
        kmers, owner = self.kmers[order], owners[self.records][order]
        once = _changes(kmers) | _changes(owner)
        kmers, owner = kmers[once], owner[once]
        counts: Counter[tuple[int, int]] = Counter()
        several = int(owner.max(initial=0)) + 1
        for step in range(1, _NEIGHBOURS + 1):
            same = kmers[step:] == kmers[:-step]
            couples, numbers = np.unique(
                owner[:-step][same] * several + owner[step:][same], return_counts=True
            )
            for couple, number in zip(couples.tolist(), numbers.tolist(), strict=True):
                counts[divmod(couple, several)] += number
        return counts


def shared_kmers(sequences: Sequence[str], groups: NDArray[np.int64]) -> Shared:
    """The 24-mers that occur in records of more than one group; groups[i] is the group of sequences[i]."""
    bits = max(1, (len(sequences) - 1).bit_length())
    total = sum(map(len, sequences))
    fewest = max(0, 2 * K + bits - 64)  # bits that must go into the number of the pass
    passes = 1 << max(fewest, (total // _PER_PASS).bit_length())
    found = [_one_pass(sequences, groups, bits, passes, number) for number in range(passes)]
    kmers = np.concatenate([kmers for kmers, _ in found])
    records = np.concatenate([records for _, records in found])
    order = np.lexsort((records, kmers))
    return Shared(kmers[order], records[order])


def _one_pass(
    sequences: Sequence[str], groups: NDArray[np.int64], bits: int, passes: int, number: int
) -> tuple[Kmers, NDArray[np.int64]]:
    """Of the 24-mers whose last bits are `number`. A 24-mer and its record's number share one integer."""
    low = np.uint64(passes.bit_length() - 1)
    parts = []
    for kmers, records in _batches(sequences):
        own = (kmers & np.uint64(passes - 1)) == number
        parts.append(((kmers[own] >> low) << np.uint64(bits)) | records[own])
    rows = np.concatenate(parts)
    del parts
    rows.sort()
    rows = rows[_changes(rows)]
    again = ~_changes(rows >> np.uint64(bits))  # the same 24-mer in another record
    again[:-1] |= again[1:]  # its first record as well
    rows = rows[again]
    own_kmers: Kmers = rows >> np.uint64(bits)
    owners: NDArray[np.int64] = (rows & np.uint64((1 << bits) - 1)).astype(np.int64)
    starts = _changes(own_kmers)
    run = np.cumsum(starts)
    kept = np.isin(run, run[~starts & _changes(groups[owners])])  # runs in which the group changes
    own_kmers = (own_kmers[kept] << low) | np.uint64(number)
    return own_kmers, owners[kept]


def _changes(values: NDArray[Any]) -> NDArray[np.bool_]:
    """(n,) where a value differs from the one before it; the first does."""
    changes = np.ones(len(values), dtype=np.bool_)
    changes[1:] = values[1:] != values[:-1]
    return changes


def _runs(values: NDArray[np.int64]) -> Iterator[tuple[int, int, int]]:
    """(value, first, last) of each run of equal values: [first, last)."""
    starts = np.flatnonzero(_changes(values))
    ends = [*starts.tolist(), len(values)][1:]
    yield from zip(values[starts].tolist(), starts.tolist(), ends, strict=True)


def _batches(sequences: Sequence[str]) -> Iterator[tuple[Kmers, Kmers]]:
    """The whole 24-mers of all sequences, each with its sequence's number, about `_PER_BATCH` at a time."""
    batch: list[str] = []
    first = bases = 0
    for number, sequence in enumerate(sequences):
        batch.append(sequence)
        bases += len(sequence)
        if bases >= _PER_BATCH or number == len(sequences) - 1:
            kmers, whole = canonical_kmers("N".join(batch))
            lengths = [len(one) + 1 for one in batch]
            records = np.repeat(np.arange(first, first + len(batch), dtype=np.uint64), lengths)[: len(kmers)]
            yield kmers[whole], records[whole]
            first, bases, batch = number + 1, 0, []


def families(pairs: Mapping[tuple[int, int], int], sizes: Sequence[int], share: float) -> dict[int, int]:
    """Owners to their family: those linked, directly or through others, by sharing `share` of the smaller.

    `sizes` are the bases of each owner. A family is named by the smallest number in it; owners without a
    relative are left out.
    """
    parent: dict[int, int] = {}

    def root(owner: int) -> int:
        while parent.setdefault(owner, owner) != owner:
            parent[owner] = parent[parent[owner]]
            owner = parent[owner]
        return owner

    for (one, other), number in pairs.items():
        if number >= share * min(sizes[one], sizes[other]):
            low, high = sorted((root(one), root(other)))
            parent[high] = low
    return {owner: root(owner) for owner in parent}


@dataclass(frozen=True)
class Leak:
    """Two records on different sides of the split, and the distinct 24-mers that they share."""

    record: int
    other: int
    shared: int


def leaks(shared: Shared, sides: NDArray[np.int64], limit: int) -> list[Leak]:
    """The pairs of records with different sides that share `limit` 24-mers or more, worst first."""
    pairs = shared.pairs(np.arange(len(sides)))
    return [
        Leak(one, other, number)
        for (one, other), number in sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
        if number >= limit and sides[one] != sides[other]
    ]


class Marks:
    """Where on some sequences shared 24-mers occur: the count in a window is read off in constant time."""

    def __init__(self, sequences: Sequence[str], numbers: Collection[int], shared: Shared) -> None:
        """Mark on each of the sequences with these numbers the 24-mers that `shared` says are on it."""
        order = np.argsort(shared.records, kind="stable")
        kmers, records = shared.kmers[order], shared.records[order]
        self._until: dict[int, NDArray[np.int32]] = {}
        for number, first, last in _runs(records):
            if number in numbers:
                own, whole = canonical_kmers(sequences[number])
                wanted = kmers[first:last]
                place = np.minimum(np.searchsorted(wanted, own), len(wanted) - 1)
                marked = whole & (wanted[place] == own)
                self._until[number] = np.concatenate([[0], np.cumsum(marked, dtype=np.int32)])

    def count(self, number: int, start: int, end: int) -> int:
        """How many 24-mers of the window [start, end) of this sequence are marked, repeats counted."""
        until = self._until.get(number)
        return 0 if until is None or end - start < K else int(until[end - K + 1] - until[start])
