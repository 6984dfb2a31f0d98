"""Ten thousand to a million sequences through everything of the v2.0 engine but the model.

Index, plan, shards, gather; vectors of the smallest model's width, written as the ranks would.

    python -m benchmarks.scale [--numbers 10000 100000 1000000] [--dim 320]

Prints a row for each number of sequences: seconds a step, and the peak of the resident set, before and after,
in a process of its own.
"""

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.common import machine, random_proteins, write_fasta
from virnucpro.embedding.index import build_index
from virnucpro.embedding.plan import plan, share
from virnucpro.embedding.store import ShardWriter, gather, recover

RANKS = 2
BUDGET = 4_096


def measure(fasta: Path, folder: Path, dim: int) -> dict[str, float]:
    """Seconds of each step, and MB of memory at the end."""
    seconds = {"memory before": _peak()}

    def timed(step: str) -> None:
        seconds[step] = time.perf_counter() - began

    began = time.perf_counter()
    index = build_index([[fasta]])
    timed("index")
    began = time.perf_counter()
    tokens = index.spans["letters"].astype(np.int64) + 2
    batches = plan(tokens, BUDGET, RANKS)
    shares = share(np.array([tokens[batch].sum() for batch in batches]), RANKS)
    timed("plan")
    began = time.perf_counter()
    random = np.random.default_rng(0)
    for rank, mine in enumerate(shares):
        with ShardWriter(folder, rank) as writer:
            for batch in mine:
                writer.append(batches[batch], random.random((len(batches[batch]), dim), dtype=np.float32))
    timed("write shards")
    began = time.perf_counter()
    recover(folder, dim)
    timed("check shards")
    began = time.perf_counter()
    gather(folder, dim, index, {folder / "embeddings.h5": [fasta]}, {})
    timed("gather")
    return seconds | {"memory": _peak()}


def _peak() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM:"))) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--numbers", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--dim", type=int, default=320)
    options = parser.parse_args()
    print(f"{machine()}; vectors of {options.dim}\n")
    for position, number in enumerate(options.numbers):
        with tempfile.TemporaryDirectory() as name:
            fasta = write_fasta(Path(name) / "output_1.fa", random_proteins(number))
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                row = pool.apply(measure, (fasta, Path(name), options.dim))
        if not position:
            print("| sequences |", " | ".join(f"{n} (MB)" if "memory" in n else f"{n} (s)" for n in row), "|")
            print("| --- " * (len(row) + 1) + "|")
        print(f"| {number:,} |", " | ".join(f"{value:.1f}" for value in row.values()), "|", flush=True)


if __name__ == "__main__":
    main()
