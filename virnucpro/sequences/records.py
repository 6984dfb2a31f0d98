"""Records of sequences, one and many, and the checks that those of every format pass."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from virnucpro.errors import InputError

BLANKS = b" \t\n\r\v\f"
NUCLEOTIDES = b"ACGTURYKMSWBDHVNacgturykmswbdhvn"
_GAPS, _PROTEIN = frozenset(b"-."), frozenset(b"EFILPQZXJO*-.")  # beside the nucleotides' letters
_RNA_TO_DNA = str.maketrans("Uu", "Tt")


@dataclass(frozen=True, slots=True)
class Record:
    """One record: `number` counts from 1, `id` is the header's first word, `sequence` as written; `numbered`
    where ids may repeat."""

    number: int
    id: str
    header: str
    sequence: str
    numbered: bool = False

    @property
    def dna(self) -> str:
        """The sequence with U read as T; case and every other letter kept."""
        return self.sequence.translate(_RNA_TO_DNA)

    @property
    def name(self) -> str:
        """What its windows and frames are called after: the id, or one that no other record can have."""
        return _name(self.number, self.id, self.numbered)


@dataclass(frozen=True, slots=True)
class Block:
    """Records in a row, the first of which is number `first`: their headers, the headers' first words, and
    their sequences as written; `numbered` as records have it."""

    first: int
    headers: list[str]
    ids: list[str]
    sequences: list[bytes]
    numbered: bool = False

    @property
    def names(self) -> list[str]:
        """Of each record, as it has it."""
        if not self.numbered:
            return self.ids
        return [_name(number, id, True) for number, id in enumerate(self.ids, self.first)]

    def between(self, start: int, end: int) -> "Block":
        """Some of them."""
        here = slice(start, end)
        return Block(
            self.first + start, self.headers[here], self.ids[here], self.sequences[here], self.numbered
        )

    def records(self) -> Iterator[Record]:
        """One after the other; a sequence that has been taken is gone from here."""
        for place, (header, id) in enumerate(zip(self.headers, self.ids, strict=True)):
            sequence, self.sequences[place] = self.sequences[place].decode(), b""
            yield Record(self.first + place, id, header, sequence, self.numbered)
            del sequence


def _name(number: int, id: str, numbered: bool) -> str:
    return f"{number}|{id}" if numbered else id


def first_word(header: bytes) -> bytes:
    """The id that a header begins with: it ends at a blank or a tab alone."""
    return header.split(b" ", 1)[0].split(b"\t", 1)[0]


def block_of(first: int, headers: list[bytes], sequences: list[bytes]) -> Block | None:
    """Records from number `first` on, or None where a header has no name, or is no UTF-8."""
    ids = [first_word(header) for header in headers]
    if not all(ids):
        return None
    try:
        texts = b"\n".join([*headers, *ids]).decode().split("\n")
    except UnicodeDecodeError:
        return None
    return Block(first, texts[: len(headers)], texts[len(headers) :] if headers else [], sequences)


def check_header(path: Path, number: int, line: int, header: bytes, sign: str) -> tuple[str, str]:
    """The record's id, and the words that say where it stands."""
    where = f"{path}: record {number} (line {line})"
    try:
        header.decode()
    except UnicodeDecodeError:
        raise InputError(f"{where}: the header is not UTF-8 text; save the file as UTF-8") from None
    id = first_word(header).decode()
    if not id:
        raise InputError(f"{where} has no name after {sign!r}")
    return id, f"{where}, {id!r},"


def check_sequence(where: str, sequence: bytes) -> None:
    """Raise `InputError` for a sequence without a letter, or with one that is no nucleotide's."""
    if not sequence:
        raise InputError(f"{where} has no sequence; remove it or fill it in")
    if wrong := sequence.translate(None, NUCLEOTIDES):
        raise InputError(
            f"{where} holds {chr(wrong[0])!r}, which is no IUPAC nucleotide letter; {what_else(wrong)}"
        )


def what_else(wrong: bytes) -> str:
    """What a sequence with these letters that are no nucleotides' may be, and what to do."""
    letters = set(wrong.upper())
    if b"\0" in wrong or not wrong.isascii():
        return "this is binary data, or not FASTA; plain letters are needed"
    if letters <= _GAPS:
        return "this is an alignment; take its gaps out (for example with seqkit seq -g)"
    if letters >= set(b"@+"):
        return "this is FASTQ in a FASTA file; put the two into files of their own"
    if letters == set(b"X"):
        return "where it stands for masked bases, write N"
    if letters <= _PROTEIN:
        return "this looks like protein; nucleotide sequences are needed"
    return "nucleotide sequences, and nothing else, are needed"
