"""FASTA, many records at a time."""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from virnucpro.errors import InputError
from virnucpro.sequences.packing import packing_of
from virnucpro.sequences.records import BLANKS, NUCLEOTIDES, Block, block_of, check_header, check_sequence

_ANY = bytes(letter for letter in range(128) if letter != ord(">"))
_LONGEST_HEADER = 1 << 20


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


def fasta_blocks(path: Path, texts: Iterable[bytes], nucleotides: bool = True) -> Iterator[Block]:
    """The records of a FASTA file that holds `texts`, line ends and blanks taken away; those that end in one
    text are a block. Unless they are `nucleotides`, ASCII of any kind passes, and a record without a
    sequence."""
    opened = _Open(0, 0, b"", b"")
    held, line = b"\n", 0  # where the next text begins; each header has a line's end before it
    for more in chain(texts, (None,)):
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
        opened.parts.append(body.translate(None, BLANKS))
        done = len(headers) - (not last)  # all but the one that is open now
        first = opened.close() if done else b""
        sequences = [first, *(sequence.translate(None, BLANKS) for _, _, sequence in parts)]
        start = int(not opened.number)  # what came before the first record is none
        block = block_of(opened.number + start, headers[start:done], sequences[start:done])
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


def _good(sequences: list[bytes], nucleotides: bool) -> bool:
    """Whether these are nucleotides, or at least ASCII, all of them."""
    letters = NUCLEOTIDES if nucleotides else _ANY
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
            _, where = check_header(path, number, header_line, header, ">")
            if b">" in body:
                line += body[: body.index(b">")].count(b"\n")
                raise InputError(
                    f"{where} has a header inside line {line}: probably two files were joined without a "
                    "newline between them; put one there, or join them again (for example with awk 1)"
                )
            if place < len(done):
                if nucleotides:
                    check_sequence(where, done[place])
                elif not done[place].isascii():
                    raise InputError(
                        f"{where} is damaged: it holds more than letters; extract the frames again"
                    )
        line += body.count(b"\n") + 1  # where the next header stands
        number, header_line = number + 1, line


def _what_instead_of_fasta(text: bytes) -> str:
    if packing := packing_of(text):
        return f"this is {packing.name} once more: the file was packed twice; unpack it once"
    if b"\0" in text or not text.isascii():
        return "this is binary data; FASTA, FASTQ, BAM or CRAM is needed"
    return f"FASTA starts with '>' and FASTQ with '@', this file with {text[:20].decode('ascii')!r}"
