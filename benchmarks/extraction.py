"""Extraction beside its yardstick, which goes record by record: CPU time, and whether the bytes are the same.

    python -m benchmarks.extraction [--windows 100000] [--length 500] [--rounds 3] [--processes 1]

Random sequences of codons of which few are stops, so that about as many windows have an open frame as of real
ones; rounds interleaved. Prints CPU seconds per million windows, without those of further processes, and how
many times longer the yardstick takes: median, lowest and highest of the rounds.
"""

import argparse
import filecmp
import random
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.common import interleaved, machine, ratio, table
from benchmarks.yardstick.extract import extract_frames as record_by_record
from virnucpro.sequences.extract import extract_frames

_CODONS = [a + b + c for a in "ACGT" for b in "ACGT" for c in "ACGT"]
_STOPS = ("TAA", "TAG", "TGA")
_RARE = 0.08  # of a stop's share among random codons


def write_records(path: Path, number: int, length: int) -> Path:
    """So many records of `length` bases, 60 a line."""
    draw = random.Random(0)
    weights = [_RARE if codon in _STOPS else 1.0 for codon in _CODONS]
    with path.open("w") as file:
        for record in range(number):
            dna = "".join(draw.choices(_CODONS, weights, k=length // 3 + 1))[:length]
            lines = "\n".join(dna[place : place + 60] for place in range(0, length, 60))
            file.write(f">read_{record} {record % 7}\n{lines}\n")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--windows", type=int, default=100_000)
    parser.add_argument("--length", type=int, default=500, help="of a record")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--fasta", type=Path, help="instead of random sequences")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fasta = options.fasta or write_records(
            folder / "in.fa", options.windows * 500 // options.length, options.length
        )
        ways = {
            "record by record": partial(record_by_record, fasta, folder / "old", "s", 500),
            "by blocks": partial(extract_frames, fasta, folder / "new", "s", 500, threads=options.processes),
        }
        found = interleaved(ways, options.rounds)
        files = [path.relative_to(folder / "old") for path in (folder / "old").rglob("*") if path.is_file()]
        same = filecmp.cmpfiles(folder / "old", folder / "new", files, shallow=False)[0]
        windows = sum(1 for _ in (folder / "new" / "s_layout.tsv").open()) - 1
        frames = sum(1 for _ in (folder / "new" / "s_identified_protein.faa").open()) / 2
    print(f"{machine()}; {windows} windows, {frames / windows:.2f} frames a window")
    print(f"{options.processes} processes; {len(same)} of {len(files)} files are the same\n")
    base = found["record by record"]
    rows = []
    for way, seconds in found.items():
        per_million = sorted(cpu for _, cpu in seconds)[len(seconds) // 2] / windows * 1e6
        faster = [ratio(base, seconds, which) for which in (1, 0)]
        rows.append(
            [
                way,
                f"{per_million:.0f}",
                *(f"{middle:.2f} ({low:.2f} to {high:.2f})" for low, middle, high in faster),
            ]
        )
    print(table(["way", "CPU s per million windows", "times faster, CPU", "wall clock"], rows))


if __name__ == "__main__":
    main()
