"""SIGKILL the v2.0 engine at random moments, run it again, compare with a run that nobody disturbed.

    python -m benchmarks.kill_resume [--rounds 20]

Each round starts two CPU ranks with checkpointing and kills the parent, one rank, or one rank just as its
writer appends (the shard has grown since the last look); then the same command runs to its end, on one to
three ranks. Prints a row a round: who was killed and when, the proteins that counted afterwards, how many of
those seen in the shards at the kill did not, and whether `embeddings` is the same, byte for byte.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import embeddings, random_proteins, write_checkpoint, write_fasta
from virnucpro.embedding.device import Compute
from virnucpro.embedding.engine import Esm2, embed_proteins
from virnucpro.embedding.ranks import check
from virnucpro.embedding.store import embedded, recover
from virnucpro.pipeline.runtime_config import RuntimeConfig

DIM = 32
VICTIMS = ("parent", "rank", "writer")


def run(fasta: Path, weights: Path, folder: Path, ranks: int) -> None:
    """The run that is killed: embeds `fasta` into `folder`/embeddings.h5, shards in `folder`/kept."""
    config = RuntimeConfig(True, folder / "kept", token_budget=512)
    model = Esm2("tiny", weights, "0" * 64, Compute("cpu", "fp32"))
    _, failures = embed_proteins({folder / "embeddings.h5": [fasta]}, model, [None] * ranks, config, folder)
    check(failures, ranks, "ESM-2 v2.0")


def start(fasta: Path, weights: Path, folder: Path, ranks: int) -> subprocess.Popen[bytes]:
    """The same as a process."""
    folder.mkdir(exist_ok=True)
    words = [
        sys.executable,
        "-m",
        "benchmarks.kill_resume",
        "--run",
        *map(str, (fasta, weights, folder, ranks)),
    ]
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(words, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})


def ranks_of(process: subprocess.Popen[bytes]) -> list[int]:
    """Process ids of the spawned ranks that live."""
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        return [
            int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
        ]
    except FileNotFoundError:
        return []


def kill(process: subprocess.Popen[bytes], victim: str, kept: Path, delay: float) -> int:
    """Wait `delay` seconds from the first rows on, then SIGKILL; how many proteins the shards then held."""

    def held() -> int:
        return sum(embedded(folder, DIM) for folder in kept.glob("*/"))

    while not held() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(delay)
    before = held()
    while victim == "writer" and held() == before and process.poll() is None:
        time.sleep(0.0002)
    targets = [process.pid] if victim == "parent" else ranks_of(process)[-1:]
    for target in targets:
        os.kill(target, signal.SIGKILL)
    seen = held()
    process.wait()
    return seen


def one_round(
    fasta: Path, weights: Path, folder: Path, whole: bytes, victim: str, delay: float, ranks: int
) -> tuple[int, int, bool]:
    """(proteins that counted after the kill, of those seen how many did not, same bytes after the rerun)."""
    seen = kill(start(fasta, weights, folder, 2), victim, folder / "kept", delay)
    safe = sum(len(recover(shards, DIM)) for shards in (folder / "kept").glob("*/"))
    if start(fasta, weights, folder, ranks).wait() != 0:
        raise RuntimeError((folder / "log.txt").read_text())
    return safe, seen - safe, embeddings(folder / "embeddings.h5").tobytes() == whole


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--run", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.run:
        fasta, weights, folder, ranks = options.run
        run(Path(fasta), Path(weights), Path(folder), int(ranks))
        return
    letters = random.Random()
    with tempfile.TemporaryDirectory() as name:
        here = Path(name)
        fasta, weights = (
            write_fasta(here / "output_1.fa", random_proteins(20_000)),
            write_checkpoint(here / "tiny.pt", "tiny"),
        )
        began = time.monotonic()
        if start(fasta, weights, here / "whole", 2).wait() != 0:
            raise RuntimeError((here / "whole" / "log.txt").read_text())
        seconds = time.monotonic() - began
        whole = embeddings(here / "whole" / "embeddings.h5").tobytes()
        print("| killed | after (s) | ranks of the rerun | proteins kept | seen but not kept | same bytes |")
        print("| --- | --- | --- | --- | --- | --- |")
        same = 0
        for number in range(options.rounds):
            victim, delay, ranks = (
                VICTIMS[number % 3],
                letters.uniform(0, 0.5 * seconds),
                letters.choice((1, 2, 3)),
            )
            folder = here / str(number)
            safe, lost, equal = one_round(fasta, weights, folder, whole, victim, delay, ranks)
            same += equal
            print(
                f"| {victim} | {delay:.2f} | {ranks} | {safe} | {lost} | {'yes' if equal else 'NO'} |",
                flush=True,
            )
        print(f"\n{same} of {options.rounds} reruns gave the same bytes")
        sys.exit(same != options.rounds)


if __name__ == "__main__":
    main()
