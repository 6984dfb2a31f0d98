"""Genomes that share sequence: joined before the split, checked after it, kept out of windows."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from virnucpro.errors import InputError
from virnucpro.training.data import SPLITS, Genome, Split
from virnucpro.training.draw import Material, Window
from virnucpro.training.leaks import K, Leak, Marks, Shared, families, leaks, low_complexity, shared_kmers

SHOWN_LEAKS = 20  # pairs named in an error or in the log


@dataclass(frozen=True)
class Rules:
    """When sharing is too much, and what follows."""

    shared_24mers: int = 3  # two records on different sides that share so many are a leak
    on_leak: str = "fail"  # or drop
    related: float = 0.05  # with drop: groups that share this much of the smaller are dealt together
    virus_shared: float = 0.2  # with drop: a held-out window goes when more of its 24-mers are known
    others_shared: float = 0.5


def find_shared(genomes: Sequence[Genome], kept_away: Sequence[Genome]) -> Shared:
    """The 24-mers in more than one group, those kept away being one more, with numbers after the genomes'."""
    numbers: dict[str, int] = {}
    groups = [numbers.setdefault(genome.group, len(numbers)) for genome in genomes] + [-1] * len(kept_away)
    return shared_kmers([genome.dna for genome in [*genomes, *kept_away]], np.array(groups, dtype=np.int64))


def related(shared: Shared, genomes: Sequence[Genome], share: float) -> dict[str, str]:
    """Group to the group it is dealt with, for groups that share `share` of the smaller one's bases.

    Relatives of a group whose split the table names follow it; not those of one sent to training, which gives
    way in another manner (`Barriers`).
    """
    names: dict[str, int] = {}
    owners = np.array([names.setdefault(genome.group, len(names)) for genome in genomes], dtype=np.int64)
    sizes, named_split = [0] * len(names), dict[int, Split]()
    for genome in genomes:
        sizes[names[genome.group]] += len(genome.dna)
        if genome.split:
            named_split[names[genome.group]] = genome.split
    trains = {group for group, split in named_split.items() if split == SPLITS[0]}
    pairs = of_genomes(shared, len(genomes)).pairs(owners)
    found = families(
        {couple: number for couple, number in pairs.items() if trains.isdisjoint(couple)}, sizes, share
    )
    groups, together = list(names), {}
    for family in dict.fromkeys(found.values()):
        members = [group for group, own in found.items() if own == family]
        free = [group for group in members if group not in named_split]
        settled = {named_split[group]: group for group in members if group in named_split}
        head = next(iter(settled.values())) if len(settled) == 1 else min(free, default=family)
        together.update({groups[group]: groups[head] for group in free})
    return together


def of_genomes(shared: Shared, genomes: int) -> Shared:
    """Without what is kept away and what repeats itself: what can tell of kinship."""
    return shared.without((shared.records >= genomes) | low_complexity(shared.kmers))


def family_names(relatives: dict[str, str]) -> list[list[str]]:
    """The groups of each family, largest family first."""
    members: dict[str, list[str]] = {}
    for group, family in relatives.items():
        members.setdefault(family, []).append(group)
    return sorted((sorted(groups) for groups in members.values()), key=lambda groups: (-len(groups), groups))


def check(material: Material, shared: Shared, rules: Rules, log: Callable[[str], None]) -> list[Leak]:
    """The pairs of records that share sequence across the split; an `InputError` where that is a failure."""
    sides = np.array([SPLITS.index(split) for split in material.split], dtype=np.int64)
    found = leaks(of_genomes(shared, len(material.genomes)), sides, rules.shared_24mers)
    if not found:
        log(f"leak check: no two records on different sides share {rules.shared_24mers} {K}-mers")
        return found
    lines = [
        "  {record} ({split}, {group}) and {other} ({other_split}, {other_group}): {shared}".format(
            **named(leak, material)
        )
        for leak in found[:SHOWN_LEAKS]
    ]
    what = (
        f"{len(found)} pairs of records on different sides of the split share {rules.shared_24mers} or more "
        f"distinct {K}-mers; the {len(lines)} that share most:\n" + "\n".join(lines)
    )
    if rules.on_leak == "fail":
        raise InputError(
            f"{what}\nPut relatives into one group in the table, leave them out, or let the build see to it: "
            "--on-leak drop"
        )
    log(what)
    return found


def named(leak: Leak, material: Material) -> dict[str, Any]:
    """A leak in words, for the log and the manifest."""
    one, other = leak.record, leak.other
    return {
        "record": material.names[one],
        "group": material.genomes[one].group,
        "split": material.split[one],
        "other": material.names[other],
        "other_group": material.genomes[other].group,
        "other_split": material.split[other],
        "shared": leak.shared,
    }


class Barriers:
    """Which windows may be drawn, so that nothing is learned that is asked for later.

    None may hold a 24-mer that is kept away. Genomes that the table sends to training give way: their windows
    may share less than `related` with held-out genomes. Between all others it is the held-out window that
    gives way, when too much of it is known: validation from what trains, the test from both.
    """

    def __init__(self, material: Material, shared: Shared, kept_away: int, rules: Rules) -> None:
        self._genomes, self._split, self._rules = material.genomes, material.split, rules
        self.passed_over: Counter[str] = Counter()
        count, split = len(material.genomes), material.split
        dna = [genome.dna for genome in material.genomes]
        everyone = range(count)
        away = shared.of(range(count, count + kept_away))
        self._away = Marks(dna, everyone, shared.rows_of(away))
        plain = of_genomes(shared, count)
        gives_way = {
            number for number in everyone if split[number] == self._genomes[number].split == SPLITS[0]
        }
        held_out = [number for number in everyone if split[number] != SPLITS[0]]
        self._held_out = Marks(dna, gives_way, plain.rows_of(plain.of(held_out)))
        self._known: dict[Split, Marks] = {}
        for before, after in ((SPLITS[:1], SPLITS[1]), (SPLITS[:2], SPLITS[2])):
            known = [number for number in everyone if split[number] in before and number not in gives_way]
            own = {number for number in everyone if split[number] == after}
            self._known[after] = Marks(dna, own, plain.rows_of(plain.of(known)))

    def allow(self, window: Window) -> bool:
        """Whether this window may be drawn; those that may not are counted."""
        why = self._against(window)
        if why:
            self.passed_over[why] += 1
        return why is None

    def _against(self, window: Window) -> str | None:
        number, start, end = window.genome, window.start, window.end
        kmers = max(0, end - start - K + 1)
        if self._away.count(number, start, end):
            return "left_out"
        if self._held_out.count(number, start, end) >= max(
            self._rules.shared_24mers, self._rules.related * kmers
        ):
            return SPLITS[0]
        split = self._split[number]
        if split in self._known:
            most = self._rules.virus_shared if self._genomes[number].label else self._rules.others_shared
            if self._known[split].count(number, start, end) > most * kmers:
                return split
        return None
