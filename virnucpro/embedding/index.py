"""The index: where each protein stands on disk, and which are equal. No sequence stays in memory."""

import hashlib
import os
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from virnucpro.errors import InputError
from virnucpro.sequences.digests import digest
from virnucpro.sequences.fasta import read_frames
from virnucpro.sequences.records import first_word

SPAN = np.dtype([("file", "<i4"), ("bytes", "<i4"), ("start", "<i8"), ("letters", "<i4")])
_HEADER = 4_096  # bytes before a protein in which its header is looked for, to name it in an error


@dataclass(frozen=True)
class Index:
    """`records` in each of `files`; `spans` (unique proteins,) of `SPAN`; `unique_of` (all records,) the
    protein of each record, in input order; `content` a digest of all proteins."""

    files: list[Path]
    records: list[int]
    spans: npt.NDArray[np.void]
    unique_of: npt.NDArray[np.int64]
    content: str


def build_index(outputs: Iterable[Sequence[Path]]) -> Index:
    """Read the FASTA files of all `outputs` once.

    Raises `InputError` for an empty record, what is no FASTA, or two records of one id in one output.
    """
    scan = _Scan()
    files: list[Path] = []
    records: list[int] = []
    for own_files in outputs:
        first = len(scan.start)
        for path in own_files:
            records.append(scan.read(path))
        _refuse_repeats(own_files, np.frombuffer(scan.ids, "<u8")[first:])
        files += own_files
    spans = np.empty(len(scan.start), dtype=SPAN)
    spans["file"] = np.repeat(np.arange(len(files)), records)
    spans["start"], spans["bytes"], spans["letters"] = scan.start, scan.bytes, scan.letters
    low, high = np.frombuffer(scan.proteins, "<u8").reshape(-1, 2).T
    order = np.lexsort((low, high))  # stable: of equal proteins, the first one stands first
    low, high = low[order], high[order]
    new = np.ones(len(order), dtype=bool)
    new[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    unique_of = np.empty(len(order), dtype=np.int64)
    unique_of[order] = np.cumsum(new) - 1
    content = hashlib.blake2b(np.stack([low[new], high[new]]).tobytes(), digest_size=16).hexdigest()
    return Index(files, records, spans[order[new]], unique_of, content)


class _Scan:
    """What is kept of each record, 40 bytes: where its letters start, how many bytes they span, how many they
    are, and digests of its id and of its letters."""

    def __init__(self) -> None:
        self.start, self.bytes, self.letters = array("q"), array("i"), array("i")
        self.ids, self.proteins = bytearray(), bytearray()

    def read(self, path: Path) -> int:
        """Add a file's records; their number."""
        before = len(self.start)
        position = 0
        parts: list[bytes] = []
        with path.open("rb") as file:
            for line in file:
                position += len(line)
                if line.startswith(b">"):
                    if len(self.start) > before:
                        self._end(path, before, position - len(line), parts)
                    self.ids += hashlib.blake2b(first_word(line[1:].strip()), digest_size=8).digest()
                    self.start.append(position)
                    parts = []
                elif len(self.start) > before:
                    parts.append(line.strip())
                else:
                    raise InputError(
                        f"{path}: not a FASTA file of proteins; its first line does not start with '>'"
                    )
        if len(self.start) > before:
            self._end(path, before, position, parts)
        return len(self.start) - before

    def _end(self, path: Path, before: int, position: int, parts: list[bytes]) -> None:
        protein = b"".join(parts)
        if not protein:
            raise InputError(f"{path}: record {len(self.start) - before} has no residues")
        self.bytes.append(position - self.start[-1])
        self.letters.append(len(protein))
        self.proteins += hashlib.blake2b(protein, digest_size=16).digest()


def _refuse_repeats(files: Sequence[Path], digests: npt.NDArray[np.uint64]) -> None:
    """Raise `InputError` when two records of the files have one id: a row could not be told from another."""
    ordered = np.sort(digests)
    suspects = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
    known: dict[str, Path] = {}
    for path in files if suspects else ():
        for id, _ in read_frames(path):
            if digest(id.encode()) in suspects:
                if id in known:
                    raise InputError(
                        f"{path}: id {id!r} comes twice (first in {known[id]}); ids must be unique"
                    )
                known[id] = path


class ProteinReader:
    """Reads proteins by their span; holds one open file each."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = list(files)
        self._descriptors = [os.open(path, os.O_RDONLY) for path in files]

    def read(self, spans: npt.NDArray[np.void]) -> list[bytes]:
        """The proteins of `spans` (n,), in that order."""
        raw = (os.pread(self._descriptors[file], size, start) for file, size, start, _ in spans.tolist())
        return [b"".join(text.split()) for text in raw]

    def name(self, span: np.void) -> str:
        """The record of a span, for an error message: its file and its header's first word."""
        file, _, start, _ = span.tolist()
        before = os.pread(self._descriptors[file], min(_HEADER, start), max(start - _HEADER, 0))
        id = first_word(before[before.rfind(b">") + 1 :].strip())
        return f"{self._files[file]}: {id.decode(errors='replace')!r}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)
