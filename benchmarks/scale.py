"""Ten thousand to a million proteins through the whole v2.0 engine with the smallest model: time and memory.

    python -m benchmarks.scale [--numbers 10000 100000 1000000] [--dim 320]

Two tables. Steps: index, plan, shards and gather in one process, with random vectors as wide as the smallest
published model's. Engine: everything, a CPU rank included, with a model of three layers, 32 wide. Memory is
the most that was resident, in MB: of the parent, before and after, and of the rank.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.common import machine, random_proteins, run_engine, table, write_checkpoint, write_fasta
from virnucpro.embedding.index import build_index
from virnucpro.embedding.plan import plan, share
from virnucpro.embedding.store import ShardWriter, gather, recover

RANKS = 2
BUDGET = 4_096
KEY = bytes(32)


def steps(fasta: Path, folder: Path, dim: int) -> dict[str, float]:
    """Seconds of each step, and memory."""
    measured = {"memory before": _peak()}
    began = time.perf_counter()

    def timed(step: str) -> None:
        nonlocal began
        measured[f"{step} (s)"] = time.perf_counter() - began
        began = time.perf_counter()

    index = build_index([[fasta]])
    timed("index")
    tokens = index.spans["letters"].astype(np.int64) + 2
    batches = plan(tokens, BUDGET, RANKS)
    shares = share(np.array([tokens[batch].sum() for batch in batches]), RANKS)
    timed("plan")
    random = np.random.default_rng(0)
    for rank, mine in enumerate(shares):
        with ShardWriter(folder, rank, KEY) as writer:
            for batch in mine:
                writer.append(batches[batch], random.random((len(batches[batch]), dim), dtype=np.float32))
    timed("write shards")
    recover(folder, dim, KEY, len(index.spans))
    timed("check shards")
    gather(folder, dim, KEY, index, {folder / "embeddings.h5": [fasta]}, {})
    timed("gather")
    return measured | {"memory after": _peak()}


def engine(fasta: Path, folder: Path, dim: int) -> dict[str, float]:
    """Seconds and memory of a whole run; `dim` is that of the model."""
    weights = write_checkpoint(folder / "esm2.pt", "tiny")
    before = _peak()
    facts = run_engine(fasta, weights, folder / "embeddings.h5")
    return {
        "memory before": before,
        "whole (s)": facts.seconds,
        "computing (s)": facts.compute_seconds,
        "memory after": _peak(),
        "memory of the rank": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    }


def _peak() -> float:
    """Not from getrusage, which goes on from what the process was that started this one."""
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--numbers", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--dim", type=int, default=320)
    options = parser.parse_args()
    print(f"{machine()}; vectors of {options.dim}\n")
    for measure in (steps, engine):
        rows: list[dict[str, float]] = []
        for number in options.numbers:
            with tempfile.TemporaryDirectory() as name:
                fasta = write_fasta(Path(name) / "output_1.fa", random_proteins(number))
                with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                    rows.append(process.submit(measure, fasta, Path(name), options.dim).result())
        cells = [
            [f"{number:,}", *(f"{value:.1f}" for value in row.values())]
            for number, row in zip(options.numbers, rows, strict=True)
        ]
        print(f"{table(['proteins', *rows[0]], cells)}\n", flush=True)


if __name__ == "__main__":
    main()
