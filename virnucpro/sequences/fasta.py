"""FASTA in: streaming, many records at a time, checked record by record."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO

from virnucpro.errors import InputError
from virnucpro.sequences.digests import DigestLog, digest
from virnucpro.sequences.text import GZIP, text_blocks

_BLANKS = b" \t\n\r\v\f"
_NUCLEOTIDES = b"ACGTURYKMSWBDHVNacgturykmswbdhvn"
_ANY = bytes(letter for letter in range(128) if letter != ord(">"))
_GAPS, _PROTEIN = frozenset(b"-."), frozenset(b"EFILPQZXJO*-.")  # beside the nucleotides' letters
_RNA_TO_DNA = str.maketrans("Uu", "Tt")
_LONGEST_HEADER = 1 << 20
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


@dataclass(frozen=True, slots=True)
class Block:
    """Records in a row, the first of which is number `first`: their headers, the headers' first words, and
    their sequences as written."""

    first: int
    headers: list[str]
    ids: list[str]
    sequences: list[bytes]

    def between(self, start: int, end: int) -> "Block":
        """Some of them."""
        here = slice(start, end)
        return Block(self.first + start, self.headers[here], self.ids[here], self.sequences[here])

    def records(self) -> Iterator[Record]:
        """One after the other; a sequence that has been taken is gone from here."""
        for place, (header, id) in enumerate(zip(self.headers, self.ids, strict=True)):
            sequence, self.sequences[place] = self.sequences[place].decode(), b""
            yield Record(self.first + place, id, header, sequence)
            del sequence


def read_fasta(path: Path) -> Iterator[Record]:
    """Stream the records of a nucleotide FASTA file, each id once.

    Raises `InputError` where `read_blocks` does.
    """
    for block in read_blocks(path):
        yield from block.records()


def read_blocks(path: Path) -> Iterator[Block]:
    """Stream the records of a nucleotide FASTA file, each id once, many at a time.

    Raises `InputError` where `read_records` does, and for two records of one id (found once the last record
    is read).
    """
    with DigestLog() as seen:
        for block in _blocks_of(path, nucleotides=True):
            seen.add(id.encode() for id in block.ids)
            yield block
            del block
        if suspects := seen.repeated():
            _refuse_repeats(path, suspects)


def read_records(path: Path) -> Iterator[Record]:
    """Stream the records of a nucleotide FASTA file; gzip is recognised by content, not by name.

    Lower case, RNA, IUPAC letters, blank lines, line ends of any kind, and files without a record pass.
    Raises `InputError`, naming file, record and line, for anything else: a missing or unreadable file, a
    pipe, a cut gzip, FASTQ, protein, an alignment, binary data, a record without name or sequence. Memory: a
    record twice, or a few blocks of text.
    """
    for block in _blocks_of(path, nucleotides=True):
        yield from block.records()


def _refuse_repeats(path: Path, suspects: frozenset[int]) -> None:
    """Read the ids again, keep those whose digest came twice, and raise for the first real repeat."""
    first: dict[str, int] = {}
    for block in _blocks_of(path, nucleotides=True):
        for number, id in enumerate(block.ids, block.first):
            if digest(id.encode()) in suspects and (before := first.setdefault(id, number)) != number:
                raise InputError(
                    f"{path}: records {before} and {number} have one id, {id!r} (the first word of the "
                    "header); rename one of them"
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
    for block in _blocks_of(path, nucleotides=False):
        yield from ((record.id, record.sequence) for record in block.records())


class _Open:
    """A record that may go on: its number, where its header stands, the header, the sequence so far. Number 0
    is what comes before the first record."""

    def __init__(self, number: int, line: int, header: bytes, sequence: bytes) -> None:
        self.number, self.line, self.header = number, line, header
        self.parts = [sequence]

    def close(self) -> bytes:
        """The sequence, and no longer here: of a long record, no more than two copies at a time."""
        whole = b"".join(self.parts)
        self.parts.clear()
        return whole


def _blocks_of(path: Path, nucleotides: bool) -> Iterator[Block]:
    """The records of a FASTA file, line ends and blanks taken away; those that end in one block of text are a
    block. Unless they are `nucleotides`, ASCII of any kind passes, and a record without a sequence."""
    opened = _Open(0, 0, b"", b"")
    held, line = b"\n", 0  # where the next text begins; each header has a line's end before it
    for more in chain(text_blocks(path), (None,)):
        last = more is None
        text = held + (more or b"")
        end = len(text) if last else _whole_headers(text)
        text, held = text[:end], text[end:]
        if len(held) > _LONGEST_HEADER:
            line += text.count(b"\n") + 1
            raise InputError(
                f"{path}: line {line}: a header of over {_LONGEST_HEADER:,} bytes; is this FASTA?"
            )
        body, *pieces = text.split(b"\n>")  # of the record that is open, and those that follow
        if not opened.number and (found := body.strip()):
            line += body[: body.index(found)].count(b"\n")
            raise InputError(f"{path}: line {line}: {_what_instead_of_fasta(found.splitlines()[0].strip())}")
        parts = [piece.partition(b"\n") for piece in pieces]
        headers = [opened.header, *(header.strip() for header, _, _ in parts)]
        opened.parts.append(body.translate(None, _BLANKS))
        done = len(headers) - (not last)  # all but the one that is open now
        first = opened.close() if done else b""
        sequences = [first, *(sequence.translate(None, _BLANKS) for _, _, sequence in parts)]
        block = _block(opened.number, headers[:done], sequences[:done])
        if block is None or b">" in body or not _good(sequences, nucleotides):
            bodies = [body, *(end + rest for _, end, rest in parts)]
            _examine(path, opened, line, headers, bodies, sequences[:done], nucleotides)
        line += text.count(b"\n")
        if pieces:
            number = opened.number + len(pieces)
            opened = _Open(number, line - pieces[-1].count(b"\n"), headers[-1], sequences[-1])
        del body, pieces, parts, first, sequences, text, more
        if block and block.ids:
            yield block
        del block


def _whole_headers(text: bytes) -> int:
    """How much of a text to take now: not a header without its end, nor the end before a header to come."""
    end = len(text) - text.endswith(b"\n")
    start = text.rfind(b"\n>", 0, end)
    return start if start >= 0 and text.find(b"\n", start + 1, end) < 0 else end


def _block(first: int, headers: list[bytes], sequences: list[bytes]) -> Block | None:
    """Records with these headers, or None where one has no name, or is no UTF-8."""
    if not first:  # what came before the first record
        first, headers, sequences = 1, headers[1:], sequences[1:]
    ids = [header.split(None, 1)[:1] for header in headers]  # at ASCII blanks, as other programs do
    if not all(ids):
        return None
    try:
        texts = b"\n".join([*headers, *(id for [id] in ids)]).decode().split("\n")
    except UnicodeDecodeError:
        return None
    return Block(first, texts[: len(headers)], texts[len(headers) :] if headers else [], sequences)


def _good(sequences: list[bytes], nucleotides: bool) -> bool:
    """Whether these are nucleotides, or at least ASCII, all of them."""
    letters = _NUCLEOTIDES if nucleotides else _ANY
    first, *others = sequences  # a long one is not copied
    wrong = first.translate(None, letters) or b"".join(others).translate(None, letters)
    return not wrong and (not nucleotides or (all(others[:-1]) and bool(first)))


def _examine(
    path: Path,
    opened: _Open,
    line: int,
    headers: list[bytes],
    bodies: list[bytes],
    done: list[bytes],
    nucleotides: bool,
) -> None:
    """Raise `InputError` for the first record that is wrong. Of each, its header and the lines that came now,
    the first of which go on at `line`; and of those that are `done`, the sequence."""
    number, header_line = opened.number, opened.line
    for place, (header, body) in enumerate(zip(headers, bodies, strict=True)):
        if number:
            _, where = _check_header(path, number, header_line, header)
            if b">" in body:
                line += body[: body.index(b">")].count(b"\n")
                raise InputError(
                    f"{where} has a header inside line {line}: probably two files were joined without a "
                    "newline between them; put one there, or join them again (for example with awk 1)"
                )
            if place < len(done):
                _check_sequence(where, done[place], nucleotides)
        line += body.count(b"\n") + 1  # where the next header stands
        number, header_line = number + 1, line


def _check_sequence(where: str, sequence: bytes, nucleotides: bool) -> None:
    if not nucleotides:
        if not sequence.isascii():
            raise InputError(f"{where} is damaged: it holds more than letters; extract the frames again")
    elif not sequence:
        raise InputError(f"{where} has no sequence; remove it or fill it in")
    elif wrong := sequence.translate(None, _NUCLEOTIDES):
        raise InputError(
            f"{where} holds {chr(wrong[0])!r}, which is no IUPAC nucleotide letter; {_what_else(wrong)}"
        )


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
    if text.startswith(GZIP):
        return "this is gzip once more: the file was packed twice; unpack it once (with gunzip)"
    if text.startswith(b"@"):
        return "this is FASTQ; convert it to FASTA first (for example with seqtk seq -a)"
    if b"\0" in text or not text.isascii():
        return "this is binary data; a FASTA file, plain or gzip, is needed"
    return f"a FASTA file starts with '>', this one with {text[:20].decode('ascii')!r}"
