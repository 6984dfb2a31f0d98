"""`embeddings.h5` to the per-file `.pt` of v1.0, which merge reads."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import h5py
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from virnucpro.embedding.plain import ids_of, load_plain
from virnucpro.errors import InputError
from virnucpro.files import file_number
from virnucpro.models.checksums import first_line
from virnucpro.models.weights import write_torch
from virnucpro.sequences.digests import digest

_BLOCK = 16_384


def h5_to_pt(h5_path: Path, output_dir: Path, nucleotide_feature_files: Sequence[Path]) -> list[Path]:
    """Write `output_N_ESM.pt` for each `output_N_DNABERT_S.pt`, with its ids in its order.

    Ids are looked up, never taken by position. Files none of whose ids are in `h5_path` belong to another
    task's result and are left out; a file with only some of its ids there raises `InputError`, and so do a
    damaged file, a row that is not finite, and a call that would write nothing. Memory: 16 bytes an
    embedding, and one file's rows.
    """
    written = []
    with Embeddings(h5_path) as stored:
        for features in nucleotide_feature_files:
            ids = ids_of(features, load_plain(features), "nucleotide")
            at = stored.find(ids)
            if (at < 0).all() and ids:
                continue
            if (at < 0).any():
                lost = ids[int(np.argmax(at < 0))]
                raise InputError(f"{h5_path}: no embedding for id {lost!r} of {features}")
            vectors = stored.vectors(at)
            finite = np.isfinite(vectors).all(axis=1)
            if not finite.all():
                raise InputError(f"{h5_path}: the row of {ids[int(finite.argmin())]!r} is not finite")
            target = output_dir / f"output_{file_number(features)}_ESM.pt"
            save_esm_pt(target, ids, torch.from_numpy(vectors))
            written.append(target)
    if not written:
        raise InputError(f"{h5_path}: holds no id of {', '.join(map(str, nucleotide_feature_files))}")
    return written


def save_esm_pt(path: Path, ids: Sequence[str], vectors: Tensor) -> None:
    """Write v1.0's `{'proteins': [id], 'data': [(dim,) float32 tensor]}` from `vectors` (n, dim)."""
    write_torch(path, {"proteins": list(ids), "data": list(vectors)})


class Embeddings:
    """An `embeddings.h5`: `sequence_ids` (n,) UTF-8, `embeddings` (n, dim) float32.

    Where each id stands: sorted digests to guess with, the ids themselves to be sure. Raises `InputError` for
    a file that is missing, damaged, or another's.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        with self._reading():
            self._file = h5py.File(path, locking=False)  # not every file system can
            self._ids, self._vectors = self._file["sequence_ids"], self._file["embeddings"]
            ids, vectors = self._ids, self._vectors
            if not (
                isinstance(ids, h5py.Dataset)
                and isinstance(vectors, h5py.Dataset)
                and h5py.check_string_dtype(ids.dtype)
                and vectors.dtype == np.float32
                and len(vectors.shape) == 2
                and ids.shape == vectors.shape[:1]
                and vectors.nbytes <= path.stat().st_size
            ):
                raise ValueError("no sequence_ids (n,) and embeddings (n, dim) float32")
            digests = np.empty(len(ids), dtype=np.uint64)
            for start in range(0, len(ids), _BLOCK):
                digests[start : start + _BLOCK] = [digest(id) for id in ids[start : start + _BLOCK]]
        self._order = np.argsort(digests, kind="stable")
        self._digests = digests[self._order]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def find(self, wanted: Sequence[str]) -> npt.NDArray[np.int64]:
        """Row of each wanted id (n,), -1 where there is none."""
        rows = np.full(len(wanted), -1, dtype=np.int64)
        if not len(self._digests) or not wanted:
            return rows
        digests = np.array([digest(id.encode()) for id in wanted], dtype=np.uint64)
        place = np.minimum(np.searchsorted(self._digests, digests), len(self._digests) - 1)
        hit = self._digests[place] == digests
        rows[hit] = self._order[place[hit]]
        with self._reading():
            found = _read(self._ids, rows[hit])
        same = [
            id.encode() == other for id, other in zip(np.array(wanted, dtype=object)[hit], found, strict=True)
        ]
        rows[np.flatnonzero(hit)[~np.array(same, dtype=bool)]] = -1
        return rows

    def vectors(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """The embeddings in `rows` (n,), in any order: (n, dim) float32."""
        with self._reading():
            return _read(self._vectors, rows).astype(np.float32, copy=False)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """What h5py makes of HDF5's errors: it has no exception of its own."""
        try:
            yield
        except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
            raise InputError(
                f"{self._path}: cannot be read: damaged, cut off, or no file of embeddings "
                f"({first_line(error)}); embed the proteins again"
            ) from None


def _read(dataset: h5py.Dataset, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.generic]:
    """Rows of a data set in any order; one slice when they stand together, as they do in our own files."""
    if not len(rows):
        return np.asarray(dataset[0:0])
    first, last = int(rows.min()), int(rows.max())
    if last - first + 1 == len(rows):
        return np.asarray(dataset[first : last + 1])[rows - first]
    ordered, back = np.unique(rows, return_inverse=True)
    return np.asarray(dataset[ordered])[back]
