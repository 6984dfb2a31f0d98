"""Killed at any moment, whoever of a run: --resume gives the same bytes, and makes nothing twice."""

import os
import random
import re
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tests.faults.conftest import V1, V2, Predict, Reference, finished_files, published, ranks_of, rounds
from virnucpro.embedding.store import KEY_BYTES

TWO = (*V2, "--gpus", "2")
# Who is killed, in turn: the run, the run with all its ranks, one rank; or who is asked to stop.
ROUNDS = [(V1, "run"), (TWO, "rank"), (V1, "SIGTERM"), (V2, "everything"), (TWO, "run"), (V2, "SIGINT")]


def end(process: "subprocess.Popen[str]", victim: str) -> str:
    """Kill, or ask to stop; what the run said."""
    ranks = ranks_of(process)
    if process.poll() is None:
        if victim.startswith("SIG"):
            os.kill(process.pid, signal.Signals[victim])
        elif victim == "rank" and ranks:
            os.kill(ranks[-1], signal.SIGKILL)
        else:
            (os.killpg if victim == "everything" else os.kill)(process.pid, signal.SIGKILL)
    return process.communicate(timeout=120)[1]


def sealed_proteins(output: Path) -> int:
    """How many proteins the shards hold for sure: those whose seals are there in full."""
    found: set[int] = set()
    for path in output.glob(".*.unfinished/*/shards/*/rank_*.rows"):
        content = path.read_bytes()[KEY_BYTES:]
        fields = np.frombuffer(content[: len(content) // 8 * 8], "<i8")
        start = 0
        while start < len(fields) and start + fields[start] + 3 <= len(fields):
            found.update(fields[start + 2 : start + 2 + fields[start]].tolist())
            start += int(fields[start]) + 3
    return len(found)


def one_round(
    predict: Predict, undisturbed: Reference, output: Path, number: int, luck: random.Random
) -> None:
    options, victim = ROUNDS[number % len(ROUNDS)]
    whole = undisturbed(V1 if options == V1 else V2)
    again: tuple[str, ...] = ()
    for _ in range(luck.choice((1, 1, rounds(1, 3)))):
        process = predict.start(output, *options, *again)
        began = time.monotonic()
        while not output.exists() and process.poll() is None:
            time.sleep(0.02)
        time.sleep(luck.uniform(0, 1.02) * max(whole.seconds - (time.monotonic() - began), 0))
        said = end(process, victim)
        assert "Traceback" not in said, said
        # One that had said its last word meets a signal without us: Python has let go of its handlers.
        let_go = "Report: " in said and process.returncode < 0
        if victim.startswith("SIG") and let_go:
            assert process.returncode == -signal.Signals[victim]
        elif victim.startswith("SIG") and process.returncode:
            assert process.returncode == 128 + signal.Signals[victim]
            last = said.strip().splitlines()[-1]
            goes_on = f"go on with: virnucpro predict {predict.fasta}"
            assert last.startswith(f"Error: stopped by {victim}; {goes_on}") and last.endswith(" --resume")
        again = ("--resume",)
    before, sealed = finished_files(output), sealed_proteins(output)
    done = predict.run(output, *options, *again)
    assert done.code == 0, done.said
    assert published(output) == whole.files
    assert not list(output.glob(".*")), "nothing is left of unfinished work, nor of the lock"
    sample = output / predict.fasta.stem
    for name, known in before.items():
        state = (sample / name).stat()
        assert (state.st_ino, state.st_mtime_ns) == known, f"{name} was made twice"
    if sealed and "intermediate/embeddings.h5" not in before:
        found = re.search(r"ESM-2 v2.0: (\d+) of \d+ proteins found", done.said)
        assert found and int(found[1]) >= sealed, done.said


def test_a_killed_run_goes_on_where_it_was(
    predict: Predict, undisturbed: Reference, tmp_path: Path, luck: random.Random
) -> None:
    undisturbed(V1), undisturbed(V2)
    lucks = [random.Random(luck.random()) for _ in range(rounds(4, 100))]
    with ThreadPoolExecutor(2) as pool:
        done = [
            pool.submit(one_round, predict, undisturbed, tmp_path / f"out{number}", number, own)
            for number, own in enumerate(lucks)
        ]
    for number, finished in enumerate(done):
        error = finished.exception()
        assert error is None, f"round {number}, {ROUNDS[number % len(ROUNDS)]}: {error}"


def test_a_finished_run_is_not_run_again(predict: Predict, undisturbed: Reference, tmp_path: Path) -> None:
    output = Path(shutil.copytree(undisturbed(V1).output, tmp_path / "out"))
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()}
    done = predict.run(output, "--resume")  # without -k: what is kept beyond that does not hurt
    assert done.code == 0 and "already finished" in done.said
    assert {p: p.stat().st_mtime_ns for p in output.rglob("*") if p.is_file()} == before
