"""What threads cost that wait for each other: CPU time of a whole run with default threads over one thread's.

    python -m benchmarks.threads [--windows 1000] [--rounds 3] [--busy 1] [--parallel]

`virnucpro predict` with `mini` on random windows, each with an open frame, rounds interleaved; `--busy`
other processes share the cores all the while. Prints for each round the CPU time with default threads over
that with one, and the same of the wall clock: as we set it, where waiting threads sleep, and
as libgomp would by itself, where they spin for a while.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from benchmarks.common import machine, table

_LENGTH = 500
_POLICIES = {"sleeping": "PASSIVE", "spinning": ""}


def write_windows(path: Path, number: int) -> Path:
    """Records of one window each; codons with A or T last and no T first are no stop in the first frame."""
    letters = Random(0)
    codons = [a + b + c for a in "ACG" for b in "ACGT" for c in "AT"]
    with path.open("w") as file:
        for record in range(number):
            window = "".join(letters.choices(codons, k=_LENGTH // 3 + 1))[:_LENGTH]
            file.write(f">window_{record}\n{window}\n")
    return path


@contextmanager
def neighbours(number: int) -> Iterator[None]:
    """So many processes that never rest."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def run(fasta: Path, output: Path, options: list[str], policy: str) -> tuple[float, float]:
    """Seconds of CPU and of the wall clock."""
    env = {**os.environ, "OMP_WAIT_POLICY": policy, "CUDA_VISIBLE_DEVICES": ""}
    if not policy:
        env |= {"OMP_WAIT_POLICY": "", "GOMP_SPINCOUNT": "300000"}  # libgomp's own, where nothing is said
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    words = ["predict", str(fasta), "--models", "mini", "--output-dir", str(output), "--force", *options]
    subprocess.run([sys.executable, "-m", "virnucpro", *words], env=env, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used, time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--windows", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--busy", type=int, default=1)
    parser.add_argument("--parallel", action="store_true", help="ESM-2 on v2.0")
    options = parser.parse_args()
    print(f"{machine()}; {options.windows} windows, {options.busy} other busy processes\n")
    more = ["--parallel"] if options.parallel else []
    rows = []
    with tempfile.TemporaryDirectory() as name, neighbours(options.busy):
        fasta = write_windows(Path(name) / "windows.fa", options.windows)
        for number in range(options.rounds):
            row = [str(number + 1)]
            one = run(fasta, Path(name) / "out", ["--threads", "1", *more], "PASSIVE")
            for policy in _POLICIES.values():
                default = run(fasta, Path(name) / "out", more, policy)
                row += [f"{all_ / single:.2f}" for all_, single in zip(default, one, strict=True)]
            rows.append(row)
    heads = [f"{what}, {how}" for how in _POLICIES for what in ("CPU time", "wall clock")]
    print(table(["round", *heads], rows))


if __name__ == "__main__":
    main()
