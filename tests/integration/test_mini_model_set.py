"""The bundled `mini` model set: whole, small, as its card says, better than chance on the demo input."""

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest

from virnucpro.calling.calibration import Calibration
from virnucpro.calling.verdict import Judge
from virnucpro.models.classifier import load_classifier, scores
from virnucpro.models.composition import load_composition
from virnucpro.models.model_set import ModelSet
from virnucpro.sequences.fasta import read_fasta
from virnucpro.training.accuracy import auroc
from virnucpro.training.dataset import Windows
from virnucpro.training.encoders import load_encoders
from virnucpro.training.frames import Cut
from virnucpro.training.measure import evidence

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


def test_says_that_it_is_a_demonstration(mini: ModelSet) -> None:
    assert mini.demonstration and mini.score_all and "demonstration" in (mini.notice or "")
    assert set(mini.manifest["files"]) >= {"MODEL_CARD.md", "composition.safetensors", "calibration.json"}


def test_no_group_is_in_two_splits(mini: ModelSet) -> None:
    with (mini.directory / "splits.tsv").open() as text:
        rows = {(row["class"], row["group"], row["split"]) for row in csv.DictReader(text, delimiter="\t")}
    assert len(rows) == len({(kind, group) for kind, group, _ in rows})
    kept_out = {"Coronaviridae", "Retroviridae", "Iflaviridae"}  # the demo's viruses, and their relatives
    assert not kept_out & {group for _, group, _ in rows}


def test_demo_matches_its_truth_table(truth: dict[str, dict[str, str]]) -> None:
    records = {record.id: record for record in read_fasta(DEMO / "demo.fa.gz")}
    assert list(records) == list(truth)
    assert all(len(record.sequence) == int(truth[name]["length"]) for name, record in records.items())
    assert min(len(r.sequence) for r in records.values()) == 300 and len(truth) == 85
    assert gzip.decompress((DEMO / "demo.fa.gz").read_bytes()).count(b">") == 85


def test_ranks_unseen_viruses_above_unseen_cells(mini: ModelSet, truth: dict[str, dict[str, str]]) -> None:
    records = list(read_fasta(DEMO / "demo.fa.gz"))
    label = np.array([truth[record.id]["label"] == "virus" for record in records], dtype=np.int8)
    demo = Windows(
        [r.id for r in records], [r.dna.upper() for r in records], label, ["any"] * 85, ["any"] * 85
    )
    cut = Cut.of(demo, mini.window_length)
    score = scores(
        load_classifier(mini.classifier), load_encoders(mini.dnabert_s, mini.esm2).embed(cut.frames)
    )
    odds = load_composition(mini.composition).log_odds(cut.bases)
    found = evidence(demo, cut, odds, score)
    verdicts = Judge(Calibration.read(mini.calibration), mini.score_all)(found)
    with_frame = found.share > 0
    assert 50 < with_frame.sum() < 85
    assert auroc(label[with_frame], found.frames[with_frame]) > 0.65
    assert auroc(label, verdicts.score) > 0.8
