"""The dataset folder: windows to train, validate and test on, where they come from, and what was done."""

import csv
import gzip
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from virnucpro.errors import InputError
from virnucpro.sequences.fasta import read_frames, read_records
from virnucpro.training.annotated import annotated_frames, proteins_of
from virnucpro.training.data import LABEL_NAMES, LABELS, Split
from virnucpro.training.draw import Material, Window

MANIFEST, GENOMES = "manifest.json", "genomes.tsv"


@dataclass(frozen=True)
class Windows:
    """Windows in the order in which they were drawn, class by class; five columns of n."""

    ids: list[str]  # "<record>:<start>-<end>", 1-based and inclusive
    sequences: list[str]  # upper case
    labels: NDArray[np.int8]  # (n,) 1 virus, 0 others
    kinds: list[str]  # the class
    groups: list[str]  # what was kept on one side of the split

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, rows: Iterable[tuple[str, str, int, str, str]]) -> Self:
        """From rows of id, sequence, label, class, group."""
        ids, sequences, labels, kinds, groups = (
            list(column) for column in zip(*rows, strict=True) or [()] * 5
        )
        return cls(ids, sequences, np.array(labels, dtype=np.int8), kinds, groups)

    def __add__(self, other: Self) -> Self:
        """These, then the others."""
        labels = np.concatenate([self.labels, other.labels])
        texts = [
            getattr(self, name) + getattr(other, name) for name in ("ids", "sequences", "kinds", "groups")
        ]
        return type(self)(texts[0], texts[1], labels, texts[2], texts[3])


def windows_file(folder: Path, split: Split) -> Path:
    """Where the windows of a split are."""
    return folder / f"{split}.fa.gz"


def frame_files(folder: Path, split: Split) -> tuple[Path, Path]:
    """Where the annotated frames of a split are: their DNA, their proteins."""
    return folder / f"{split}_frames.fa.gz", folder / f"{split}_frames.faa.gz"


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a dataset folder. Raises `InputError` where there is none, or a damaged one."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"{path}: no such file; give a folder that `virnucpro dataset build` has made"
        ) from None
    except ValueError as error:
        raise InputError(f"{path}: damaged ({error}); build the dataset again") from None
    if not isinstance(manifest, dict) or "counts" not in manifest:
        raise InputError(f"{path}: is no manifest of a dataset; build the dataset again")
    return manifest


def read_windows(folder: Path, split: Split) -> Windows:
    """The windows of one split. Raises `InputError` for a folder that is no dataset, or not whole."""
    manifest = read_manifest(folder)
    path = windows_file(folder, split)
    windows = _read(path)
    expected = sum(row["windows"] for row in manifest["counts"] if row["split"] == split)
    if len(windows) != expected:
        raise InputError(
            f"{path}: {len(windows)} windows, but {MANIFEST} says {expected}; build the dataset again"
        )
    return windows


def _read(path: Path) -> Windows:
    return Windows.of(
        (record.id, record.sequence.upper(), LABELS[facts["label"]], facts["class"], facts["group"])
        for record in read_records(path)
        for facts in [_facts(path, record.header)]
    )


def _facts(path: Path, header: str) -> dict[str, str]:
    facts = dict(part.split("=", 1) for part in header.split("\t")[1:] if "=" in part)
    if facts.get("label") not in LABELS or not {"class", "group"} <= facts.keys():
        raise InputError(f"{path}: header {header!r} does not say label, class and group")
    return facts


def read_annotated_frames(folder: Path, split: Split) -> tuple[Windows, list[str]]:
    """The frames that `--frames annotated` keeps: their DNA as `Windows`, their proteins beside it.

    Ids are the original's, `<record>_chunk_<k><F1..R3>`. Raises `InputError` where the folder has none.
    """
    dna, proteins = frame_files(folder, split)
    frames = _read(dna)
    letters = dict(read_frames(proteins))
    if list(letters) != frames.ids:
        raise InputError(f"{proteins}: does not hold the frames of {dna.name}; build the dataset again")
    return frames, list(letters.values())


def write_windows(folder: Path, material: Material, split: Split, drawn: Sequence[Window]) -> None:
    """The windows of one split, in their order."""
    _write_fasta(
        windows_file(folder, split),
        (
            (
                _header(material, window, f":{window.start + 1}-{window.end}"),
                material.dna(window),
            )
            for window in drawn
        ),
    )


def write_frames(folder: Path, material: Material, split: Split, drawn: Sequence[Window]) -> None:
    """The annotated frames of these windows: DNA and protein, under the original's names."""
    frames = [
        (_header(material, window, f"_chunk_{window.number}{frame.name}"), frame)
        for window in drawn
        for frame in annotated_frames(material.dna(window), proteins_of(material.of(window)))
    ]
    dna, proteins = frame_files(folder, split)
    _write_fasta(dna, ((header, frame.nucleotide) for header, frame in frames))
    _write_fasta(proteins, ((header, frame.protein) for header, frame in frames))


def write_genomes(folder: Path, material: Material) -> None:
    """Which record is of which class and group, and on which side of the split."""
    with (folder / GENOMES).open("w", newline="", encoding="utf-8") as text:
        writer = csv.writer(text, delimiter="\t", lineterminator="\n")
        writer.writerow(["record", "class", "label", "group", "split", "bases"])
        for genome, name, split in zip(material.genomes, material.names, material.split, strict=True):
            label = LABEL_NAMES[genome.label]
            writer.writerow([name, genome.kind, label, genome.group, split, len(genome.dna)])


def _header(material: Material, window: Window, end: str) -> str:
    genome, name = material.of(window), material.names[window.genome]
    return f"{name}{end}\tlabel={LABEL_NAMES[genome.label]}\tclass={genome.kind}\tgroup={genome.group}"


def _write_fasta(path: Path, records: Iterable[tuple[str, str]]) -> None:
    """Write (header, letters) as gzip; the same records give the same bytes."""
    with path.open("wb") as file, gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:
        for header, letters in records:
            packed.write(f">{header}\n{letters}\n".encode())
