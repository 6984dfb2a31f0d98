"""Who trains, who validates, who tests: whole groups, dealt so that no relative crosses."""

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from virnucpro.errors import InputError
from virnucpro.training.data import SPLITS, Genome, Split

HELD_OUT_SHARE = 0.15  # of the bases of each class, once for validation and once for the test
_ABOVE = 1.5  # a group that would take more than this times the share is passed over while others are left


def split_groups(
    genomes: Sequence[Genome],
    seed: int,
    held_out: float = HELD_OUT_SHARE,
    relatives: Mapping[str, str] | None = None,
) -> dict[Split, list[Genome]]:
    """Deal groups to train, validation and test; a group goes one way, in whatever classes it occurs.

    `relatives` maps a group to the family it is dealt with, where it is not dealt alone. The largest family
    of a class trains; the others are drawn, first for the test, then for validation, until each holds
    `held_out` of the class's bases. Groups whose source names a split go there; none is drawn for a split
    that the class's sources name.
    Raises `InputError` for a group that the table sends to two splits, and a class too small to be split.
    """
    pinned = _pinned(genomes)
    family = {genome.group: genome.group for genome in genomes}
    family |= {group: name for group, name in (relatives or {}).items() if group not in pinned}
    place = dict(pinned)
    bases: dict[str, Counter[str]] = defaultdict(Counter)  # of each class, by family
    for genome in genomes:
        bases[genome.kind][family[genome.group]] += len(genome.dna)
    named: dict[str, set[Split]] = defaultdict(set)  # of each class, the splits that the table fills
    for genome in genomes:
        if genome.split:
            named[genome.kind].add(genome.split)
    for kind in sorted(bases, key=lambda kind: len(bases[kind])):  # who has least choice, first
        _deal(kind, bases[kind], place, named[kind], f"{seed}/{kind}", held_out)
    parts: dict[Split, list[Genome]] = {split: [] for split in SPLITS}
    for genome in genomes:
        parts[place[family[genome.group]]].append(genome)
    return parts


def _pinned(genomes: Sequence[Genome]) -> dict[str, Split]:
    pinned: dict[str, Split] = {}
    for genome in genomes:
        if genome.split and pinned.setdefault(genome.group, genome.split) != genome.split:
            raise InputError(f"class {genome.kind!r}: the table sends group {genome.group} to two splits")
    return pinned


def _deal(
    kind: str,
    bases: Counter[str],
    place: dict[str, Split],
    named: set[Split],
    seed: str,
    held_out: float,
) -> None:
    """Place the families of one class that have no place yet."""
    rest = sorted(bases.keys() - place.keys())
    if not rest:
        return
    held = Counter[Split]()
    for family in bases.keys() & place.keys():
        held[place[family]] += bases[family]
    largest = max(rest, key=lambda family: (bases[family], family))
    place[largest] = "train"
    rest.remove(largest)
    random.Random(seed).shuffle(rest)
    wanted = held_out * sum(bases.values())
    for split in ("test", "validation"):
        spare = int(split == "test" and not held["validation"])  # a family is left for validation
        while split not in named and held[split] < wanted and len(rest) > spare:
            chosen = _next(rest, bases, _ABOVE * wanted - held[split], first=not held[split])
            if chosen is None:
                break
            rest.remove(chosen)
            place[chosen] = split
            held[split] += bases[chosen]
    if not held["test"] or not held["validation"]:
        raise InputError(
            f"class {kind!r} has {len(bases)} group(s), too few to train, validate and test on different "
            "ones (groups that share sequence count as one); add genomes, or name the split of this class in "
            "the table"
        )
    place.update(dict.fromkeys(rest, SPLITS[0]))


def _next(rest: Sequence[str], bases: Counter[str], room: float, first: bool) -> str | None:
    """The first that fits; where none does and nothing is held yet, the smallest."""
    fitting = next((family for family in rest if bases[family] <= room), None)
    return min(rest, key=lambda family: (bases[family], family)) if fitting is None and first else fitting
