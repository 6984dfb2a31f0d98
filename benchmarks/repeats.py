"""Proteins that come twice are computed once, and every record gets its row.

    python -m benchmarks.repeats [--number 1000] [--shape t12_35M] [--rounds 3]

The whole v2.0 engine on one CPU rank, rounds interleaved: `number` records that all differ, and as many of
which each second repeats another, shuffled. Prints the time of the second over that of the first, and whether
its rows are, byte for byte, those of the different half alone.
"""

import argparse
import random
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.common import (
    SHAPES,
    embeddings,
    machine,
    random_proteins,
    run_engine,
    table,
    write_checkpoint,
    write_fasta,
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--number", type=int, default=1000)
    parser.add_argument("--shape", choices=SHAPES, default="t12_35M")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{machine()}; {options.number} proteins, {options.shape}\n")
    different = random_proteins(options.number)
    half = different[: options.number // 2]
    repeated = random.Random(1).sample(half * 2, len(half) * 2)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = write_checkpoint(folder / "esm2.pt", options.shape)
        inputs = {"different": different, "repeated": repeated, "half": half}
        for kind, proteins in inputs.items():
            (folder / kind).mkdir()
            write_fasta(folder / kind / "output_1.fa", proteins)

        def run(kind: str) -> tuple[float, np.ndarray]:
            output = folder / kind / "embeddings.h5"
            seconds = run_engine(folder / kind / "output_1.fa", weights, output).seconds
            return seconds, embeddings(output)

        _, alone = run("half")
        row_of = {protein: row for row, protein in enumerate(half)}
        for _ in range(options.rounds):
            whole, _ = run("different")
            seconds, vectors = run("repeated")
            same = np.array_equal(vectors, alone[[row_of[protein] for protein in repeated]])
            rows.append([f"{seconds / whole:.2f}", "yes" if same else "NO"])
    print(table(["time over that of all different", "the rows of the half alone, byte for byte"], rows))


if __name__ == "__main__":
    main()
