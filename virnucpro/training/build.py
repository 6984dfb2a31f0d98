"""From a table of genomes to a dataset folder: `build_dataset`."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from virnucpro import __version__
from virnucpro.errors import InputError
from virnucpro.files import atomic
from virnucpro.models.checksums import file_sha256
from virnucpro.sequences.frames import has_open_frame
from virnucpro.training.annotated import annotated_windows
from virnucpro.training.data import (
    SPLITS,
    Genome,
    Source,
    Split,
    data_facts,
    fasta_files,
    load_genomes,
    read_table,
)
from virnucpro.training.dataset import MANIFEST, write_frames, write_genomes, write_windows
from virnucpro.training.draw import Lengths, Material, Window, at_random, draw, unique
from virnucpro.training.kinship import Barriers, Rules, check, family_names, find_shared, named, related
from virnucpro.training.splits import HELD_OUT_SHARE, split_groups

HELD_OUT_WINDOWS = 5  # of as many windows to train on, validation and test have one each
_MOST_LEAKS = 1000  # pairs in the manifest

Log = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """Everything, beside the table and its files, that changes the result."""

    lengths: str = "500"
    keep_short: bool = False  # records shorter than the shortest window come whole, from 100 bases on
    windows: int = 10_000  # to train on, of each class and each length
    frames: str = "all"  # all, open, annotated
    seed: int = 1
    held_out: float = HELD_OUT_SHARE  # of the bases of each class, for validation, and again for the test
    rules: Rules = field(default_factory=Rules)


def build_dataset(
    table: Path, data_dir: Path, output: Path, leave_out: Sequence[Path], settings: Settings, log: Log
) -> dict[str, Any]:
    """Split, check, draw and write the dataset folder `output`; return its manifest.

    The same inputs and settings give the same bytes. Raises `InputError` when the table, the sequences or
    `output` do not allow it, and for a leak with `on_leak` "fail"; nothing is left behind then.
    """
    if output.exists():
        raise InputError(f"{output}: exists already; choose another folder or remove it")
    lengths = Lengths.parse(settings.lengths, settings.keep_short)
    if settings.frames == "annotated" and (len(lengths) > 1 or lengths[0].shortest < lengths[0].longest):
        raise InputError("the original cuts windows of one length: give one with --frames annotated")
    sources = read_table(table, data_dir)
    genomes = load_genomes(sources)
    if settings.frames == "annotated":
        _check_annotation(genomes)
    away = [_left_out(path) for path in leave_out]
    kept_away = load_genomes(away)
    log(f"{len(genomes)} records, {sum(len(genome.dna) for genome in genomes):,} bases")
    shared = find_shared(genomes, kept_away)
    relatives = related(shared, genomes, settings.rules.related) if settings.rules.on_leak == "drop" else {}
    if relatives:
        log(
            f"{len(relatives)} groups share sequence and are dealt as {len(set(relatives.values()))} families"
        )
    split = place(genomes, split_groups(genomes, settings.seed, settings.held_out, relatives))
    material = Material(genomes, unique([genome.id for genome in genomes]), split)
    found = check(material, shared, settings.rules, log)
    barriers = Barriers(material, shared, len(kept_away), settings.rules)
    drawn = {each: draw_split(material, each, lengths, settings, barriers) for each in SPLITS}
    rows = counts(material, drawn)
    for line in report(rows):
        log(line)
    with atomic(output) as partial:
        partial.mkdir()
        for each in SPLITS:
            write_windows(partial, material, each, drawn[each])
            if settings.frames == "annotated":
                write_frames(partial, material, each, drawn[each])
        write_genomes(partial, material)
        manifest = {
            "virnucpro": __version__,
            "settings": asdict(settings),
            "counts": rows,
            "leaks": {
                "pairs_found": len(found),
                "pairs": [named(leak, material) for leak in found[:_MOST_LEAKS]],
                "families": family_names(relatives),
                "windows_passed_over": dict(sorted(barriers.passed_over.items())),
            },
            "inputs": {
                "table": {"file": table.name, "sha256": file_sha256(table)},
                "files": data_facts(sources),
                "leave_out": [
                    {"file": path.name, "sha256": file_sha256(path)}
                    for source in away
                    for path in fasta_files(source)
                ],
            },
            "outputs": {path.name: file_sha256(path) for path in sorted(partial.iterdir())},
        }
        text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
        (partial / MANIFEST).write_text(text, encoding="utf-8")
    return manifest


def _check_annotation(genomes: Sequence[Genome]) -> None:
    bare = {genome.kind for genome in genomes} - {genome.kind for genome in genomes if genome.proteins}
    if bare:
        raise InputError(
            f"class {min(bare)!r} has no annotated protein, which --frames annotated is about; give GenBank "
            "files with CDS features and their translations"
        )


def _left_out(path: Path) -> Source:
    if not path.exists():
        raise InputError(
            f"{path}: does not exist; --leave-out takes FASTA or GenBank files, or a folder of them"
        )
    return Source(0, "left out", path.parent, path, "=left out", None, frozenset())


def place(genomes: Sequence[Genome], parts: dict[Split, list[Genome]]) -> list[Split]:
    """The split of each genome, in order."""
    of_group = {genome.group: split for split in SPLITS for genome in parts[split]}
    return [of_group[genome.group] for genome in genomes]


def draw_split(
    material: Material, split: Split, lengths: Sequence[Lengths], settings: Settings, barriers: Barriers
) -> list[Window]:
    """The windows of one split; annotated ones in the order of the sequences, as the original has them."""
    genomes = material.genomes
    numbers = [number for number, each in enumerate(material.split) if each == split]
    count = settings.windows if split == "train" else max(1, settings.windows // HELD_OUT_WINDOWS)
    drawn = []
    for each in lengths:

        def stream(of_group: Sequence[int], seed: str, each: Lengths = each) -> Iterator[Window]:
            if settings.frames == "annotated":
                return annotated_windows(genomes, of_group, each.shortest, seed)
            return at_random(genomes, of_group, each, seed)

        def wanted(window: Window) -> bool:
            return barriers.allow(window) and (
                settings.frames != "open" or has_open_frame(material.dna(window))
            )

        of_length = draw(genomes, numbers, count, stream, wanted, f"{settings.seed}/{split}")
        if settings.frames == "annotated":
            of_length.sort(key=lambda window: (window.genome, window.start))
        drawn += of_length
    return drawn


def counts(material: Material, drawn: Mapping[Split, Sequence[Window]]) -> list[dict[str, Any]]:
    """One row for each class and split: what there is, what was drawn, how much of that has an open frame."""
    rows = []
    for kind in dict.fromkeys(genome.kind for genome in material.genomes):
        for split in SPLITS:
            genomes = [
                genome
                for genome, place in zip(material.genomes, material.split, strict=True)
                if genome.kind == kind and place == split
            ]
            windows = [material.dna(window) for window in drawn[split] if material.of(window).kind == kind]
            rows.append(
                {
                    "class": kind,
                    "split": split,
                    "groups": len({genome.group for genome in genomes}),
                    "genomes": len(genomes),
                    "bases": sum(len(genome.dna) for genome in genomes),
                    "windows": len(windows),
                    "windows_with_open_frame": sum(map(has_open_frame, windows)),
                }
            )
    return rows


def report(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The counts as lines of a table."""
    yield f"{'class':<16}{'split':<12}{'groups':>7}{'records':>9}{'bases':>13}{'windows':>9}{'open':>6}"
    for row in rows:
        share = row["windows_with_open_frame"] / row["windows"] if row["windows"] else 0
        yield (
            f"{row['class']:<16}{row['split']:<12}{row['groups']:>7,}{row['genomes']:>9,}{row['bases']:>13,}"
            f"{row['windows']:>9,}{share:>6.0%}"
        )
