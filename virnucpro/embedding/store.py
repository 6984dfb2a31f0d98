"""Shards: what each rank has embedded, appended as it goes, and the HDF5 file they become.

A shard is two files. `rank_R-*.vectors` holds rows of float32, nothing else. `rank_R-*.rows` begins with the
key of what the shard holds and then says, a batch at a time, which proteins the vectors belong to, and seals
them: number of rows, CRC-32 of their vectors, the protein numbers, CRC-32 of all that; every field int64.
Vectors are written first, so what is sealed is there. A rank writes to new files and changes no others; a
shard counts up to the first batch that a killed process left unsealed, or that a damaged disk changed.
"""

import io
import logging
import mmap
import os
import secrets
import time
import zlib
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Self

import h5py
import numpy as np
import numpy.typing as npt

from virnucpro.embedding.hdf5 import create
from virnucpro.embedding.index import Index
from virnucpro.files import atomic, naming
from virnucpro.sequences.fasta import read_frames

FLUSH_SECONDS = 10.0  # how much a power failure may cost; a killed process costs the batches in flight alone
KEY_BYTES = 32
_BLOCK = 4_096  # entries written at once by `gather`
_CHUNK = 1 << 20  # bytes of vectors that have one sum in the HDF5 file, and are read at once
_PATTERN = "rank_*.rows"

Rows = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]
log = logging.getLogger(__name__)


class ShardWriter:
    """Appends batches to a new shard of one rank; each `append` reaches the operating system at once.

    `key` (32 bytes) stands for what the numbers of proteins mean and what the vectors were made with.
    """

    def __init__(self, folder: Path, rank: int, key: bytes) -> None:
        self._path = folder / f"rank_{rank}-{secrets.token_hex(4)}.rows"
        with naming(self._path):
            self._rows = self._path.open("xb", buffering=0)
            self._vectors = _vectors_of(self._path).open("xb", buffering=0)
            _write(self._rows, key)
        self._flushed = time.monotonic()

    def append(self, rows: Rows, vectors: Vectors) -> None:
        """Append protein numbers (n,) with their vectors (n, dim)."""
        data = vectors.astype("<f4", copy=False).tobytes()
        sealed = np.array([len(rows), zlib.crc32(data), *rows], dtype="<i8").tobytes()
        with naming(self._path):
            _write(self._vectors, data)
            _write(self._rows, sealed + np.int64(zlib.crc32(sealed)).tobytes())
            if time.monotonic() - self._flushed > FLUSH_SECONDS:
                self._flush()

    def _flush(self) -> None:
        os.fsync(self._vectors.fileno())
        os.fsync(self._rows.fileno())
        self._flushed = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with naming(self._path):
            self._flush()
        self._vectors.close()
        self._rows.close()


def recover(folder: Path, dim: int, key: bytes, proteins: int) -> Rows:
    """The proteins (n,), of `proteins` in all, whose vectors are safe in the shards of this `key`."""
    safe = [np.empty(0, dtype=np.int64)]
    for path in sorted(folder.glob(_PATTERN)):
        rows, trouble = _read_shard(path, dim, key, proteins)
        if trouble:
            log.warning("%s: %s; what it says there is not used", path, trouble)
        safe.append(rows)
    return np.unique(np.concatenate(safe))


def embedded(folder: Path, dim: int) -> int:
    """How many vectors the shards hold by now, sealed or not: for the progress bar."""
    return sum(path.stat().st_size for path in folder.glob("rank_*.vectors")) // (dim * 4)


def gather(
    folder: Path,
    dim: int,
    key: bytes,
    index: Index,
    outputs: Mapping[Path, Sequence[Path]],
    attributes: Mapping[str, str],
) -> None:
    """Write each of `outputs`, an HDF5 path and the FASTA files it stands for, in input order, streaming.

    `sequence_ids` (n,) UTF-8, `embeddings` (n, dim) float32. The files of `outputs`, one after the other, are
    those of `index`. Every sum is checked. Raises `RuntimeError` when a protein is missing or not finite.
    """
    shards, place_of = _locate(folder, dim, key, len(index.spans))
    records = iter(index.records)
    first = 0
    for output, files in outputs.items():
        count = sum(islice(records, len(files)))
        rows = index.unique_of[first : first + count]
        ids = (id for path in files for id, _ in read_frames(path))
        first += count
        with atomic(output) as temporary, create(temporary) as file:
            file.attrs.update(attributes)
            id_set = file.create_dataset("sequence_ids", (count,), dtype=h5py.string_dtype())
            sums = (
                {"chunks": (min(max(_CHUNK // (4 * dim), 1), count), dim), "fletcher32": True}
                if count
                else {}
            )
            vectors = file.create_dataset("embeddings", (count, dim), dtype="<f4", **sums)
            for start in range(0, count, _BLOCK):
                block = rows[start : start + _BLOCK]
                id_set[start : start + len(block)] = list(islice(ids, len(block)))
                vectors[start : start + len(block)] = _take(shards, place_of[block], dim)


class _Shard:
    """The vectors of one shard, mapped; `first` is the place of its first row among those of all shards."""

    def __init__(self, path: Path, first: int, count: int, dim: int) -> None:
        self.first = first
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), count * dim * 4, prot=mmap.PROT_READ)
        self._vectors = np.frombuffer(self._map, dtype="<f4").reshape(count, dim)

    def take(self, places: Rows) -> Vectors:
        """Copies of the rows at `places` (n,); the file's pages are given back, so that memory stays flat."""
        rows = self._vectors[places - self.first]
        self._map.madvise(mmap.MADV_DONTNEED)
        return rows


def _take(shards: Sequence[_Shard], places: Rows, dim: int) -> Vectors:
    vectors = np.empty((len(places), dim), dtype=np.float32)
    shard_of = np.searchsorted([shard.first for shard in shards], places, side="right") - 1
    for number in np.unique(shard_of):
        mine = shard_of == number
        vectors[mine] = shards[number].take(places[mine])
    if not np.isfinite(vectors).all():
        raise RuntimeError("a shard holds a non-finite row; remove the shards and run again")
    return vectors


def _locate(folder: Path, dim: int, key: bytes, proteins: int) -> tuple[list[_Shard], Rows]:
    """The shards, and the place of each protein among all their rows (proteins,). Two shards can hold one, as
    when a rank outlived its parent for a moment; the first counts."""
    place_of = np.full(proteins, -1, dtype=np.int64)
    shards = []
    first = 0
    for path in sorted(folder.glob(_PATTERN)):
        rows, _ = _read_shard(path, dim, key, proteins)
        if len(rows):
            new = place_of[rows] < 0
            place_of[rows[new]] = first + np.flatnonzero(new)
            shards.append(_Shard(_vectors_of(path), first, len(rows), dim))
        first += len(rows)
    if (missing := int((place_of < 0).sum())) > 0:
        raise RuntimeError(f"{folder}: {missing} of {proteins} proteins have no embedding; run it again")
    return shards, place_of


def _read_shard(path: Path, dim: int, key: bytes, proteins: int) -> tuple[Rows, str]:
    """The proteins (n,) in batches whose seal is whole, up to the first that is not; what is wrong with the
    rest, if there is any."""
    rows = [np.empty(0, dtype=np.int64)]
    with naming(path):
        content = path.read_bytes()
    if content[:KEY_BYTES] != key:
        # Shorter than a key: its rank was killed before the first row.
        return rows[0], "holds other proteins, or another model's or version's rows" if content[
            KEY_BYTES:
        ] else ""
    fields = np.frombuffer(content[KEY_BYTES : len(content) // 8 * 8], dtype="<i8")
    start = 0
    with _open_vectors(path) as vectors:
        while start + 2 < len(fields):
            count, sum_of_vectors = fields[start : start + 2].tolist()
            end = start + 2 + count
            if count < 1 or end >= len(fields) or fields[end] != zlib.crc32(fields[start:end].tobytes()):
                break
            data = vectors.read(count * dim * 4)
            if len(data) < count * dim * 4 or zlib.crc32(data) != sum_of_vectors:
                break
            batch = fields[start + 2 : end]
            if batch.min() < 0 or batch.max() >= proteins:
                break
            rows.append(batch)
            start = end + 1
    whole = KEY_BYTES + start * 8 == len(content)
    return np.concatenate(rows), "" if whole else f"torn or damaged from byte {KEY_BYTES + start * 8} on"


def _open_vectors(rows: Path) -> IO[bytes]:
    path = _vectors_of(rows)
    return path.open("rb") if path.exists() else io.BytesIO()


def _vectors_of(rows: Path) -> Path:
    return rows.with_suffix(".vectors")


def _write(file: io.FileIO, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]
