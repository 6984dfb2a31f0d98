"""Six reading frames of many windows at once, and which of them stay open."""

from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
from Bio.Data.CodonTable import unambiguous_dna_by_name
from numpy.typing import NDArray

FRAME_NAMES = ("F1", "F2", "F3", "R1", "R2", "R3")

_BASES = b"ACGT"
_COMPLEMENT = bytes.maketrans(_BASES, b"TGCA")
_UPPER_COMPLEMENT = bytes(range(256)).upper().translate(_COMPLEMENT)
_DIGITS = bytes(_BASES.find(bytes([letter]).upper()) % 5 for letter in range(256))  # 4: no base
_STOP, _REVERSE_STOP, _DROPPED = 1, 2, 3  # codons that are none, on either strand, or for a letter in them


def _tables() -> tuple[bytes, bytes, bytes]:
    """For `bytes.translate` of codons as `_codons` has them: to amino acids by the standard code, to those of
    the reverse complement, and to `_STOP`, `_REVERSE_STOP`, `_DROPPED`, or 0 for any other codon."""
    acids: dict[str, str] = unambiguous_dna_by_name["Standard"].forward_table
    forward, reverse, kinds = bytearray(256), bytearray(256), bytearray([_DROPPED] * 256)
    for number, digits in enumerate(product(range(5), repeat=3)):
        if 4 not in digits:
            codon = bytes(_BASES[digit] for digit in digits)
            forward[number] = ord(acids.get(codon.decode(), "*"))
            reverse[number] = ord(acids.get(codon.translate(_COMPLEMENT)[::-1].decode(), "*"))
            kinds[number] = _STOP * (forward[number] == ord("*")) + _REVERSE_STOP * (
                reverse[number] == ord("*")
            )
    return bytes(forward), bytes(reverse), bytes(kinds)


_FORWARD, _REVERSE, _KINDS = _tables()
_WITHOUT_ACID = bytes(codon for codon in range(256) if _KINDS[codon] == _DROPPED)


@dataclass(frozen=True, slots=True)
class Frame:
    """An open frame: its name (F1 .. R3), the strand's bases it stands on, its protein."""

    name: str
    nucleotide: str
    protein: str


class Frames(NamedTuple):
    """The open frames of several windows, a list for each of their properties: the window's place among them,
    and as `Frame` has it. `has_codon` (windows,): whether three unambiguous bases stand in a row there."""

    window: list[int]
    name: list[str]
    nucleotide: list[str]
    protein: list[str]
    has_codon: NDArray[np.bool_]


def reverse_complement(sequence: str) -> str:
    """Reverse complement; letters other than upper-case ACGT stay as they are, as in the original.

    >>> reverse_complement("AACGN")
    'NCGTT'
    """
    return sequence.encode().translate(_COMPLEMENT)[::-1].decode()


def open_frames(window: str) -> list[Frame]:
    """The frames of one window of DNA; as `frames_of_windows`, which takes many at a time.

    >>> [(f.name, f.nucleotide, f.protein) for f in open_frames("ATGGCNGCTGCTGCA")][:1]
    [('F1', 'ATGGCNGCTGCTG', 'MAAA')]
    """
    found = frames_of_windows(window.encode(), np.array([0]), np.array([len(window)]))
    return [Frame(*frame) for frame in zip(found.name, found.nucleotide, found.protein, strict=True)]


def has_open_frame(window: str) -> bool:
    """Whether `open_frames` finds any."""
    return bool(open_frames(window))


def frames_of_windows(dna: bytes, start: NDArray[np.int64], end: NDArray[np.int64]) -> Frames:
    """The frames without a stop codon and with at least one amino acid of the windows `start` to `end` (n,)
    of a text, in any case: for each window F1..F3, then R1..R3.

    Codons with an ambiguous letter vanish, no X, no gap. The nucleotides are those of
    `1 + 3 * len(protein)` bases from the frame's start, where they exist: one base more than the codons, and
    with ambiguous codons only a prefix of the frame. Both are the original's behaviour, on which the
    published classifiers were trained.
    """
    codons = _codons(dna)
    kinds = np.frombuffer(codons.translate(_KINDS), np.uint8)
    special = np.flatnonzero(kinds)
    kinds = kinds[special]
    offset = np.arange(3)
    count = np.maximum(end[:, None] - start[:, None] - offset, 0) // 3  # codons of a frame, (n, 3)
    lowest = [start[:, None] + offset, end[:, None] - offset - 3 * count]  # base of its codons, either way
    place = np.stack(lowest, axis=1)  # (n, 2, 3), and then among the codons
    place = place % 3 * (len(codons) // 3) + place // 3
    count = np.stack([count, count], axis=1)
    residues = count - _between(special[kinds == _DROPPED], place, count)
    stops = np.stack(
        [
            _between(special[kinds == stop], place[:, strand], count[:, strand])
            for strand, stop in enumerate((_STOP, _REVERSE_STOP))
        ],
        axis=1,
    )
    found = ((stops == 0) & (residues > 0)).nonzero()

    window, strand, shift = found
    first = np.where(strand, end[window] - shift, start[window] + shift)  # base of a frame, as it is read
    bases = np.minimum(1 + 3 * residues[found], end[window] - start[window] - shift)
    low = np.where(strand, first - bases, first)
    columns = (strand, place[found], place[found] + count[found], low, low + bases)
    nucleotides, proteins = [], []
    for reverse, a, b, x, y in zip(*(column.tolist() for column in columns), strict=True):
        if reverse:
            proteins.append(codons[a:b].translate(_REVERSE, _WITHOUT_ACID)[::-1].decode())
            nucleotides.append(dna[x:y].translate(_UPPER_COMPLEMENT)[::-1].decode())
        else:
            proteins.append(codons[a:b].translate(_FORWARD, _WITHOUT_ACID).decode())
            nucleotides.append(dna[x:y].upper().decode())
    names = [FRAME_NAMES[frame] for frame in (3 * strand + shift).tolist()]
    has_codon: NDArray[np.bool_] = np.any(residues > 0, axis=(1, 2))
    return Frames(window.tolist(), names, nucleotides, proteins, has_codon)


def _codons(dna: bytes) -> bytes:
    """The codon that begins at each base, as three digits to the base 5; with a 4 in it where a letter is
    ambiguous, or at the text's end: those at bases 0, 3, 6, ..., then at 1, 4, 7, ..., then at 2, 5, 8, ...,
    so that a frame's are neighbours; the three rows of one length."""
    digits = np.frombuffer(dna.translate(_DIGITS), np.uint8)
    codons = np.full((len(dna) + 2) // 3 * 3, 4, np.uint8)
    if len(dna) > 2:
        codons[: len(dna) - 2] = digits[:-2] * np.uint8(25) + digits[1:-1] * np.uint8(5) + digits[2:]
    return codons.reshape(-1, 3).T.tobytes()


def _between(
    where: NDArray[np.int64], place: NDArray[np.int64], count: NDArray[np.int64]
) -> NDArray[np.int64]:
    """How many of the places `where`, which are in order, are among the `count` from each `place` on."""
    return np.searchsorted(where, place + count) - np.searchsorted(where, place)
