"""Two ranks of one thread each against one: how near to twice the speed.

    python -m benchmarks.ranks [--number 600] [--shape t12_35M] [--rounds 3]

The whole v2.0 engine on CPU, rounds interleaved. Prints for each round the speed of two ranks over twice that
of one: of computing alone, as the engine reports it, and of the stage, with starting processes, loading the
model and gathering; and whether both gave the same bytes but for rounding.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.common import (
    SHAPES,
    embeddings,
    machine,
    random_proteins,
    run_engine,
    table,
    worst_distance,
    write_checkpoint,
    write_fasta,
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--number", type=int, default=600)
    parser.add_argument("--shape", choices=SHAPES, default="t12_35M")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{machine()}; {options.number} proteins, {options.shape}\n")
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fasta = write_fasta(folder / "output_1.fa", random_proteins(options.number))
        weights = write_checkpoint(folder / "esm2.pt", options.shape)
        outputs = {ranks: folder / f"{ranks}.h5" for ranks in (1, 2)}
        for number in range(options.rounds):
            facts = {
                ranks: run_engine(fasta, weights, outputs[ranks], ranks, threads=ranks)
                for ranks in ((1, 2) if number % 2 else (2, 1))
            }
            distance = worst_distance(embeddings(outputs[2]), embeddings(outputs[1]))
            rows.append(
                [
                    f"{facts[1].compute_seconds / facts[2].compute_seconds / 2:.2f}",
                    f"{facts[1].seconds / facts[2].seconds / 2:.2f}",
                    f"{distance:.0e}",
                ]
            )
    print(table(["computing", "whole stage", "largest distance of a row"], rows))


if __name__ == "__main__":
    main()
