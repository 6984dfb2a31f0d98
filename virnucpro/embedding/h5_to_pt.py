"""`embeddings.h5` to the per-file `.pt` of v1.0, which merge reads."""

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from virnucpro.embedding.plain import load_plain
from virnucpro.errors import InputError
from virnucpro.files import file_number
from virnucpro.models.weights import write_torch
from virnucpro.sequences.digests import digest

_BLOCK = 16_384


def h5_to_pt(embeddings: Path, output: Path, nucleotide_features: Sequence[Path]) -> list[Path]:
    """Write `output_N_ESM.pt` for each `output_N_DNABERT_S.pt`, with its ids in its order.

    Ids are looked up, never taken by position. Files none of whose ids are in `embeddings` belong to another
    task's result and are left out; a file with only some of its ids there raises `InputError`, and so does a
    call that would write nothing. Memory: 16 bytes an embedding, and one file's rows.
    """
    written = []
    with h5py.File(embeddings) as file:
        rows = _Rows(file["sequence_ids"])
        for features in nucleotide_features:
            ids: list[str] = load_plain(features)["nucleotide"]
            at = rows.find(ids)
            if (at < 0).all() and ids:
                continue
            if (at < 0).any():
                lost = ids[int(np.argmax(at < 0))]
                raise InputError(f"{embeddings}: no embedding for id {lost!r} of {features}")
            target = output / f"output_{file_number(features)}_ESM.pt"
            save_esm_pt(target, ids, torch.from_numpy(_read(file["embeddings"], at)))
            written.append(target)
    if not written:
        raise InputError(f"{embeddings}: holds no id of {', '.join(map(str, nucleotide_features))}")
    return written


def save_esm_pt(path: Path, ids: Sequence[str], vectors: Tensor) -> None:
    """Write v1.0's `{'proteins': [id], 'data': [(dim,) float32 tensor]}` from `vectors` (n, dim)."""
    write_torch(path, {"proteins": list(ids), "data": list(vectors)})


class _Rows:
    """Where each id stands in `sequence_ids`: sorted digests to guess with, the ids themselves to be sure."""

    def __init__(self, ids: h5py.Dataset) -> None:
        self._ids = ids
        digests = np.empty(len(ids), dtype=np.uint64)
        for start in range(0, len(ids), _BLOCK):
            digests[start : start + _BLOCK] = [digest(id) for id in ids[start : start + _BLOCK]]
        self._order = np.argsort(digests, kind="stable")
        self._digests = digests[self._order]

    def find(self, wanted: Sequence[str]) -> npt.NDArray[np.int64]:
        """Row of each wanted id (n,), -1 where there is none."""
        rows = np.full(len(wanted), -1, dtype=np.int64)
        if not len(self._digests) or not wanted:
            return rows
        digests = np.array([digest(id.encode()) for id in wanted], dtype=np.uint64)
        place = np.minimum(np.searchsorted(self._digests, digests), len(self._digests) - 1)
        hit = self._digests[place] == digests
        rows[hit] = self._order[place[hit]]
        found = _read(self._ids, rows[hit])
        same = [
            id.encode() == other for id, other in zip(np.array(wanted, dtype=object)[hit], found, strict=True)
        ]
        rows[np.flatnonzero(hit)[~np.array(same, dtype=bool)]] = -1
        return rows


def _read(dataset: h5py.Dataset, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.generic]:
    """Rows of a data set in any order; one slice when they stand together, as they do in our own files."""
    if not len(rows):
        return np.asarray(dataset[0:0])
    first, last = int(rows.min()), int(rows.max())
    if last - first + 1 == len(rows):
        return np.asarray(dataset[first : last + 1])[rows - first]
    ordered, back = np.unique(rows, return_inverse=True)
    return np.asarray(dataset[ordered])[back]
