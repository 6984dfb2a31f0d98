"""The bundled `mini` model set: whole, small, as its card says, better than chance on the demo input."""

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest

from virnucpro.models.classifier import load_classifier, scores
from virnucpro.models.model_set import ModelSet
from virnucpro.sequences.fasta import read_fasta
from virnucpro.training.card import results_table
from virnucpro.training.data import Genome, read_table
from virnucpro.training.encoders import load_encoders
from virnucpro.training.evaluation import Row, auroc, roll_up
from virnucpro.training.fragments import cut

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "tests" / "data" / "demo"
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def mini() -> ModelSet:
    return ModelSet.open("mini")


@pytest.fixture(scope="module")
def truth() -> dict[str, dict[str, str]]:
    with (DEMO / "truth.tsv").open() as text:
        return {row["sequence_id"]: row for row in csv.DictReader(text, delimiter="\t")}


def test_is_whole_and_small(mini: ModelSet) -> None:
    mini.verify()
    files = [path for path in mini.directory.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 6 * MEGABYTE
    assert (mini.name, mini.window_length) == ("mini", 500)


def test_sizes_fit_together(mini: ModelSet) -> None:
    encoders = load_encoders(mini.dnabert_s, mini.esm2)
    assert load_classifier(mini.classifier).input_dim == encoders.dnabert_s.dim + encoders.esm2.dim


def test_card_and_documentation_hold_the_measured_numbers(mini: ModelSet) -> None:
    table = results_table([Row(**row) for row in mini.manifest["training"]["test"]])
    assert table in (mini.directory / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert table in (ROOT / "docs" / "models.md").read_text(encoding="utf-8")


def test_no_group_is_in_two_splits(mini: ModelSet) -> None:
    with (mini.directory / "splits.tsv").open() as text:
        rows = [(row["class"], row["group"]) for row in csv.DictReader(text, delimiter="\t")]
    assert len(rows) == len(set(rows))
    kept_out = {"Coronaviridae", "Retroviridae", "Iflaviridae"}  # the demo's viruses, and their relatives
    assert not kept_out & {group for _, group in rows}


def test_its_table_of_sources_can_be_used_again(mini: ModelSet, tmp_path: Path) -> None:
    table = mini.directory / "training.tsv"
    with table.open() as text:
        for row in csv.DictReader(text, delimiter="\t"):
            (tmp_path / row["fasta"]).parent.mkdir(exist_ok=True)
            (tmp_path / row["fasta"]).touch()
    sources = read_table(table, tmp_path)
    assert {item["class"] for item in mini.manifest["training"]["data"]} == {
        source.kind for source in sources
    }


def test_demo_matches_its_truth_table(truth: dict[str, dict[str, str]]) -> None:
    records = {record.id: record for record in read_fasta(DEMO / "demo.fa.gz")}
    assert list(records) == list(truth)
    assert all(len(record.sequence) == int(truth[name]["length"]) for name, record in records.items())
    assert min(len(r.sequence) for r in records.values()) == 300 and len(truth) == 85
    assert gzip.decompress((DEMO / "demo.fa.gz").read_bytes()).count(b">") == 85


def test_ranks_unseen_viruses_above_unseen_cells(mini: ModelSet, truth: dict[str, dict[str, str]]) -> None:
    encoders, classifier = load_encoders(mini.dnabert_s, mini.esm2), load_classifier(mini.classifier)
    label, score = [], []
    for record in read_fasta(DEMO / "demo.fa.gz"):
        genome = Genome(0, "", "", None, record.id, record.dna)
        fragment = cut(genome, 0, len(record.dna), mini.window_length)
        if fragment.frames:
            windows = [scores(classifier, encoders.embed(window)) for window in fragment.windows]
            label.append(int(truth[record.id]["label"] == "virus"))
            score.append(roll_up(windows))
    assert 50 < len(label) < 85
    assert (auroc(np.array(label), np.array(score)) or 0) > 0.65
