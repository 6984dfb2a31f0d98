"""Sequences in, of every format, and FASTA out: streaming, many records at a time, each of them checked."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import IO, Literal

from virnucpro.errors import InputError
from virnucpro.sequences import parse_alignment, text
from virnucpro.sequences.digests import DigestLog, digest
from virnucpro.sequences.parse_fasta import fasta_blocks
from virnucpro.sequences.parse_fastq import fastq_blocks
from virnucpro.sequences.records import Block
from virnucpro.sequences.records import Record as Record

log = logging.getLogger(__name__)
Repeats = Literal["error", "number"]
LINE_WIDTH = 60
_SAM = (b"@HD\t", b"@SQ\t", b"@RG\t", b"@PG\t")  # what a text of alignments begins with
_ENOUGH = 64  # bytes that tell FASTA, FASTQ and other things apart


def read_fasta(path: Path, duplicate_ids: Repeats = "error") -> Iterator[Record]:
    """Stream the records of a file of nucleotide sequences.

    `duplicate_ids`: whether an id that comes twice is an `error`, or may, and records are told apart by their
    `number`. Raises `InputError` where `read_blocks` does.
    """
    for block in read_blocks(path, duplicate_ids):
        yield from block.records()


def read_blocks(path: Path, duplicate_ids: Repeats = "error") -> Iterator[Block]:
    """Stream the records of a file of nucleotide sequences, many at a time.

    Raises `InputError` where `read_records` does, and, unless records are told apart by their number, for two
    of one id (found once the last record is read).
    """
    if duplicate_ids == "number":
        for block in _blocks_of(path):
            yield replace(block, numbered=True)
            del block
        return
    with DigestLog() as seen:
        for block in _blocks_of(path):
            seen.add(id.encode() for id in block.ids)
            yield block
            del block
        if suspects := seen.repeated():
            _refuse_repeats(path, suspects)


def read_records(path: Path) -> Iterator[Record]:
    """Stream the records of a file of nucleotide sequences: FASTA or FASTQ, plain or packed, BAM or CRAM,
    which is told by content, not by name.

    Lower case, RNA, IUPAC letters, blank lines, line ends of any kind, and files without a record pass.
    Raises `InputError`, naming file, record and line, for anything else: a missing or unreadable file, a
    pipe, a packed file that is cut off, protein, an alignment, binary data, a record without name or
    sequence. Memory: a record twice, or a few blocks of text.
    """
    for block in _blocks_of(path):
        yield from block.records()


def read_frames(path: Path) -> Iterator[tuple[str, str]]:
    """Stream (id, letters) of a FASTA that this project wrote; which letters is not checked."""
    for block in fasta_blocks(path, text.text_blocks(path), nucleotides=False):
        yield from ((record.id, record.sequence) for record in block.records())


def write_record(out: IO[str], id: str, sequence: str, width: int | None = LINE_WIDTH) -> None:
    """Append one record, wrapped at `width` letters, or on one line when `width` is None."""
    if width is None:
        out.write(f">{id}\n{sequence}\n")
    else:
        lines = [sequence[start : start + width] for start in range(0, len(sequence), width)]
        out.write("\n".join([f">{id}", *lines, ""]))


def _blocks_of(path: Path) -> Iterator[Block]:
    texts = text.text_blocks(path)
    start = b""
    for more in texts:
        start += more
        if len(start.lstrip()) > _ENOUGH:
            break
    begins = start.lstrip()
    if begins.startswith(_SAM):
        raise InputError(f"{path}: this is SAM; make BAM of it (samtools view -b)")
    if begins.startswith(parse_alignment.BEGINS):
        texts.close()
        yield from parse_alignment.alignment_blocks(path, text.BLOCK)
    elif begins.startswith(b"@"):
        _say_of_quality(path)
        yield from fastq_blocks(path, chain([start], texts))
    else:
        yield from fasta_blocks(path, chain([start], texts))


@cache  # a file is read more than once
def _say_of_quality(path: Path) -> None:
    log.info("%s: FASTQ; its qualities are not looked at", path)


def _refuse_repeats(path: Path, suspects: frozenset[int]) -> None:
    """Read the ids again, keep those whose digest came twice, and raise for the first real repeat."""
    first: dict[str, int] = {}
    for block in _blocks_of(path):
        for number, id in enumerate(block.ids, block.first):
            if digest(id.encode()) in suspects and (before := first.setdefault(id, number)) != number:
                raise InputError(
                    f"{path}: records {before} and {number} have one id, {id!r} (the first word of the "
                    "header); rename one of them, or have them told apart by their numbers: "
                    "--duplicate-ids number (Nextflow: --duplicate_ids number)"
                )
