"""Reads in BAM and CRAM: the sequencer's own, each once, whatever became of them."""

import sys
from pathlib import Path

import pysam
import pytest

from virnucpro.errors import InputError
from virnucpro.sequences import text
from virnucpro.sequences.extract import extract_frames
from virnucpro.sequences.fasta import read_fasta

REFERENCE = "ACGTTGCATCGGATCCATTACGGACTTACGGCTAAC" * 3
UNMAPPED, REVERSE, SECONDARY, SUPPLEMENTARY = 0x4, 0x10, 0x100, 0x800


def write(
    path: Path, mode: str, reads: list[tuple[str, int, str]], options: list[bytes] | None = None
) -> Path:
    """Reads (name, flag, letters as they stand in the file), mapped ones on the reference's begin."""
    (path.parent / "reference.fa").write_text(f">chr\n{REFERENCE}\n")
    header = {"HD": {"VN": "1.6"}, "SQ": [{"SN": "chr", "LN": len(REFERENCE)}]}
    with pysam.AlignmentFile(
        str(path),
        mode,
        header=header,
        reference_filename=str(path.parent / "reference.fa") if "c" in mode else None,
        format_options=options,
    ) as out:
        for name, flag, letters in reads:
            read = pysam.AlignedSegment(out.header)
            read.query_name, read.flag, read.query_sequence = name, flag, letters
            if not flag & UNMAPPED:
                read.reference_id, read.reference_start, read.cigarstring = 0, 0, f"{len(letters)}M"
            out.write(read)
    return path


READS = [
    ("a", UNMAPPED, "ACGTNACCA"),
    ("b", 0, REFERENCE[:50]),
    ("c", REVERSE, "AACGTRN"),
    ("b", SECONDARY, REFERENCE[:50]),
    ("c", SUPPLEMENTARY | REVERSE, REFERENCE[:20]),
    ("d/1", UNMAPPED | 0x40, "GGATTT"),
]
GIVEN = [("a", "ACGTNACCA"), ("b", REFERENCE[:50]), ("c", "NYACGTT"), ("d/1", "GGATTT")]


@pytest.mark.parametrize(("mode", "options"), [("wb", None), ("wbu", None), ("wc", [b"no_ref=1"])])
@pytest.mark.parametrize("block", [1 << 17, 1])
def test_reads_are_those_of_the_sequencer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, options: list[bytes] | None, block: int
) -> None:
    monkeypatch.setattr(text, "BLOCK", block)
    path = write(tmp_path / "reads", mode, READS, options)
    assert [(record.id, record.sequence) for record in read_fasta(path)] == GIVEN


def test_bam_gives_the_frames_of_fasta(tmp_path: Path) -> None:
    many = [(f"r{number}", UNMAPPED, REFERENCE[number % 50 :]) for number in range(300)]
    bam = write(tmp_path / "in.bam", "wb", many)
    (tmp_path / "in.fa").write_text("".join(f">{name}\n{letters}\n" for name, _, letters in many))
    for path in (bam, tmp_path / "in.fa"):
        extract_frames(path, tmp_path / path.suffix, "s", 60)
    for name in ("s_records.tsv", "s_layout.tsv", "protein/output_1.fa", "nucleotide/output_1.fa"):
        assert (tmp_path / ".bam" / name).read_bytes() == (tmp_path / ".fa" / name).read_bytes()


def test_what_is_wrong_is_said_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = write(tmp_path / "empty.bam", "wb", [("a", UNMAPPED, "ACGT"), ("b", UNMAPPED, "")])
    with pytest.raises(InputError, match=r"empty.bam: read 2, 'b', has no sequence"):
        list(read_fasta(empty))
    mates = write(tmp_path / "mates.bam", "wb", [("a", UNMAPPED, "ACGT"), ("a", UNMAPPED, "ACGT")])
    with pytest.raises(InputError, match=r"records 1 and 2 have one id, 'a'.*--duplicate-ids number"):
        list(read_fasta(mates))
    assert [record.name for record in read_fasta(mates, "number")] == ["1|a", "2|a"]
    whole = mates.read_bytes()
    for end in (28, 40):
        mates.write_bytes(whole[:-end])
        with pytest.raises(InputError, match=r"mates.bam: .*(cut off)"):
            list(read_fasta(mates))
    cram = write(tmp_path / "in.cram", "wc", [("a", 0, REFERENCE[:50])])
    (tmp_path / "reference.fa").unlink()
    (tmp_path / "reference.fa.fai").unlink(missing_ok=True)
    with pytest.raises(InputError, match=r"in.cram: is cut off or damaged behind read 0 .*reference"):
        list(read_fasta(cram))
    monkeypatch.setitem(sys.modules, "pysam", None)
    with pytest.raises(InputError, match=r"pip install 'virnucpro\[bam\]'"):
        list(read_fasta(cram))
