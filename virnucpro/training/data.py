"""Training data: labelled genomes from a table of FASTA and GenBank files."""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from virnucpro.errors import InputError
from virnucpro.models.checksums import file_sha256
from virnucpro.sequences.fasta import read_records
from virnucpro.training.genbank import read_genbank

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
LABELS = {"others": 0, "virus": 1}
LABEL_NAMES = {number: name for name, number in LABELS.items()}
COLUMNS = ["label", "class", "fasta", "group", "split", "leave_out"]
_FASTA, _GENBANK = r"\.(fa|fasta|fna|fas)(\.(gz|bz2|xz|zst))?$", r"\.(gb|gbk|gbff)(\.gz)?$"


@dataclass(frozen=True)
class Source:
    """One row of the table: FASTA or GenBank files of one class."""

    label: int  # 1 virus, 0 others
    kind: str  # what the numbers are reported by: "RNA virus", "human", ...
    root: Path  # the folder that the table's path starts from
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
    proteins: tuple[str, ...] = ()  # of its annotation, where it came with one


def read_table(path: Path, data_dir: Path) -> list[Source]:
    """Read the tab-separated table of sources; `fasta` is below `data_dir`, or else below the table's folder.

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
            sources.append(_source(row, f"{path}, line {reader.line_num}", (data_dir, path.parent)))
    if {source.label for source in sources} != {0, 1}:
        raise InputError(f"{path}: both labels are needed, at least one row 'virus' and one row 'others'")
    return sources


def _source(row: dict[str, str | None], where: str, roots: Sequence[Path]) -> Source:
    values = {column: row.get(column) or "" for column in COLUMNS}
    if values["label"] not in LABELS:
        raise InputError(f"{where}: label {values['label']!r} is neither 'virus' nor 'others'")
    if not values["class"]:
        raise InputError(f"{where}: the class is empty; name one, such as 'phage' or 'human'")
    root = next((root for root in roots if values["fasta"] and (root / values["fasta"]).exists()), None)
    if root is None:
        raise InputError(
            f"{where}: {roots[0] / values['fasta']} does not exist; paths start from the data folder, or "
            "from the table's own"
        )
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
        LABELS[values["label"]],
        values["class"],
        root,
        root / values["fasta"],
        values["group"] or "record",
        split,
        left_out,
    )


def fasta_files(source: Source) -> list[Path]:
    """The source's files in name order; a folder stands for every such file in it."""
    if source.fasta.is_file():
        return [source.fasta]
    files = [path for path in sorted(source.fasta.iterdir()) if re.search(f"{_FASTA}|{_GENBANK}", path.name)]
    if not files:
        raise InputError(
            f"{source.fasta}: the folder holds no FASTA (.fa, .fasta, .fna, .fas) and no GenBank file "
            "(.gb, .gbk, .gbff), packed or plain"
        )
    return files


def data_facts(sources: Sequence[Source]) -> list[dict[str, str]]:
    """Every file that was read, with its checksum; paths as in the table."""
    return [
        {
            "class": source.kind,
            "label": LABEL_NAMES[source.label],
            "file": path.relative_to(source.root).as_posix(),
            "sha256": file_sha256(path),
        }
        for source in sources
        for path in fasta_files(source)
    ]


def load_genomes(sources: Iterable[Source]) -> list[Genome]:
    """Every record of the sources, in order, except groups left out and records whose group is empty."""
    genomes = []
    for source in sources:
        for path in fasta_files(source):
            for id, header, dna, proteins in _records(path):  # ids may repeat: pieces of one genome
                group = _group(source.group, path, id, header).replace("\t", " ")
                if group and group not in source.leave_out:
                    genomes.append(Genome(source.label, source.kind, group, source.split, id, dna, proteins))
    return genomes


def _records(path: Path) -> Iterator[tuple[str, str, str, tuple[str, ...]]]:
    """(id, header, upper-case DNA, proteins of the annotation) of each record of a FASTA or GenBank file."""
    if re.search(_GENBANK, path.name):
        for entry in read_genbank(path):
            yield entry.id, entry.header, entry.dna, entry.proteins
    else:
        for record in read_records(path):
            yield record.id, record.header, record.dna.upper(), ()


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
