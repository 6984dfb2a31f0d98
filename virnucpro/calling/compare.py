"""How two runs differ: inputs, calls, scores, embeddings, and what each run says of itself."""

import csv
import json
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

from virnucpro.calling.predict import read_merged
from virnucpro.errors import InputError
from virnucpro.files import file_number

T = TypeVar("T")
Vector = npt.NDArray[np.float32]

NOTABLE = 1e-3  # a difference of a score that is counted
_RESULTS = "prediction_results.txt"
_OF_A_STAGE = ("architecture", "engine", "attention", "device", "device_name", "precision")


@dataclass(frozen=True, slots=True)
class Run:
    """The results of a run: its samples' folders by name, and its `run_info.json`."""

    samples: Mapping[str, Path]
    info: Mapping[str, Any]

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Raises `InputError` for a folder that holds no finished run."""
        samples = {path.parent.name: path.parent for path in sorted(folder.glob(f"*/{_RESULTS}"))}
        try:
            info = json.loads((folder / "pipeline_info" / "run_info.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            info = None
        if not samples or not isinstance(info, dict):
            raise InputError(
                f"{folder}: no results of a run (<sample>/{_RESULTS}, pipeline_info/run_info.json)"
            )
        return cls(samples, info)


@dataclass
class Spread:
    """Differences of one kind: all of them, and the largest with its id."""

    values: "array[float]" = field(default_factory=lambda: array("d"))
    largest: float = 0.0
    where: str = ""

    def add(self, id: str, value: float) -> None:
        self.values.append(value)
        if value > self.largest or not self.where:
            self.largest, self.where = value, id

    def share_over(self, limit: float) -> float:
        """The share of the differences above `limit`, 0 to 1."""
        return float(np.mean(np.array(self.values) > limit)) if self.values else 0.0

    @property
    def median(self) -> float:
        return float(np.median(self.values)) if self.values else 0.0


@dataclass
class Difference:
    """One sample in two runs. `calls`: (id, one's call, the other's) where they differ; `scores` of the
    frames, absolute; `embeddings`: relative L2 by encoder, none where a run kept no intermediate files."""

    both: int = 0
    only_one: list[str] = field(default_factory=list)
    only_other: list[str] = field(default_factory=list)
    calls: list[tuple[str, str, str]] = field(default_factory=list)
    frames_in_one_run: int = 0
    scores: Spread = field(default_factory=Spread)
    embeddings: dict[str, Spread] = field(default_factory=dict)

    @property
    def same(self) -> bool:
        """The same sequences with the same calls."""
        return not (self.only_one or self.only_other or self.calls)


def compare_sample(name: str, one: Run, other: Run) -> Difference:
    """Compare a sample that both runs have, by the ids of its sequences and frames, in any order."""
    folders = one.samples[name], other.samples[name]
    found = Difference()
    for id, call, other_call in paired(*(_column(f / f"{name}_contigs.tsv", "call") for f in folders)):
        if call is None:
            found.only_other.append(id)
        elif other_call is None:
            found.only_one.append(id)
        else:
            found.both += 1
            if call != other_call:
                found.calls.append((id, call, other_call))
    for id, score, twin in paired(*(_column(f / _RESULTS, "score2", "Sequence_ID") for f in folders)):
        if score is None or twin is None:
            found.frames_in_one_run += 1
        else:
            found.scores.add(id, abs(float(score) - float(twin)))
    merged = [sorted(f.glob("intermediate/merged/output_*_merged.pt"), key=file_number) for f in folders]
    if all(merged):
        sizes = [run.info["model_set"]["embedding_sizes"] for run in (one, other)]
        if sizes[0] != sizes[1]:
            raise InputError(f"{name}: embeddings of different sizes, {sizes[0]} and {sizes[1]}")
        for id, row, twin_row in paired(*map(_rows, merged)):
            if row is not None and twin_row is not None:
                _add_embeddings(found.embeddings, id, row, twin_row, sizes[0])
    return found


def differing_facts(one: Run, other: Run) -> list[tuple[str, str, str]]:
    """(name, one's value, the other's) of versions, models, options and stages, where they differ."""
    left, right = (dict(_facts(run.info)) for run in (one, other))
    names = [*left, *(name for name in right if name not in left)]
    pairs = ((name, left.get(name, "-"), right.get(name, "-")) for name in names)
    return [(name, value, twin) for name, value, twin in pairs if value != twin]


def paired(
    one: Iterable[tuple[str, T]], other: Iterable[tuple[str, T]]
) -> Iterator[tuple[str, T | None, T | None]]:
    """(id, one's value, the other's), None where an id has no twin. Equal orders need no memory.

    >>> list(paired([("a", 1), ("b", 2)], [("b", 3), ("c", 4)]))
    [('b', 2, 3), ('a', 1, None), ('c', None, 4)]
    """
    left: dict[str, T] = {}
    right: dict[str, T] = {}
    for row, twin in zip_longest(one, other):
        if row and twin and row[0] == twin[0]:
            yield row[0], row[1], twin[1]
            continue
        if row:
            left[row[0]] = row[1]
        if twin:
            right[twin[0]] = twin[1]
        for id in {pair[0] for pair in (row, twin) if pair}:
            if id in left and id in right:
                yield id, left.pop(id), right.pop(id)
    for id, value in left.items():
        yield id, value, None
    for id, value in right.items():
        yield id, None, value


def _column(path: Path, column: str, id_column: str = "sequence_id") -> Iterator[tuple[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as table:
            for row in csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE):
                yield row[id_column], row[column]
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; is the run finished?") from None
    except KeyError as error:
        raise InputError(f"{path}: no column {error}") from None


def _rows(merged: Iterable[Path]) -> Iterator[tuple[str, Vector]]:
    for path in merged:
        ids, data = read_merged(path)
        yield from zip(ids, data.numpy(), strict=True)


def _add_embeddings(
    found: dict[str, Spread], id: str, row: Vector, twin: Vector, sizes: Mapping[str, int]
) -> None:
    start = 0
    for encoder, size in sizes.items():
        part, twin_part = row[start : start + size], twin[start : start + size]
        distance = float(np.linalg.norm(part - twin_part) / max(float(np.linalg.norm(part)), 1e-30))
        found.setdefault(encoder, Spread()).add(id, distance)
        start += size


def _facts(info: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for group in ("versions", "model_set", "options"):
        for name, value in info.get(group, {}).items():
            if isinstance(value, dict):
                yield from ((f"{group}.{name}.{key}", str(inner)) for key, inner in value.items())
            else:
                yield f"{group}.{name}", str(value)
    for stage in info.get("embedding", []):
        yield from ((f"{stage['stage']}.{name}", str(stage[name])) for name in _OF_A_STAGE)
