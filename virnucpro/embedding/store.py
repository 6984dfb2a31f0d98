"""Shards: what each rank has embedded, appended as it goes, and the HDF5 file they become.

A shard is a plain file of fixed-size entries: protein number, vector, CRC-32. A process killed while it
writes leaves a torn last entry, which is cut off; every entry before it counts.
"""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Self

import h5py
import numpy as np
import numpy.typing as npt

from virnucpro.embedding.index import Index
from virnucpro.files import atomic
from virnucpro.sequences.fasta import read_frames

_BLOCK = 4_096  # entries read or written at once


def entry_dtype(dim: int) -> np.dtype[np.void]:
    """One shard entry: `row` int64, `vector` (dim,) float32, `crc` of both, uint32."""
    return np.dtype([("row", "<i8"), ("vector", "<f4", (dim,)), ("crc", "<u4")])


class ShardWriter:
    """Appends rows to one shard; each `append` reaches the file at once."""

    def __init__(self, path: Path, dim: int) -> None:
        self._dtype = entry_dtype(dim)
        self._file = path.open("ab", buffering=0)

    def append(self, rows: npt.NDArray[np.int64], vectors: npt.NDArray[np.float32]) -> None:
        """Append protein numbers (n,) with their vectors (n, dim)."""
        entries = np.empty(len(rows), dtype=self._dtype)
        entries["row"], entries["vector"] = rows, vectors
        entries["crc"] = [_crc(entry) for entry in entries]
        data = memoryview(entries.tobytes())
        while data:
            data = data[self._file.write(data) :]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def recover(shards: Iterable[Path], dim: int) -> npt.NDArray[np.int64]:
    """Cut each shard at its first torn or damaged entry; the protein numbers that are safe (n,)."""
    safe = [np.empty(0, dtype=np.int64)]
    for path in shards:
        entries = _entries(path, dim)
        good = next((i for i, entry in enumerate(entries) if entry["crc"] != _crc(entry)), len(entries))
        safe.append(entries["row"][:good].copy())
        del entries
        with path.open("r+b") as file:
            file.truncate(good * entry_dtype(dim).itemsize)
    return np.concatenate(safe)


def gather(
    shards: Sequence[Path],
    dim: int,
    index: Index,
    outputs: Mapping[Path, Sequence[Path]],
    attributes: Mapping[str, str],
) -> None:
    """Write each of `outputs`, an HDF5 path and the FASTA files it stands for, in input order, streaming.

    `sequence_ids` (n,) UTF-8, `embeddings` (n, dim) float32. The files of `outputs`, one after the other, are
    those of `index`. Raises `RuntimeError` when a protein is missing, comes twice, or is damaged.
    """
    entries = [_entries(path, dim) for path in shards]
    shard_of, place_of = _locate(entries, len(index.spans))
    records = dict(zip(index.files, index.records, strict=True))
    first = 0
    for output, files in outputs.items():
        count = sum(records[path] for path in files)
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
                vectors[start : start + len(block)] = _take(entries, shard_of[block], place_of[block], dim)


def _take(
    entries: Sequence[npt.NDArray[np.void]],
    shards: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
    dim: int,
) -> npt.NDArray[np.float32]:
    """The vectors (n, dim) that stand at `places` of `shards`, checked."""
    vectors = np.empty((len(shards), dim), dtype=np.float32)
    for shard in np.unique(shards):
        mine = np.flatnonzero(shards == shard)
        found = entries[shard][places[mine]]
        if any(entry["crc"] != _crc(entry) for entry in found) or not np.isfinite(found["vector"]).all():
            raise RuntimeError(
                f"shard {shard} holds a damaged or non-finite row; remove the shards and run again"
            )
        vectors[mine] = found["vector"]
    return vectors


def _locate(
    entries: Sequence[npt.NDArray[np.void]], proteins: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    shard_of = np.full(proteins, -1, dtype=np.int64)
    place_of = np.full(proteins, -1, dtype=np.int64)
    for shard, rows in enumerate(part["row"] for part in entries):
        if len(np.unique(rows)) < len(rows) or (shard_of[rows] >= 0).any():
            raise RuntimeError(
                f"a protein was embedded twice (shard {shard}); remove the shards and run again"
            )
        shard_of[rows], place_of[rows] = shard, np.arange(len(rows))
    if (missing := int((shard_of < 0).sum())) > 0:
        raise RuntimeError(f"{missing} of {proteins} proteins have no embedding")
    return shard_of, place_of


def _entries(path: Path, dim: int) -> npt.NDArray[np.void]:
    dtype = entry_dtype(dim)
    whole = path.stat().st_size // dtype.itemsize
    if not whole:
        return np.empty(0, dtype=dtype)
    return np.memmap(path, dtype=dtype, mode="r", shape=(whole,))


def _crc(entry: np.void) -> int:
    return zlib.crc32(entry.tobytes()[:-4])
