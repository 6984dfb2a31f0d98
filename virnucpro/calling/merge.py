"""Join the two embeddings of every frame by its id: DNABERT-S, then ESM-2, in one row.

Files are paired by the N in their names and rows by id, never by position: a list that is one short
would otherwise give every later frame the vector of its neighbour.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from virnucpro.embedding.plain import ids_of, load_plain
from virnucpro.errors import InputError
from virnucpro.models.weights import is_matrix, read_torch, write_torch

Matrix = npt.NDArray[np.float32]

_NAME = re.compile(r"output_(\d+)_(DNABERT_S|ESM)\.pt")


def pair_files(files: Iterable[Path]) -> list[tuple[int, Path, Path]]:
    """`(N, output_N_DNABERT_S.pt, output_N_ESM.pt)` in numeric order, whatever the order of `files`.

    Raises `InputError` for another name, a file given twice, or one without its partner.
    """
    found: dict[tuple[int, str], Path] = {}
    for path in files:
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise InputError(f"{path}: expected a name like output_1_DNABERT_S.pt or output_1_ESM.pt")
        key = (int(match[1]), match[2])
        if key in found:
            raise InputError(f"{path}: given twice (also {found[key]}); name each file once")
        found[key] = path
    pairs = []
    for n in sorted({n for n, _ in found}):
        for stage in ("DNABERT_S", "ESM"):
            if (n, stage) not in found:
                other = next(path for (m, _), path in found.items() if m == n)
                raise InputError(f"{other}: its partner output_{n}_{stage}.pt was not given")
        pairs.append((n, found[n, "DNABERT_S"], found[n, "ESM"]))
    return pairs


def read_nucleotide(path: Path) -> tuple[list[str], Matrix]:
    """Ids and float32 rows (n, d) of a DNABERT-S file; (0, 0) when it is empty."""
    ids, data = _fields(path, load_plain(path), "nucleotide")
    for id_, entry in zip(ids, data, strict=True):
        if not isinstance(entry, dict) or entry.get("label") != id_:
            raise InputError(f"{path}: the row of {id_} carries another label; make the file again")
    return ids, _matrix(path, ids, [entry.get("mean_representation") for entry in data])


def read_protein(path: Path) -> tuple[list[str], Matrix]:
    """Ids and float32 rows (n, d) of an ESM-2 file; (0, 0) when it is empty."""
    ids, data = _fields(path, read_torch(path), "proteins")
    for id_, row in zip(ids, data, strict=True):
        if not is_matrix(row, dimensions=1):
            raise InputError(f"{path}: the row of {id_} is not a vector; make the file again")
    return ids, _matrix(path, ids, [row.detach().float().numpy() for row in data])


def merge_pair(nucleotide: Path, protein: Path, output: Path) -> int:
    """Write `{'ids': [id], 'data': float32 (n, d_nucleotide + d_protein)}` in DNABERT-S order; returns n.

    Raises `InputError` when an id stands on one side only, stands twice, or a row is not finite.
    """
    ids, left = read_nucleotide(nucleotide)
    protein_ids, right = read_protein(protein)
    row_of = {id_: row for row, id_ in enumerate(protein_ids)}
    for id_ in ids:
        if id_ not in row_of:
            raise InputError(
                f"{protein}: no row for {id_}, which {nucleotide} holds; embed the proteins again"
            )
    if len(protein_ids) != len(ids):
        known = set(ids)
        extra = next(id_ for id_ in protein_ids if id_ not in known)
        raise InputError(f"{nucleotide}: no row for {extra}, which {protein} holds; embed the frames again")
    data = np.concatenate([left, right[[row_of[id_] for id_ in ids]]], axis=1)
    # The rows are one tensor, which torch writes outside the pickle: no 4 GiB limit at any protocol, and the
    # default protocol is the only one that weights_only=True reads.
    write_torch(output, {"ids": ids, "data": torch.from_numpy(data)})
    return len(ids)


def merge(files: Iterable[Path], directory: Path) -> list[Path]:
    """Merge every pair among `files` into `directory/output_N_merged.pt`; returns these, in order of N."""
    outputs = []
    for n, nucleotide, protein in pair_files(files):
        output = directory / f"output_{n}_merged.pt"
        merge_pair(nucleotide, protein, output)
        outputs.append(output)
    return outputs


def _fields(path: Path, content: Any, key: str) -> tuple[list[str], list[Any]]:
    """The ids under `key` and the rows beside them, checked against each other."""
    ids = ids_of(path, content, key)
    data = content.get("data")
    if not isinstance(data, list):
        raise InputError(f"{path}: no list of rows under 'data'; make the file again")
    if len(ids) != len(data):
        raise InputError(f"{path}: {len(ids)} ids but {len(data)} rows; make the file again")
    return ids, data


def _matrix(path: Path, ids: Sequence[str], rows: Sequence[Any]) -> Matrix:
    if not rows:
        return np.zeros((0, 0), dtype=np.float32)
    width = len(rows[0]) if isinstance(rows[0], (list, np.ndarray)) else 0
    for id_, row in zip(ids, rows, strict=True):
        if not isinstance(row, (list, np.ndarray)) or len(row) != width:
            raise InputError(f"{path}: the row of {id_} has not the {width} values of the first row")
    try:
        with np.errstate(over="ignore"):  # a number beyond float32 is found below
            matrix: Matrix = np.array(rows, dtype=np.float32)
    except (TypeError, ValueError, OverflowError):
        matrix = np.empty(0, dtype=np.float32)
    if matrix.ndim != 2:
        raise InputError(f"{path}: the rows are not plain numbers; make the file again")
    finite = np.isfinite(matrix).all(axis=1)
    if not finite.all():
        raise InputError(f"{path}: the row of {ids[int(finite.argmin())]} is not finite; embed it again")
    return matrix
