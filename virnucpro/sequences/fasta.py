"""FASTA in: streaming, plain or gzip, checked record by record."""

import gzip
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from virnucpro.errors import InputError
from virnucpro.sequences.digests import DigestLog, digest

_NOT_NUCLEOTIDE = re.compile(rb"[^ACGTURYKMSWBDHVN]", re.IGNORECASE)
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

    Raises `InputError` where `read_records` does, for a file without records, and for two records of one id
    (found once the last record is read).
    """
    with DigestLog() as seen:
        for record in read_records(path):
            seen.add(record.id.encode())
            yield record
        if not seen.count:
            raise InputError(f"{path}: holds no FASTA record; a record starts with a line '>name'")
        if suspects := seen.repeated():
            _refuse_repeats(path, suspects)


def read_records(path: Path) -> Iterator[Record]:
    """Stream the records of a nucleotide FASTA file; gzip is recognised by content, not by name.

    Lower case, RNA, IUPAC letters, CRLF and blank lines pass. Raises `InputError`, naming file, record
    and line, for anything else: a missing or unreadable file, a cut gzip, FASTQ, protein, binary data,
    a record without name or sequence.
    """
    for number, line, header, sequence in _raw_records(path):
        id, where = _check_header(path, number, line, header)
        if not sequence:
            raise InputError(f"{where} has no sequence; remove it or fill it in")
        if wrong := _NOT_NUCLEOTIDE.search(sequence):
            letter = wrong.group().decode("latin-1")
            raise InputError(
                f"{where} holds {letter!r}, which is no IUPAC nucleotide letter; "
                "nucleotide sequences without gaps are needed (is this protein or an alignment?)"
            )
        yield Record(number, id, header.decode(), sequence.decode())


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
    """Stream (id, letters) of a FASTA that this project wrote; letters are not checked, empty files pass."""
    for number, line, header, sequence in _raw_records(path):
        id, _ = _check_header(path, number, line, header)
        yield id, sequence.decode("ascii")


def _raw_records(path: Path) -> Iterator[tuple[int, int, bytes, bytes]]:
    """(record number, header's line number, header, sequence) with line ends and blanks taken away."""
    number = header_line = 0
    header = b""
    parts: list[bytes] = []
    for line_number, line in enumerate(_lines(path), 1):
        if line.startswith(b">"):
            if number:
                yield number, header_line, header, b"".join(parts)
            number, header_line, header, parts = number + 1, line_number, line[1:].strip(), []
        elif text := line.strip():
            if not number:
                raise InputError(f"{path}: line {line_number}: {_what_instead_of_fasta(text)}")
            parts.append(text if b" " not in text and b"\t" not in text else b"".join(text.split()))
    if number:
        yield number, header_line, header, b"".join(parts)


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            lines: Iterable[bytes] = gzip.GzipFile(fileobj=raw) if packed else raw
            first = True
            for line in lines:
                yield line.removeprefix(b"\xef\xbb\xbf") if first else line
                first = False
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder; a FASTA file is needed") from None
    except PermissionError:
        raise InputError(f"{path}: may not be read; check its permissions") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            f"{path}: the gzip file is cut off or damaged ({error}); copy it here again"
        ) from None


def _check_header(path: Path, number: int, line: int, header: bytes) -> tuple[str, str]:
    """The record's id, and the words that say where it stands."""
    where = f"{path}: record {number} (line {line})"
    try:
        words = header.decode().split(None, 1)
    except UnicodeDecodeError:
        raise InputError(f"{where}: the header is not UTF-8 text; save the file as UTF-8") from None
    if not words:
        raise InputError(f"{where} has no name after '>'")
    return words[0], f"{where}, {words[0]!r},"


def _what_instead_of_fasta(text: bytes) -> str:
    if text.startswith(b"@"):
        return "this is FASTQ; convert it to FASTA first (for example with seqtk seq -a)"
    if b"\0" in text or not text.isascii():
        return "this is binary data; a FASTA file, plain or gzip, is needed"
    return f"a FASTA file starts with '>', this one with {text[:20].decode('ascii')!r}"
