"""The index: where each protein stands on disk, and which are equal. No sequence stays in memory."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from virnucpro.errors import InputError
from virnucpro.sequences.digests import DigestLog, digest
from virnucpro.sequences.fasta import read_frames

SPAN = np.dtype([("file", "<i4"), ("start", "<i8"), ("bytes", "<i4"), ("letters", "<i4")])


@dataclass(frozen=True)
class Index:
    """`records` in each of `files`; `spans` (unique proteins,) of `SPAN`; `unique_of` (all records,) the
    protein of each record, in input order; `content` a digest of all proteins."""

    files: list[Path]
    records: list[int]
    spans: npt.NDArray[np.void]
    unique_of: npt.NDArray[np.int64]
    content: str


def build_index(files: Sequence[Path]) -> Index:
    """Read the FASTA files once. Raises `InputError` for an empty record or what is no FASTA."""
    spans: list[tuple[int, int, int, int]] = []
    records: list[int] = []
    digests = bytearray()
    for number, path in enumerate(files):
        before = len(spans)
        for start, size, letters, protein_digest in _records(path):
            spans.append((number, start, size, letters))
            digests += protein_digest
        records.append(len(spans) - before)
    keys = np.frombuffer(bytes(digests), dtype=[("high", "<u8"), ("low", "<u8")])
    _, first, unique_of = np.unique(keys, return_index=True, return_inverse=True)
    content = hashlib.blake2b(keys[first].tobytes(), digest_size=16).hexdigest()
    return Index(list(files), records, np.array(spans, dtype=SPAN)[first], unique_of.reshape(-1), content)


def _records(path: Path) -> Iterator[tuple[int, int, int, bytes]]:
    """(byte offset of the letters, bytes they span, letters, 16-byte digest) of each record."""
    hasher = None
    start = position = letters = number = 0
    with path.open("rb") as file:
        for line in file:
            if line.startswith(b">"):
                if hasher is not None:
                    yield _record(path, number, start, position, letters, hasher.digest())
                number += 1
                hasher = hashlib.blake2b(digest_size=16)
                start, letters = position + len(line), 0
            elif hasher is None:
                raise InputError(
                    f"{path}: not a FASTA file of proteins; its first line does not start with '>'"
                )
            else:
                text = line.strip()
                letters += len(text)
                hasher.update(text)
            position += len(line)
    if hasher is not None:
        yield _record(path, number, start, position, letters, hasher.digest())


def _record(
    path: Path, number: int, start: int, end: int, letters: int, key: bytes
) -> tuple[int, int, int, bytes]:
    if not letters:
        raise InputError(f"{path}: record {number} has no residues")
    return start, end - start, letters, key


def refuse_repeated_ids(files: Sequence[Path]) -> None:
    """Raise `InputError` when two records of the files have one id: a row could not be told from another."""
    with DigestLog() as seen:
        for path in files:
            for id, _ in read_frames(path):
                seen.add(id.encode())
        if not (suspects := seen.repeated()):
            return
    known: dict[str, Path] = {}
    for path in files:
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
        self._descriptors = [os.open(path, os.O_RDONLY) for path in files]

    def read(self, spans: npt.NDArray[np.void]) -> list[str]:
        """The proteins of `spans` (n,), in that order."""
        raw = (os.pread(self._descriptors[file], size, start) for file, start, size, _ in spans.tolist())
        return [b"".join(text.split()).decode("ascii") for text in raw]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)
