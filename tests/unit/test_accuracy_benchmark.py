"""The benchmark against peers: how each answer is read, and what becomes of a program that fails."""

import math
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from benchmarks.accuracy.__main__ import parts_of, some
from benchmarks.accuracy.environments import run, run_once
from benchmarks.accuracy.peers import PEERS
from virnucpro.sequences.fasta import read_fasta
from virnucpro.training.labelled import read_labels

DEEPMICROCLASS = {
    "in.fa_pred_one-hot_hybrid.tsv": "Sequence Name\tEukaryote\tEukaryoteVirus\tPlasmid\tProkaryote\t"
    "ProkaryoteVirus\tbest_choice\n"
    "s0\t0.1\t0.5\t0.1\t0.1\t0.2\t2\n"
    "s1\t0.2\t0.3\t0.1\t0.4\t0.0\t4\n"
    "s2\t0\t0\t0\t0\t0\t\n"
}
GENOMAD = {
    "in_nn_classification/in_nn_classification.tsv": "seq_name\tchromosome_score\tplasmid_score\t"
    "virus_score\n"
    "s0\t0.2\t0.1\t0.7\ns1\t0.5\t0.2\t0.3\n"
}
_LOGITS = "contig_id\tprediction\tbacteria_score\tphage_score\teukarya_score\tarchaea_score\n"
JAEGER = {
    "default/in_jaeger.tsv": f"{_LOGITS}s0\tphage\t0\t1.0986\t0\t0\ns1\tphage\t2\t2\t-50\t-50\n",
    "default/in_phages_jaeger.tsv": f"{_LOGITS}s0\tphage\t0\t1.0986\t0\t0\n",
}


@pytest.mark.parametrize(
    ("name", "files", "scores", "viral"),
    [
        ("DeepMicroClass", DEEPMICROCLASS, {"s0": 0.7, "s1": 0.3, "s2": math.nan}, {"s0"}),
        ("geNomad (nn)", GENOMAD, {"s0": 0.7, "s1": 0.3}, {"s0"}),
        ("Jaeger", JAEGER, {"s0": 0.5, "s1": 0.5}, {"s0"}),
    ],
)
def test_answers_of_peers(
    name: str, files: Mapping[str, str], scores: Mapping[str, float], viral: set[str], tmp_path: Path
) -> None:
    for file, text in files.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(text)
    calls = PEERS[name].read(tmp_path)
    assert {id: call.score for id, call in calls.items()} == pytest.approx(scores, abs=1e-4, nan_ok=True)
    assert {id for id, call in calls.items() if call.virus} == viral


def test_a_program_that_fails_or_takes_too_long_says_how(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert run([sys.executable, "-c", "print(1)"], log).words == ""
    failing = run([sys.executable, "-c", "print('so'); raise SystemExit('and why')"], log)
    assert failing.words == "exit 1: and why" and failing.seconds > 0
    assert run([sys.executable, "-c", "import time; time.sleep(60)"], log, 0.5).words == "stopped after 0.5 s"


def test_the_shortest_record_sets_jaegers_window(tmp_path: Path) -> None:
    command = PEERS["Jaeger"].command
    assert command(tmp_path, tmp_path, 500)[command(tmp_path, tmp_path, 500).index("--fsize") + 1] == "500"
    assert command(tmp_path, tmp_path, 3000)[command(tmp_path, tmp_path, 3000).index("--fsize") + 1] == "2000"


def test_an_answer_is_taken_again_only_for_the_same_question(tmp_path: Path) -> None:
    count = tmp_path / "count"
    command = [sys.executable, "-c", f"open({str(count)!r}, 'a').write('x')"]
    for content in ("one", "one", "other"):
        assert run_once(command, [content], tmp_path / "out", 60).words == ""
    assert count.read_text() == "xx"


def test_fragments_are_dealt_by_class_and_length_under_plain_ids(tmp_path: Path) -> None:
    fasta = tmp_path / "in.fa"
    fasta.write_text(
        "".join(
            f">{kind}|{number}\tlabel=virus\tclass={kind}\tgroup=G\n{'ACGT' * (bases // 4)}\n"
            for kind in ("phage", "RNA_virus")
            for bases in (300, 500)
            for number in range(bases, bases + 5)
        )
    )
    labels = some(read_labels(fasta), 3, seed=1)
    assert len(labels) == 12 and labels == some(read_labels(fasta), 3, seed=1)
    assert some(read_labels(fasta), None, seed=1) == read_labels(fasta)
    parts = parts_of(fasta, labels, tmp_path)
    assert [(name, shortest) for name, (_, _, shortest) in parts.items()] == [
        ("300 to 499", 300),
        ("500 to 999", 500),
    ]
    for path, own, shortest in parts.values():
        records = list(read_fasta(path))
        assert {len(record.sequence) for record in records} == {shortest}
        assert [record.id for record in records] == list(own)
    assert {id for _, own, _ in parts.values() for id in own.values()} == labels.keys()
