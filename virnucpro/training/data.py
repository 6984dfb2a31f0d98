"""Training data: labelled genomes from a table of FASTA files, split so that no relative crosses."""

import csv
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from virnucpro.errors import InputError
from virnucpro.sequences.fasta import read_records

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
LABELS = {"others": 0, "virus": 1}
COLUMNS = ["label", "class", "fasta", "group", "split", "leave_out"]
HELD_OUT_SHARE = 0.15  # of the bases of each class, once for validation and once for the test


@dataclass(frozen=True)
class Source:
    """One row of the table: FASTA files of one class."""

    label: int  # 1 virus, 0 others
    kind: str  # what the numbers are reported by: "RNA virus", "human", ...
    fasta: Path
    group: str  # "record", "file", "=name", or a regular expression searched in the header
    split: Split | None  # None: drawn by `split_groups`
    leave_out: frozenset[str]  # groups that are in no split


@dataclass(frozen=True)
class Genome:
    """One record: a genome, a segment, a scaffold, or a long piece of one."""

    label: int
    kind: str
    group: str  # all genomes of a group go to the same split
    split: Split | None
    id: str
    dna: str


def read_table(path: Path, data_dir: Path) -> list[Source]:
    """Read the tab-separated table of sources; `fasta` is a file or a folder below `data_dir`.

    Raises `InputError` naming the line and column that is wrong.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such table; give a tab-separated file with columns {' '.join(COLUMNS)}")
    sources = []
    with path.open(newline="", encoding="utf-8") as text:
        reader = csv.DictReader(text, delimiter="\t")
        if reader.fieldnames != COLUMNS:
            raise InputError(f"{path}, line 1: the columns must be {' '.join(COLUMNS)}, separated by tabs")
        for row in reader:
            sources.append(_source(row, f"{path}, line {reader.line_num}", data_dir))
    if {source.label for source in sources} != {0, 1}:
        raise InputError(f"{path}: both labels are needed, at least one row 'virus' and one row 'others'")
    return sources


def _source(row: dict[str, str | None], where: str, data_dir: Path) -> Source:
    values = {column: row.get(column) or "" for column in COLUMNS}
    if values["label"] not in LABELS:
        raise InputError(f"{where}: label {values['label']!r} is neither 'virus' nor 'others'")
    if not values["class"]:
        raise InputError(f"{where}: the class is empty; name one, such as 'phage' or 'human'")
    fasta = data_dir / values["fasta"]
    if not values["fasta"] or not fasta.exists():
        raise InputError(f"{where}: {fasta} does not exist; paths start from the data folder")
    if values["split"] and values["split"] not in SPLITS:
        raise InputError(
            f"{where}: split {values['split']!r} is not empty and not one of {', '.join(SPLITS)}"
        )
    try:
        re.compile(values["group"])
    except re.error as error:
        raise InputError(f"{where}: group {values['group']!r} is no regular expression ({error})") from error
    split: Split | None = next((split for split in SPLITS if split == values["split"]), None)
    left_out = frozenset(name for name in values["leave_out"].split(",") if name)
    return Source(
        LABELS[values["label"]], values["class"], fasta, values["group"] or "record", split, left_out
    )


def fasta_files(source: Source) -> list[Path]:
    """The source's files in name order; a folder stands for every FASTA file in it."""
    if source.fasta.is_file():
        return [source.fasta]
    files = [
        path
        for path in sorted(source.fasta.iterdir())
        if re.search(r"\.(fa|fasta|fna|fas)(\.gz)?$", path.name)
    ]
    if not files:
        raise InputError(f"{source.fasta}: the folder holds no .fa, .fasta, .fna or .fas file (.gz or plain)")
    return files


def load_genomes(sources: Iterable[Source]) -> list[Genome]:
    """Every record of the sources, in order, except groups left out and records whose group is empty."""
    genomes = []
    for source in sources:
        for path in fasta_files(source):
            for record in read_records(path):  # ids may repeat: pieces of one genome
                group = _group(source.group, path, record.id, record.header)
                if group and group not in source.leave_out:
                    dna = record.dna.upper()
                    genomes.append(Genome(source.label, source.kind, group, source.split, record.id, dna))
    return genomes


def _group(rule: str, path: Path, identifier: str, header: str) -> str:
    if rule == "record":
        return identifier
    if rule == "file":
        return path.name
    if rule.startswith("="):
        return rule[1:]
    found = re.search(rule, header)
    if found is None:
        raise InputError(f"{path}, record {identifier}: the group rule {rule!r} finds nothing in the header")
    return (found[1] or "") if found.re.groups else found[0]


def split_groups(genomes: Sequence[Genome], seed: int) -> dict[Split, list[Genome]]:
    """Deal each class's groups to train, validation and test; a whole group goes one way.

    The largest group of a class trains; the others are drawn, first for the test, then for validation,
    until each holds 15 % of the bases. Genomes whose source names a split go there.
    """
    parts: dict[Split, list[Genome]] = {split: [] for split in SPLITS}
    kinds = dict.fromkeys(genome.kind for genome in genomes)
    for kind in kinds:
        of_kind = [genome for genome in genomes if genome.kind == kind]
        place = _pinned(of_kind)
        place |= _drawn([genome for genome in of_kind if genome.group not in place], f"{seed}/{kind}")
        for genome in of_kind:
            parts[place[genome.group]].append(genome)
    return parts


def _pinned(genomes: Sequence[Genome]) -> dict[str, Split]:
    place: dict[str, Split] = {}
    for genome in genomes:
        if genome.split and place.setdefault(genome.group, genome.split) != genome.split:
            raise InputError(f"class {genome.kind!r}: the table sends group {genome.group} to two splits")
    return place


def _drawn(genomes: Sequence[Genome], seed: str) -> dict[str, Split]:
    if not genomes:
        return {}
    bases: dict[str, int] = {}
    for genome in genomes:
        bases[genome.group] = bases.get(genome.group, 0) + len(genome.dna)
    if len(bases) < 3:
        raise InputError(
            f"class {genomes[0].kind!r} has {len(bases)} group(s), too few to train, validate and test on "
            "different ones; add genomes, or name the split of this class in the table"
        )
    largest = max(bases, key=lambda group: (bases[group], group))
    place: dict[str, Split] = {largest: "train"}
    rest = sorted(bases.keys() - {largest})
    random.Random(seed).shuffle(rest)
    wanted = HELD_OUT_SHARE * sum(bases.values())
    held_out: tuple[tuple[Split, int], ...] = (("test", 1), ("validation", 0))
    for split, spare in held_out:  # the test leaves at least one group for validation
        held = 0
        while held < wanted and len(rest) > spare:
            group = rest.pop()
            place[group] = split
            held += bases[group]
    return place | dict.fromkeys(rest, SPLITS[0])
