"""Shards: what each rank has embedded, appended as it goes, and the HDF5 file they become.

A shard is two files. `rank_R.vectors` holds rows of float32, nothing else. `rank_R.rows` says, a batch at a
time, which proteins they belong to, and seals them: number of rows, CRC-32 of their vectors, the protein
numbers, CRC-32 of all that; every field int64. Vectors are written first, so what is sealed is there; what a
killed process left unsealed, or a damaged disk changed, is cut off together with all after it.
"""

import fcntl
import io
import mmap
import os
import time
import zlib
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Self

import h5py
import numpy as np
import numpy.typing as npt

from virnucpro.embedding.index import Index
from virnucpro.files import atomic
from virnucpro.sequences.fasta import read_frames

FLUSH_SECONDS = 10.0  # how much a power failure may cost; a killed process costs the batches in flight alone
_BLOCK = 4_096  # entries written at once by `gather`
_PATTERN = "rank_*.rows"

Rows = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]


class ShardWriter:
    """Appends batches to the shard of one rank; each `append` reaches the operating system at once.

    Locked while it is open: `recover` waits for a rank that its parent has outlived.
    """

    def __init__(self, folder: Path, rank: int) -> None:
        self._rows = (folder / f"rank_{rank}.rows").open("ab", buffering=0)
        fcntl.flock(self._rows, fcntl.LOCK_EX)
        self._vectors = _vectors_of(Path(self._rows.name)).open("ab", buffering=0)
        self._flushed = time.monotonic()

    def append(self, rows: Rows, vectors: Vectors) -> None:
        """Append protein numbers (n,) with their vectors (n, dim)."""
        data = vectors.astype("<f4", copy=False).tobytes()
        sealed = np.array([len(rows), zlib.crc32(data), *rows], dtype="<i8").tobytes()
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
        self._flush()
        self._vectors.close()
        self._rows.close()


def recover(folder: Path, dim: int) -> Rows:
    """Cut each shard in `folder` at its first torn or damaged batch; the proteins (n,) that are safe."""
    safe = [np.empty(0, dtype=np.int64)]
    for path in sorted(folder.glob(_PATTERN)):
        with path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # a rank may need a moment to see that its parent is gone
            rows, sealed = _read_shard(path, dim)
            file.truncate(sealed)
            _vectors_of(path).touch()
            os.truncate(_vectors_of(path), len(rows) * dim * 4)
        safe.append(rows)
    return np.concatenate(safe)


def embedded(folder: Path, dim: int) -> int:
    """How many vectors the shards hold by now, sealed or not: for the progress bar."""
    return sum(path.stat().st_size for path in folder.glob("rank_*.vectors")) // (dim * 4)


def gather(
    folder: Path,
    dim: int,
    index: Index,
    outputs: Mapping[Path, Sequence[Path]],
    attributes: Mapping[str, str],
) -> None:
    """Write each of `outputs`, an HDF5 path and the FASTA files it stands for, in input order, streaming.

    `sequence_ids` (n,) UTF-8, `embeddings` (n, dim) float32. The files of `outputs`, one after the other, are
    those of `index`. Every sum is checked. Raises `RuntimeError` when a protein is missing, comes twice, or
    is damaged.
    """
    shards, place_of = _locate(folder, dim, len(index.spans))
    records = iter(index.records)
    first = 0
    for output, files in outputs.items():
        count = sum(islice(records, len(files)))
        rows = index.unique_of[first : first + count]
        ids = (id for path in files for id, _ in read_frames(path))
        first += count
        with atomic(output) as temporary, h5py.File(temporary, "w") as file:
            file.attrs.update(attributes)
            id_set = file.create_dataset("sequence_ids", (count,), dtype=h5py.string_dtype())
            vectors = file.create_dataset("embeddings", (count, dim), dtype="<f4")
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


def _locate(folder: Path, dim: int, proteins: int) -> tuple[list[_Shard], Rows]:
    """The shards, and the place of each protein among all their rows (proteins,)."""
    place_of = np.full(proteins, -1, dtype=np.int64)
    shards = []
    first = 0
    for path in sorted(folder.glob(_PATTERN)):
        rows, sealed = _read_shard(path, dim)
        if sealed != path.stat().st_size or _vectors_of(path).stat().st_size != len(rows) * dim * 4:
            raise RuntimeError(f"{path}: damaged; run again with the same checkpoint folder to mend it")
        if len(np.unique(rows)) < len(rows) or (place_of[rows] >= 0).any():
            raise RuntimeError(f"{path}: a protein was embedded twice; remove the shards and run again")
        if len(rows):
            place_of[rows] = first + np.arange(len(rows))
            shards.append(_Shard(_vectors_of(path), first, len(rows), dim))
        first += len(rows)
    if (missing := int((place_of < 0).sum())) > 0:
        raise RuntimeError(f"{missing} of {proteins} proteins have no embedding")
    return shards, place_of


def _read_shard(path: Path, dim: int) -> tuple[Rows, int]:
    """The proteins (n,) in batches whose seal is whole, up to the first that is not; bytes of the seals."""
    fields = np.fromfile(path, dtype="<i8")
    rows = [np.empty(0, dtype=np.int64)]
    start = 0
    with _vectors_of(path).open("ab+") as vectors:
        vectors.seek(0)
        while start + 2 < len(fields):
            count, sum_of_vectors = fields[start : start + 2].tolist()
            end = start + 2 + count
            if count < 1 or end >= len(fields) or fields[end] != zlib.crc32(fields[start:end].tobytes()):
                break
            data = vectors.read(count * dim * 4)
            if len(data) < count * dim * 4 or zlib.crc32(data) != sum_of_vectors:
                break
            rows.append(fields[start + 2 : end])
            start = end + 1
    return np.concatenate(rows), start * 8


def _vectors_of(rows: Path) -> Path:
    return rows.with_suffix(".vectors")


def _write(file: io.FileIO, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]
