"""The peers: what is installed for each, how it is run on one FASTA, and how its answer is read.

Each reader says which of the peer's classes are viral (`mapping`). A score is the peer's own probability of
those classes, the call its own call; a record that the peer skips has neither.
"""

import csv
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from virnucpro.training.labelled import Call

Calls = dict[str, Call]


@dataclass(frozen=True)
class Peer:
    """A program from PyPI in an environment of its own."""

    name: str
    requirements: tuple[str, ...]  # the first is the peer, the others what it was tried with here
    command: Callable[[Path, Path, int], list[str]]  # of a FASTA, an output folder, the shortest record
    read: Callable[[Path], Calls]  # of the output folder
    mapping: str  # what counts as viral
    made_for: str


def _deepmicroclass(fasta: Path, out: Path, shortest: int) -> list[str]:
    words = f"DeepMicroClass predict -i {fasta} -o {out} --mode hybrid --device cpu --cpu_thread 1"
    return words.split(" ")


def _read_deepmicroclass(out: Path) -> Calls:
    """Sums of softmax over windows; a record that is too short or has too many N is all zeros."""
    viral = ("EukaryoteVirus", "ProkaryoteVirus")
    kinds = ("Eukaryote", viral[0], "Plasmid", "Prokaryote", viral[1])  # `best_choice` counts them from 1
    calls = {}
    for row in _rows(out, "*_pred_one-hot_hybrid.tsv"):
        total = sum(float(row[kind]) for kind in kinds)
        score = sum(float(row[kind]) for kind in viral) / total if total else math.nan
        best = kinds[int(row["best_choice"]) - 1] if total else ""
        calls[row["Sequence Name"]] = Call(score, best in viral)
    return calls


def _genomad(fasta: Path, out: Path, shortest: int) -> list[str]:
    return f"genomad nn-classification --restart --cleanup --quiet --threads 1 {fasta} {out}".split(" ")


def _read_genomad(out: Path) -> Calls:
    """Probabilities; the class with the highest is its call, since this step alone makes none."""
    others = ("chromosome_score", "plasmid_score")
    calls = {}
    for row in _rows(out, "*_nn_classification/*_nn_classification.tsv"):
        score = float(row["virus_score"])
        calls[row["seq_name"]] = Call(score, score > max(float(row[other]) for other in others))
    return calls


def _jaeger(fasta: Path, out: Path, shortest: int) -> list[str]:
    window = min(shortest, 2000)  # its own default, but no window may be longer than a record
    words = f"jaeger predict -i {fasta} -o {out} --fsize {window} --cpu --workers 1 --overwrite"
    return words.split(" ")


def _read_jaeger(out: Path) -> Calls:
    """Mean logits of four classes; its calls are the records in its own table of phages."""
    kinds = ("bacteria", "phage", "eukarya", "archaea")
    phages = {row["contig_id"] for row in _rows(out, "*/*_phages_jaeger.tsv")}
    calls = {}
    for row in _rows(out, "*/*_jaeger.tsv", but="_phages_"):
        logits = [float(row[f"{kind}_score"]) for kind in kinds]
        whole = sum(math.exp(logit - max(logits)) for logit in logits)
        score = math.exp(logits[1] - max(logits)) / whole
        calls[row["contig_id"]] = Call(score, row["contig_id"] in phages)
    return calls


PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            "DeepMicroClass",
            ("DeepMicroClass==1.0.6.2", "torch==2.10.0", "requests>=2"),  # the last is not in its own list
            _deepmicroclass,
            _read_deepmicroclass,
            "EukaryoteVirus + ProkaryoteVirus of five classes",
            "contigs; no mode of it takes less than 500 bases",
        ),
        Peer(
            "geNomad (nn)",
            ("genomad==1.13.0", "tensorflow==2.21.0"),
            _genomad,
            _read_genomad,
            "virus of virus, plasmid, chromosome",
            "contigs, together with marker genes, which need its database and are not used here",
        ),
        Peer(
            "Jaeger",
            ("jaeger-bio[cpu]==1.26.5", "tensorflow==2.21.0"),
            _jaeger,
            _read_jaeger,
            "phage of phage, bacteria, archaea, eukarya",
            "phages, in windows of 2,000 bases; viruses of eukaryotes are not its task",
        ),
    )
}


def _rows(out: Path, pattern: str, but: str | None = None) -> Iterator[dict[str, str]]:
    found = [path for path in sorted(out.glob(pattern)) if but is None or but not in path.name]
    if len(found) != 1:
        raise FileNotFoundError(f"{out}: {len(found)} files like {pattern}, expected one")
    with found[0].open(newline="", encoding="utf-8") as text:
        yield from csv.DictReader(text, delimiter="\t")
