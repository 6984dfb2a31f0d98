"""Shuffled controls: what they keep, what they lose."""

import random
from collections import Counter
from itertools import pairwise, permutations
from pathlib import Path

import pytest

from tests.conftest import random_dna
from virnucpro.sequences.fasta import read_fasta
from virnucpro.training.labelled import read_labels
from virnucpro.training.shuffle import shuffle_bases, shuffle_dinucleotides, write_controls

AT_RICH = "AAAAAAAATTTAAAATAAAAAAAAAGAAAAAAATTTTTTTTTTTAAAAC"


@pytest.mark.parametrize("sequence", ["", "A", "AC", "AAAA", AT_RICH, "ACGTNNNNACGTRYACGT" * 20])
def test_dinucleotides_are_exactly_kept(sequence: str) -> None:
    for seed in range(20):
        shuffled = shuffle_dinucleotides(sequence, random.Random(seed))
        assert Counter(pairwise(shuffled)) == Counter(pairwise(sequence))
        assert shuffled[:1] == sequence[:1] and shuffled[-1:] == sequence[-1:]


def test_all_sequences_of_the_same_dinucleotides_come_evenly() -> None:
    sequence = "ACAGATAC"
    pairs = Counter(pairwise(sequence))
    possible = {"".join(one) for one in permutations(sequence) if Counter(pairwise(one)) == pairs}
    draw = random.Random(1)
    times = Counter(shuffle_dinucleotides(sequence, draw) for _ in range(600 * len(possible)))
    assert times.keys() == possible and len(possible) > 3
    assert min(times.values()) > 500 and max(times.values()) < 700


def test_long_sequences_lose_their_order() -> None:
    sequence = random_dna(random.Random(1), 3000)
    for shuffle in (shuffle_bases, shuffle_dinucleotides):
        shuffled = shuffle(sequence, random.Random(2))
        assert Counter(shuffled) == Counter(sequence)
        assert sum(a == b for a, b in zip(sequence, shuffled, strict=True)) < 1000


def test_controls_say_what_they_are_and_come_out_again(tmp_path: Path) -> None:
    fasta = tmp_path / "in.fa"
    fasta.write_text(
        f">a:1-500\tlabel=virus\tclass=phage\tgroup=G\n{random_dna(random.Random(1), 500)}\n>b\nACGUU\n"
    )
    for name in ("one.fa", "two.fa"):
        assert write_controls(fasta, tmp_path / name, seed=1) == 4
    assert (tmp_path / "one.fa").read_bytes() == (tmp_path / "two.fa").read_bytes()
    labels = read_labels(tmp_path / "one.fa")
    assert {(label.label, label.kind, label.group) for label in labels.values()} == {
        ("control", f"shuffled {what}", group) for what in ("bases", "dinucleotides") for group in ("G", "b")
    }
    assert {record.id for record in read_fasta(tmp_path / "one.fa")} == labels.keys()
