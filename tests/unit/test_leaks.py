"""Shared 24-mers: found exactly, on either strand, and nothing else."""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import pytest

from virnucpro.sequences.frames import reverse_complement
from virnucpro.training import leaks as module
from virnucpro.training.leaks import K, Leak, Marks, Shared, families, leaks, low_complexity, shared_kmers


def random_dna(seed: int, bases: int) -> str:
    return "".join(random.Random(seed).choices("ACGT", k=bases))


def naive(dna: str) -> set[str]:
    """The distinct canonical 24-mers, as text."""
    found = {dna[start : start + K] for start in range(len(dna) - K + 1)}
    return {min(kmer, reverse_complement(kmer)) for kmer in found if set(kmer) <= set("ACGT")}


def common(sequences: list[str], one: int, other: int) -> int:
    return len(naive(sequences[one]) & naive(sequences[other]))


def text(kmers: Sequence[int]) -> set[str]:
    return {"".join("ACGT"[(int(kmer) >> 2 * (K - 1 - place)) & 3] for place in range(K)) for kmer in kmers}


@pytest.fixture
def sequences() -> list[str]:
    whole = random_dna(1, 3000)
    return [
        whole,
        random_dna(2, 500) + reverse_complement(whole[1000:1100]) + random_dna(3, 500),
        random_dna(4, 300) + whole[40:90] + "N" + whole[91:130] + random_dna(5, 10),
        whole[2000:2500],
        "ACGT",
        random_dna(6, 700),
    ]


@pytest.mark.parametrize("per_pass", [1 << 26, 500])
def test_shared_are_those_in_two_groups_in_however_many_passes(
    sequences: list[str], per_pass: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PER_PASS", per_pass)
    monkeypatch.setattr(module, "_PER_BATCH", per_pass)
    groups = [0, 1, 2, 0, 3, 4]  # the fourth is of the first one's group
    shared = shared_kmers(sequences, np.array(groups))
    where: dict[str, set[int]] = defaultdict(set)
    for number, dna in enumerate(sequences):
        for kmer in naive(dna):
            where[kmer].add(number)
    expected = {
        (kmer, number)
        for kmer, numbers in where.items()
        if len({groups[number] for number in numbers}) > 1
        for number in numbers
    }
    rows = [
        (kmer, int(number))
        for one, number in zip(shared.kmers, shared.records, strict=True)
        for kmer in text([one])
    ]
    assert len(rows) == len(set(rows))
    assert set(rows) == expected
    pairs = shared.pairs(np.array(groups))
    assert pairs == Counter({(0, 1): common(sequences, 0, 1), (0, 2): common(sequences, 0, 2)})


def test_a_planted_overlap_is_found_and_named(sequences: list[str]) -> None:
    shared = shared_kmers(sequences, np.arange(6))
    sides = np.array([0, 1, 2, 0, 0, 1])
    planted, other = (common(sequences, 0, number) for number in (1, 2))
    assert planted >= 100 - K + 1 > other > 3
    assert leaks(shared, sides, 3) == [Leak(0, 1, planted), Leak(0, 2, other)]
    assert leaks(shared, sides, other + 1) == [Leak(0, 1, planted)]
    assert leaks(shared, np.zeros(6, dtype=np.int64), 3) == []


def test_repeats_of_a_short_unit_are_no_sign_of_kinship() -> None:
    repeats = ["A" * 24, "CA" * 12, "AAT" * 8, "GATA" * 6, "TTAGGG" * 4, "CA" * 6 + "GA" + "CA" * 5]
    unlike = [random_dna(seed, 24) for seed in range(200)]
    kmers = np.concatenate([module.canonical_kmers(kmer)[0] for kmer in repeats + unlike])
    assert low_complexity(kmers).tolist() == [True] * len(repeats) + [False] * len(unlike)


def test_families_are_linked_through_others() -> None:
    pairs = Counter({(0, 1): 60, (1, 2): 10, (2, 3): 4, (4, 5): 1})
    assert families(pairs, [1000, 100, 150, 100, 100, 100], 0.05) == {0: 0, 1: 0, 2: 0}


def test_marks_count_the_known_24mers_of_a_window(sequences: list[str]) -> None:
    shared: Shared = shared_kmers(sequences, np.arange(6))
    marks = Marks(sequences, [1, 4, 5], shared.rows_of(shared.of([0])))
    assert marks.count(1, 0, 1100) == common(sequences, 0, 1)
    assert marks.count(1, 500, 600) == 77
    assert marks.count(1, 510, 600) == 67
    assert marks.count(1, 0, 500) == 0
    assert marks.count(4, 0, 4) == marks.count(5, 0, 700) == marks.count(0, 0, 3000) == 0
