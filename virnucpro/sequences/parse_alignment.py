"""BAM and CRAM: each read once, mapped or not, as the sequencer gave it. Needs pysam, the extra `bam`."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from virnucpro.errors import InputError
from virnucpro.sequences.records import NUCLEOTIDES, Block, block_of, check_sequence

BEGINS = (b"BAM\1", b"CRAM")  # BAM when it is unpacked
_NOT_THE_READ_ITSELF = 0x900  # flags: a secondary or supplementary alignment, which repeats a read
_HINT = (
    "copy it here again; or, where it is CRAM whose reference is not here, make BAM of it "
    "(samtools view -b -T reference.fa), or name the references' folder in REF_PATH"
)


def alignment_blocks(path: Path, letters: int) -> Iterator[Block]:
    """The reads in the order of the file, about `letters` letters at a time; one that is mapped in reverse is
    turned back, and secondary and supplementary alignments are left out.

    Raises `InputError` where pysam is not installed, for a file that is cut off or damaged, and, naming the
    read by its number among those that count, for what no sequence may hold.
    """
    try:
        import pysam
    except ImportError:
        raise InputError(
            f"{path}: BAM and CRAM are read with pysam, which is not installed: pip install "
            "'virnucpro[bam]', or make FASTQ of it (samtools fastq)"
        ) from None
    pysam.set_verbosity(0)  # what it would print is said here
    os.environ.setdefault("REF_PATH", os.devnull)  # else htslib may look for references in the network
    number = 1
    ids: list[bytes] = []
    sequences: list[bytes] = []
    for id, sequence in _reads(path, pysam):
        ids.append(id)
        sequences.append(sequence)
        if len(sequences) % 64 == 0 and sum(map(len, sequences)) >= letters:
            yield _checked(path, number, ids, sequences)
            number, ids, sequences = number + len(ids), [], []
    if ids:
        yield _checked(path, number, ids, sequences)


def _reads(path: Path, pysam: Any) -> Iterator[tuple[bytes, bytes]]:
    read = 0
    try:
        with pysam.AlignmentFile(str(path), "r", check_sq=False) as file:
            for segment in file.fetch(until_eof=True):
                if not segment.flag & _NOT_THE_READ_ITSELF:
                    read += 1
                    yield (segment.query_name or "").encode(), (segment.get_forward_sequence() or "").encode()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: is cut off or damaged behind read {read} ({error}); {_HINT}") from None


def _checked(path: Path, number: int, ids: list[bytes], sequences: list[bytes]) -> Block:
    block = block_of(number, ids, sequences)
    if block is None or not all(sequences) or b"".join(sequences).translate(None, NUCLEOTIDES):
        for read, (id, sequence) in enumerate(zip(ids, sequences, strict=True), number):
            if not id:
                raise InputError(f"{path}: read {read} has no name")
            check_sequence(f"{path}: read {read}, {id.decode()!r},", sequence)
    assert block
    return block
