"""FASTA in: streaming, plain or gzip, checked record by record."""

import logging
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

from virnucpro.errors import InputError
from virnucpro.files import naming
from virnucpro.sequences.digests import DigestLog, digest

log = logging.getLogger(__name__)
_BLOCK = 1 << 16  # bytes read at a time
_BLANKS = b" \t\n\r\v\f"
_NUCLEOTIDES = b"ACGTURYKMSWBDHVNacgturykmswbdhvn"
_GAPS, _PROTEIN = frozenset(b"-."), frozenset(b"EFILPQZXJO*-.")  # beside the nucleotides' letters
_GZIP = b"\x1f\x8b"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_RNA_TO_DNA = str.maketrans("Uu", "Tt")
LINE_WIDTH = 60


@dataclass(frozen=True, slots=True)
class Record:
    """One FASTA record: `number` counts from 1, `id` is the header's first word, `sequence` as written."""

    number: int
    id: str
    header: str
    sequence: str

    @property
    def dna(self) -> str:
        """The sequence with U read as T; case and every other letter kept."""
        return self.sequence.translate(_RNA_TO_DNA)


def read_fasta(path: Path) -> Iterator[Record]:
    """Stream the records of a nucleotide FASTA file, each id once.

    Raises `InputError` where `read_records` does, and for two records of one id (found once the last record
    is read).
    """
    with DigestLog() as seen:
        for record in read_records(path):
            seen.add(record.id.encode())
            yield record
        if suspects := seen.repeated():
            _refuse_repeats(path, suspects)


def read_records(path: Path) -> Iterator[Record]:
    """Stream the records of a nucleotide FASTA file; gzip is recognised by content, not by name.

    Lower case, RNA, IUPAC letters, blank lines, line ends of any kind, and files without a record pass.
    Raises `InputError`, naming file, record and line, for anything else: a missing or unreadable file, a
    pipe, a cut gzip, FASTQ, protein, an alignment, binary data, a record without name or sequence. Memory: a
    record twice.
    """
    for number, line, header, sequence in _raw_records(path):
        id, where = _check_header(path, number, line, header)
        if not sequence:
            raise InputError(f"{where} has no sequence; remove it or fill it in")
        if wrong := sequence.translate(None, _NUCLEOTIDES):
            raise InputError(
                f"{where} holds {chr(wrong[0])!r}, which is no IUPAC nucleotide letter; {_what_else(wrong)}"
            )
        record = Record(number, id, header.decode(), sequence.decode())
        del sequence
        yield record


def _refuse_repeats(path: Path, suspects: frozenset[int]) -> None:
    """Read the ids again, keep those whose digest came twice, and raise for the first real repeat."""
    first: dict[str, int] = {}
    for number, line, header, _ in _raw_records(path):
        id, _ = _check_header(path, number, line, header)
        if digest(id.encode()) in suspects and (before := first.setdefault(id, number)) != number:
            raise InputError(
                f"{path}: records {before} and {number} have one id, {id!r} (the first word of the header); "
                "rename one of them"
            )


def write_record(out: IO[str], id: str, sequence: str, width: int | None = LINE_WIDTH) -> None:
    """Append one record, wrapped at `width` letters, or on one line when `width` is None."""
    if width is None:
        out.write(f">{id}\n{sequence}\n")
    else:
        lines = [sequence[start : start + width] for start in range(0, len(sequence), width)]
        out.write("\n".join([f">{id}", *lines, ""]))


def read_frames(path: Path) -> Iterator[tuple[str, str]]:
    """Stream (id, letters) of a FASTA that this project wrote; which letters is not checked."""
    for number, line, header, sequence in _raw_records(path):
        id, where = _check_header(path, number, line, header)
        if not sequence.isascii():
            raise InputError(f"{where} is damaged: it holds more than letters; extract the frames again")
        yield id, sequence.decode()


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
            elif not number and (found := text.strip()):
                line = lines + text[: text.index(found)].count(b"\n") + 1
                reason = _what_instead_of_fasta(found.splitlines()[0].strip())
                raise InputError(f"{path}: line {line}: {reason}")
            if b">" in text:
                _, where = _check_header(path, number, header_line, b"".join(header))
                line = lines + text[: text.index(b">")].count(b"\n") + 1
                raise InputError(
                    f"{where} has a header inside line {line}: probably two files were joined without a "
                    "newline between them; put one there, or join them again (for example with awk 1)"
                )
            parts.append(text.translate(None, _BLANKS))
            lines += text.count(b"\n")
    if number:
        yield number, header_line, b"".join(header).strip(), _taken(parts)


def _taken(parts: list[bytes]) -> bytes:
    """The parts as one, and gone from the list: of a long record, no more than two copies at a time."""
    whole = b"".join(parts)
    parts.clear()
    return whole


def check_file(path: Path) -> None:
    """Raise `InputError` where there is no regular file, with words for what is there instead."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder; a FASTA file is needed")
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if not path.is_file():
        raise InputError(
            f"{path}: is a pipe or a device; a regular file is needed, as it is read more than once: write "
            "it to one first"
        )


def _text(path: Path) -> Iterator[bytes]:
    """The file in blocks: unpacked, every line end LF, no byte order mark."""
    held, first = b"", True
    for block in _blocks(path):
        block, held = held + block, b""
        if first and len(block) < len(_BYTE_ORDER_MARK):
            held = block
            continue
        if first:
            block, first = block.removeprefix(_BYTE_ORDER_MARK), False
        if b"\r" in block:
            if block.endswith(b"\r"):  # its LF may come with the next block
                block, held = block[:-1], b"\r"
            block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        yield block
    yield held.replace(b"\r", b"\n")


def _blocks(path: Path) -> Iterator[bytes]:
    try:
        check_file(path)
        with naming(path), path.open("rb") as file:
            packed = file.read(2) == _GZIP
            file.seek(0)
            yield from _unpacked(path, file) if packed else iter(lambda: file.read(_BLOCK), b"")
    except PermissionError:
        raise InputError(f"{path}: may not be read; check its permissions") from None
    except (EOFError, zlib.error) as error:
        raise InputError(
            f"{path}: the gzip file is cut off or damaged ({error}); copy it here again"
        ) from None


def _unpacked(path: Path, file: IO[bytes]) -> Iterator[bytes]:
    """What the members of a gzip file hold, in blocks of `_BLOCK` bytes at most; zeros behind a member, and
    what is no member behind the last one, are passed over."""
    packed = file.read(_BLOCK)
    while _GZIP.startswith(packed[:2]) and packed:
        member = zlib.decompressobj(wbits=31)  # gzip, its sum compared
        while not member.eof:
            yield member.decompress(packed, _BLOCK)
            packed = member.unconsumed_tail
            if not packed and not member.eof and not (packed := file.read(_BLOCK)):
                raise EOFError("it ends too early")
        packed = member.unused_data.lstrip(b"\0")
        while len(packed) < 2 and (more := file.read(_BLOCK)):
            packed = (packed + more).lstrip(b"\0")
    if packed:
        _warn_of_bytes_behind(path)


@cache  # a file is read more than once
def _warn_of_bytes_behind(path: Path) -> None:
    log.warning("%s: what stands behind the end of its gzip data is no gzip, and is ignored", path)


def _check_header(path: Path, number: int, line: int, header: bytes) -> tuple[str, str]:
    """The record's id, and the words that say where it stands."""
    where = f"{path}: record {number} (line {line})"
    try:
        header.decode()
    except UnicodeDecodeError:
        raise InputError(f"{where}: the header is not UTF-8 text; save the file as UTF-8") from None
    words = header.split(None, 1)  # at ASCII blanks, as other programs do
    if not words:
        raise InputError(f"{where} has no name after '>'")
    id = words[0].decode()
    return id, f"{where}, {id!r},"


def _what_else(wrong: bytes) -> str:
    """What a sequence with these letters that are no nucleotides' may be, and what to do."""
    letters = set(wrong.upper())
    if b"\0" in wrong or not wrong.isascii():
        return "this is binary data, or not FASTA; plain letters are needed"
    if letters <= _GAPS:
        return "this is an alignment; take its gaps out (for example with seqkit seq -g)"
    if letters >= set(b"@+"):
        return "this is FASTQ; convert it to FASTA first (for example with seqtk seq -a)"
    if letters == set(b"X"):
        return "where it stands for masked bases, write N"
    if letters <= _PROTEIN:
        return "this looks like protein; nucleotide sequences are needed"
    return "nucleotide sequences, and nothing else, are needed"


def _what_instead_of_fasta(text: bytes) -> str:
    if text.startswith(_GZIP):
        return "this is gzip once more: the file was packed twice; unpack it once (with gunzip)"
    if text.startswith(b"@"):
        return "this is FASTQ; convert it to FASTA first (for example with seqtk seq -a)"
    if b"\0" in text or not text.isascii():
        return "this is binary data; a FASTA file, plain or gzip, is needed"
    return f"a FASTA file starts with '>', this one with {text[:20].decode('ascii')!r}"
