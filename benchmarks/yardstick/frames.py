"""Six frames of one window at a time: the yardstick of `virnucpro.sequences.frames`."""

import re

from Bio.Data.CodonTable import unambiguous_dna_by_name

from virnucpro.sequences.frames import Frame

_FORWARD: dict[str, str] = unambiguous_dna_by_name["Standard"].forward_table
_STOP = re.compile("TAA|TAG|TGA")  # none can begin inside another, so a plain scan finds them all
_COMPLEMENT = str.maketrans("ACGT", "TGCA")


class _AminoAcids(dict[tuple[str, ...], str]):
    """Codon, as three letters, to amino acid; nothing for a codon with an ambiguous letter."""

    def __missing__(self, codon: tuple[str, ...]) -> str:
        return ""


_AMINO_ACIDS = _AminoAcids({tuple(codon): residue for codon, residue in _FORWARD.items()})


def reverse_complement(sequence: str) -> str:
    """Reverse complement; letters other than upper-case ACGT stay as they are, as in the original.

    >>> reverse_complement("AACGN")
    'NCGTT'
    """
    return sequence.translate(_COMPLEMENT)[::-1]


def translate(sequence: str) -> str:
    """Translate upper-case DNA by the standard code; codons with an ambiguous letter vanish, no X, no gap.

    The caller has made sure that there is no stop codon in frame.

    >>> translate("ATGGCNGCTGCTGCA")
    'MAAA'
    """
    codons = zip(sequence[::3], sequence[1::3], sequence[2::3], strict=False)  # a last, cut codon drops out
    return "".join(map(_AMINO_ACIDS.__getitem__, codons))


def _without_stop(strand: str) -> list[int]:
    open_offsets = [0, 1, 2]
    for stop in _STOP.finditer(strand):
        if (offset := stop.start() % 3) in open_offsets:
            open_offsets.remove(offset)
            if not open_offsets:
                break
    return open_offsets


def open_frames(window: str) -> list[Frame]:
    """The frames of a window without a stop codon and with at least one amino acid, F1..F3 then R1..R3.

    The nucleotides are those of `1 + 3 * len(protein)` bases from the frame's start, where they exist:
    one base more than the codons, and with ambiguous codons only a prefix of the frame. Both are the
    original's behaviour, on which the published classifiers were trained.

    >>> [(f.name, f.nucleotide, f.protein) for f in open_frames("ATGGCNGCTGCTGCA")][:1]
    [('F1', 'ATGGCNGCTGCTG', 'MAAA')]
    """
    frames = []
    forward = window.upper()
    for direction, strand in (("F", forward), ("R", reverse_complement(forward))):
        for offset in _without_stop(strand):
            if protein := translate(strand[offset:]):
                span = strand[offset : offset + 1 + 3 * len(protein)]
                frames.append(Frame(f"{direction}{offset + 1}", span, protein))
    return frames
