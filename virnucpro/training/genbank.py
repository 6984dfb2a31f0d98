"""GenBank files: records with their sequence, and the proteins that their annotation translates."""

import gzip
import re
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from Bio import BiopythonWarning, SeqIO
from Bio.Seq import UndefinedSequenceError

from virnucpro.errors import InputError
from virnucpro.sequences.text import check_file

_NO_NUCLEOTIDE = re.compile("[^ACGTURYKMSWBDHVN]")


@dataclass(frozen=True)
class GenBankRecord:
    """One record: accession with version, what a group rule is searched in, bases, proteins of its CDS."""

    id: str
    header: str  # accession, definition, organism=, taxonomy= as names separated by semicolons
    dna: str  # upper case, U read as T
    proteins: tuple[str, ...]  # the /translation of each CDS, as written


def read_genbank(path: Path) -> Iterator[GenBankRecord]:
    """Stream a GenBank flat file (Biopython's parser); gzip is recognised by content.

    Raises `InputError`, naming file and record, for what is no GenBank file, cut off, or without sequence.
    """
    check_file(path)
    number = 0
    try:
        with _text(path) as text, warnings.catch_warnings():
            warnings.simplefilter("ignore", BiopythonWarning)  # of dates, line widths: nothing that is used
            for record in SeqIO.parse(text, "genbank"):  # type: ignore[no-untyped-call]
                number += 1
                yield _record(path, record)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: the gzip file is cut off or damaged ({error}); copy it again") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is no text; a GenBank file is needed") from None
    except (ValueError, AssertionError) as error:  # what Biopython's parser raises
        raise InputError(f"{path}: record {number + 1} is no GenBank record ({error})") from None
    if not number:
        raise InputError(f"{path}: holds no GenBank record (a line that begins with LOCUS)")


def _text(path: Path) -> IO[str]:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rt", encoding="utf-8") if packed else path.open(encoding="utf-8")


def _record(path: Path, record: Any) -> GenBankRecord:
    try:
        dna = str(record.seq).upper().replace("U", "T")
    except UndefinedSequenceError:
        dna = ""
    if not dna:
        raise InputError(
            f"{path}, record {record.id}: has no sequence; fetch it with its sequence (gbwithparts)"
        )
    if wrong := _NO_NUCLEOTIDE.search(dna):
        raise InputError(f"{path}, record {record.id}: {wrong[0]!r} is no nucleotide letter")
    said = record.annotations
    organism, lineage = said.get("organism", ""), ";".join(said.get("taxonomy", []))
    words = [record.id, record.description, f"organism={organism}", f"taxonomy={lineage}"]
    proteins = [
        feature.qualifiers["translation"][0]
        for feature in record.features
        if feature.type == "CDS" and "translation" in feature.qualifiers
    ]
    return GenBankRecord(record.id, " ".join(words), dna, tuple(proteins))
