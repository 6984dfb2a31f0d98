"""Shuffled sequences: controls that keep a sequence's composition and nothing else."""

import random
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

from virnucpro.files import atomic
from virnucpro.sequences.fasta import read_records, write_record
from virnucpro.training.labelled import header_fields

Shuffle = Callable[[str, random.Random], str]


def shuffle_bases(sequence: str, draw: random.Random) -> str:
    """The same letters in random order."""
    letters = list(sequence)
    draw.shuffle(letters)
    return "".join(letters)


def shuffle_dinucleotides(sequence: str, draw: random.Random) -> str:
    """A sequence with exactly the same pairs of neighbours, drawn evenly from all that have them.

    Each pair is an edge from letter to letter, and the result a random Euler path through them all (Altschul
    and Erickson 1985): the last edge out of every letter is drawn until these edges lead from each letter to
    the final one; the other edges follow in random order.

    >>> shuffle_dinucleotides("AACCA", random.Random(0)) in ("AACCA", "ACCAA")
    True
    """
    if len(sequence) < 3:
        return sequence
    edges: dict[str, list[str]] = {}
    for here, there in pairwise(sequence):
        edges.setdefault(here, []).append(there)
    end = sequence[-1]
    while True:
        last = {here: draw.choice(onward) for here, onward in edges.items() if here != end}
        if all(_leads_to(end, here, last) for here in last):
            break
    order: dict[str, Iterator[str]] = {}
    for here, onward in edges.items():
        rest = list(onward)
        if here in last:
            rest.remove(last[here])
        draw.shuffle(rest)
        order[here] = iter([*rest, last[here]] if here in last else rest)
    path = [sequence[0]]
    for _ in range(len(sequence) - 1):
        path.append(next(order[path[-1]]))
    return "".join(path)


SHUFFLES: dict[str, Shuffle] = {"bases": shuffle_bases, "dinucleotides": shuffle_dinucleotides}


def write_controls(fasta: Path, output: Path, seed: int) -> int:
    """Write every sequence of `fasta` once for each of `SHUFFLES`; how many were written.

    Ids are `<id>|shuffled_<what>`; the headers say label, class and group as those of a data set do. The
    group is the one of the sequence's own header, or its id.
    """
    written = 0
    with atomic(output) as temporary, temporary.open("w", encoding="utf-8") as out:
        for record in read_records(fasta):
            for name, shuffle in SHUFFLES.items():
                draw = random.Random(f"{seed}/{name}/{record.id}")
                group = header_fields(record).get("group") or record.id
                fields = f"label=control\tclass=shuffled {name}\tgroup={group}"
                shuffled = shuffle(record.dna.upper(), draw)
                write_record(out, f"{record.id}|shuffled_{name}\t{fields}", shuffled, None)
                written += 1
    return written


def _leads_to(end: str, here: str, last: dict[str, str]) -> bool:
    for _ in range(len(last) + 1):
        if here == end:
            return True
        here = last[here]
    return False
