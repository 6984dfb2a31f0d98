"""FASTA a record at a time: the yardstick of `virnucpro.sequences.fasta`, without its words for faults."""

import gzip
from collections.abc import Iterator
from pathlib import Path

from virnucpro.errors import InputError
from virnucpro.sequences.digests import DigestLog
from virnucpro.sequences.fasta import Record

_BLOCK = 1 << 16  # bytes read at a time
_BLANKS = b" \t\n\r\v\f"
_NUCLEOTIDES = b"ACGTURYKMSWBDHVNacgturykmswbdhvn"


def read_fasta(path: Path) -> Iterator[Record]:
    """Stream the records of a nucleotide FASTA file."""
    with DigestLog() as seen:
        for number, line, header, sequence in _raw_records(path):
            where = f"{path}: record {number} (line {line})"
            id = header.split(None, 1)[0].decode()
            if not sequence or sequence.translate(None, _NUCLEOTIDES):
                raise InputError(f"{where}, {id!r}, is no sequence of nucleotides")
            record = Record(number, id, header.decode(), sequence.decode())
            seen.add([id.encode()])
            yield record
        assert not seen.repeated()


def _raw_records(path: Path) -> Iterator[tuple[int, int, bytes, bytes]]:
    """(record number, header's line number, header, sequence) with line ends and blanks taken away."""
    number = header_line = 0
    header: list[bytes] = []
    parts: list[bytes] = []
    lines = 0  # ended so far
    in_header, fresh = False, True  # whether the next byte goes on with a header, or starts a line
    for block in _text(path):
        if in_header:
            name, end, block = block.partition(b"\n")
            header.append(name)
            lines += len(end)
            if not end:
                continue
            in_header, fresh = False, True
        if fresh:  # the end of the line before once more, so that each header has one before it
            lines, block = lines - 1, b"\n" + block
        fresh = block.endswith(b"\n")
        for place, text in enumerate(block.split(b"\n>")):
            if place:  # a header, and what follows it
                if number:
                    yield number, header_line, b"".join(header).strip(), _taken(parts)
                name, end, text = text.partition(b"\n")
                number, header, in_header = number + 1, [name], not end
                header_line = lines + 2
                lines += 1 + len(end)
            parts.append(text.translate(None, _BLANKS))
            lines += text.count(b"\n")
    if number:
        yield number, header_line, b"".join(header).strip(), _taken(parts)


def _taken(parts: list[bytes]) -> bytes:
    """The parts as one, and gone from the list: of a long record, no more than two copies at a time."""
    whole = b"".join(parts)
    parts.clear()
    return whole


def _text(path: Path) -> Iterator[bytes]:
    """The file in blocks: unpacked, every line end LF."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    held = b""
    with gzip.open(path) if packed else path.open("rb") as file:
        for block in iter(lambda: file.read(_BLOCK), b""):
            block, held = held + block, b""
            if b"\r" in block:
                if block.endswith(b"\r"):  # its LF may come with the next block
                    block, held = block[:-1], b"\r"
                block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            yield block
    yield held.replace(b"\r", b"\n")
