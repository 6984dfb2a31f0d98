"""Windows and frames: the original's science, byte for byte."""

import random
import tracemalloc
from itertools import pairwise
from math import ceil
from pathlib import Path

import numpy as np
import pytest
from Bio.Seq import Seq

from virnucpro.errors import InputError
from virnucpro.sequences import digests, text
from virnucpro.sequences.extract import extract_frames
from virnucpro.sequences.frames import open_frames, reverse_complement
from virnucpro.sequences.windows import spans, windows


def original_windows(length: int, size: int) -> list[tuple[int, int]]:
    """The original rule, written with its list of shifts."""
    count = ceil(length / size)
    surplus = count * size - length
    low = surplus // count
    need = surplus - low * (count - 1)
    shifts = ([low + 1] * need + [low] * max(0, count - 1 - need) + [0])[:count]
    starts = [i * size - sum(shifts[:i]) for i in range(count)]
    return [(start, min(start + size, length)) for start in starts]


@pytest.mark.parametrize(
    ("length", "size", "expected"),
    [
        (1, 500, [(0, 1)]),
        (500, 500, [(0, 500)]),
        (501, 500, [(0, 500), (250, 501)]),
        (750, 500, [(0, 500), (374, 750)]),
        (1000, 500, [(0, 500), (500, 1000)]),
    ],
)
def test_known_windows(length: int, size: int, expected: list[tuple[int, int]]) -> None:
    """P1: the last window is short where the original's is."""
    assert windows(length, size) == expected


@pytest.mark.parametrize("size", [300, 500])
def test_windows_follow_the_original_rule(size: int) -> None:
    short = 0
    lengths = np.arange(1, 20_001)
    cut = spans(lengths, size)
    of_length = np.split(np.stack([cut.start, cut.end], axis=1), np.cumsum(np.bincount(cut.owner))[:-1])
    assert np.array_equal(cut.number, np.concatenate([np.arange(len(each)) + 1 for each in of_length]))
    for length, pair in zip(lengths.tolist(), of_length, strict=True):
        found = [*map(tuple, pair.tolist())]
        assert found == original_windows(length, size)
        assert all(end - start == size for start, end in found[:-1])
        assert all(later[0] <= earlier[1] for earlier, later in pairwise(found))
        assert found[-1][1] == length
        short += length > size and found[-1][1] - found[-1][0] < size
    assert round(100 * short / (20_000 - size), 1) == {300: 27.5, 500: 55.1}[size]


def slow_frames(window: str) -> list[tuple[str, str, str]]:
    """Six frames by Biopython's own translation, codon by codon."""
    found = []
    for direction, strand in (("F", window.upper()), ("R", reverse_complement(window.upper()))):
        for offset in range(3):
            codons = [strand[i : i + 3] for i in range(offset, len(strand) - 2, 3)]
            plain = [codon for codon in codons if set(codon) <= set("ACGT")]
            protein = "".join(str(Seq(codon).translate()) for codon in plain)
            if protein and "*" not in protein:
                end = offset + 1 + 3 * len(protein)
                found.append((f"{direction}{offset + 1}", strand[offset:end], protein))
    return found


def test_frames_against_biopython() -> None:
    letters = random.Random(2)
    kept = 0
    for _ in range(1500):
        window = "".join(letters.choices("ACGTacgtN", [9, 9, 9, 9, 1, 1, 1, 1, 1], k=letters.randint(1, 90)))
        frames = [(frame.name, frame.nucleotide, frame.protein) for frame in open_frames(window)]
        assert frames == slow_frames(window)
        kept += len(frames)
    assert kept > 1500


def test_one_base_more_than_the_codons() -> None:
    """P2: the classifier was trained with it."""
    by_name = {frame.name: frame for frame in open_frames("ATGGCTGCTGCTG")}
    assert by_name["F1"].nucleotide == "ATGGCTGCTGCTG" and by_name["F1"].protein == "MAAA"
    assert by_name["F2"].nucleotide == "TGGCTGCTGCTG"  # no base is left to add


def test_ambiguous_codons_vanish_and_the_bases_are_a_prefix() -> None:
    """P3."""
    first = open_frames("ATGGCNGCTGCTGCA")[0]
    assert (first.name, first.protein, first.nucleotide) == ("F1", "MAAA", "ATGGCNGCTGCTG")


@pytest.mark.parametrize("window", ["A", "AC", "NNN", "NNNNNNNN", "ANCNGN"])
def test_no_frame_without_an_amino_acid(window: str) -> None:
    """P4."""
    assert open_frames(window) == []


def test_a_codon_has_frames() -> None:
    assert [(frame.name, frame.protein) for frame in open_frames("ATG")] == [("F1", "M"), ("R1", "H")]


@pytest.mark.parametrize("sample", ["test_with_orfs", "test_sequences_small"])
def test_golden_windows_and_frames(golden: Path, tmp_path: Path, sample: str) -> None:
    extract_frames(golden / f"{sample}.fa", tmp_path, sample, 500)
    for name in (
        f"{sample}_chunked500.fa",
        f"{sample}_identified_nucleotide.fa",
        f"{sample}_identified_protein.faa",
    ):
        assert (tmp_path / name).read_bytes() == (golden / name).read_bytes()


def test_golden_split_files(golden: Path, tmp_path: Path) -> None:
    extract_frames(golden / "test_with_orfs.fa", tmp_path, "s", 500)
    for kind in ("nucleotide", "protein"):
        ours = (tmp_path / kind / "output_1.fa").read_bytes()
        assert ours == (golden / f"test_with_orfs_{kind}" / "output_1.fa").read_bytes()


def test_split_files_hold_the_same_ids_in_the_same_order(golden: Path, tmp_path: Path) -> None:
    extract_frames(golden / "test_with_orfs.fa", tmp_path, "s", 500, split_size=3)
    sizes = []
    for number in (1, 2):
        ids = [
            [
                line
                for line in (tmp_path / kind / f"output_{number}.fa").read_text().split("\n")
                if line[:1] == ">"
            ]
            for kind in ("nucleotide", "protein")
        ]
        assert ids[0] == ids[1]
        sizes.append(len(ids[0]))
    assert sizes == [3, 1] and not (tmp_path / "protein" / "output_3.fa").exists()


def test_bad_input_leaves_nothing_behind(tmp_path: Path) -> None:
    fasta = tmp_path / "in.fa"
    fasta.write_text(">a\nATGGCTGCT\n>a\nATGGCTGCT\n")
    with pytest.raises(InputError):
        extract_frames(fasta, tmp_path / "out", "in", 500)
    assert list((tmp_path / "out").iterdir()) == []


def test_memory_does_not_grow_with_the_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A streaming pass: ten times the records, the same peak."""
    monkeypatch.setattr(digests, "_PER_PASS", 500)
    monkeypatch.setattr(text, "BLOCK", 1 << 16)
    peaks = []
    for records in (1000, 1000, 5000):  # the first warms up
        fasta = tmp_path / f"{records}.fa"
        with fasta.open("w") as out:
            for number in range(records):
                out.write(f">r{number}\n{'ACGTGC' * 25}\n")
        tracemalloc.start()
        extract_frames(fasta, tmp_path / str(records), "s", 500)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.2 * peaks[1]
