"""Many sequences as one array of bases, and what can be counted in all of them at once.

A sequence takes rows of three bases and is filled up with unknown letters, `REACH` of them or more: position
modulo three is the reading phase, every run and word ends there, and no count reaches into the next sequence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
CODONS = 64
_NO_BASE = 1024  # any letter but A, C, G, T and U; so large that every word with one is out of range
_CODES = np.full(256, _NO_BASE, dtype=np.uint16)
for _code, _letters in enumerate(("Aa", "Cc", "Gg", "TtUu")):
    for _letter in _letters:
        _CODES[ord(_letter)] = _code
REACH = 12  # letters that words and repeats look ahead


@dataclass(frozen=True)
class Letters:
    """The bases of `count` sequences: `codes` (3 * sum of `rows` + `REACH`), 0 to 3 for A, C, G, T."""

    codes: npt.NDArray[np.uint16]
    rows: Counts  # (count,)

    @classmethod
    def of(cls, sequences: Sequence[str]) -> "Letters":
        """Lower case and U are read; a letter that is no single base counts as unknown.

        Raises `UnicodeEncodeError` for letters beyond ASCII, which `read_fasta` lets through nowhere.
        """
        padded = [sequence.ljust((len(sequence) + REACH) // 3 * 3 + 3, "N") for sequence in sequences]
        text = np.frombuffer(("".join(padded) + "N" * REACH).encode("ascii"), dtype=np.uint8)
        return cls(_CODES[text], np.array([len(sequence) // 3 for sequence in padded], dtype=np.int64))

    @property
    def count(self) -> int:
        return len(self.rows)

    @cached_property
    def owners(self) -> Counts:
        """The sequence of every row."""
        return np.repeat(np.arange(self.count), self.rows)

    @cached_property
    def words3(self) -> npt.NDArray[np.uint16]:
        """The word of three letters at every position, 0 to 63, or 64 where one of them is unknown."""
        codes = self.codes
        words: npt.NDArray[np.uint16] = 16 * codes[:-2] + 4 * codes[1:-1] + codes[2:]
        return np.minimum(words, np.uint16(CODONS))

    @property
    def end(self) -> int:
        """Positions in `rows`."""
        return len(self.codes) - REACH

    def sum(self, values: npt.NDArray[np.bool_]) -> Counts:
        """How many of `values` (a bool a position, `end` of them) are true in each sequence: (count,)."""
        starts = 3 * (np.cumsum(self.rows) - self.rows)
        return np.add.reduceat(values, starts, dtype=np.int64)

    def bases(self) -> Counts:
        """Known bases of each sequence: (count,)."""
        return self.sum(self.codes[: self.end] < _NO_BASE)

    def repeats(self, lag: int) -> Counts:
        """Known bases that are equal to the one `lag` letters on: (count,)."""
        here, there = self.codes[: self.end], self.codes[lag : self.end + lag]
        return self.sum((here == there) & (here < _NO_BASE))

    def words5(self) -> Counts:
        """Words of five bases, one strand: (count, 1024)."""
        codes, end, size = self.codes, self.end, 4**5
        pairs = 4 * codes[3 : end + 3] + codes[4 : end + 4]
        words = np.minimum(16 * self.words3[:end] + pairs, size).reshape(-1, 3)
        index = words + self.owners[:, None] * (size + 1)
        counted = np.bincount(index.ravel(), minlength=self.count * (size + 1))
        return counted.reshape(self.count, size + 1)[:, :size]

    @cached_property
    def codons(self) -> npt.NDArray[np.int64]:
        """The codon, or 64, at every row in each of the three phases of this strand: (rows, 3)."""
        return self.words3[: self.end].reshape(-1, 3).astype(np.int64)

    def in_phase(self, words: npt.NDArray[np.int64], size: int) -> Counts:
        """Count `words` (rows, 3), each below `size`, by sequence and phase: (count, 3, size)."""
        phases = 3 * self.owners[:, None] + np.arange(3)
        counted = np.bincount((phases * size + words).ravel(), minlength=self.count * 3 * size)
        return counted.reshape(self.count, 3, size)

    def longest_runs(self, breaks: npt.NDArray[np.bool_]) -> Counts:
        """Longest run of rows without a break in each phase; `breaks` (rows, 3) -> (count, 3).

        The last row of every sequence must be a break, as rows with an unknown letter are.
        """
        longest = np.empty((self.count, 3), dtype=np.int64)
        for phase in range(3):
            at = np.flatnonzero(breaks[:, phase])
            owner = self.owners[at]
            runs = np.diff(at, prepend=-1) - 1
            longest[:, phase] = np.maximum.reduceat(runs, np.flatnonzero(np.diff(owner, prepend=-1)))
        return longest
