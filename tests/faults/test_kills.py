"""SIGKILL at any moment, of anyone: a rerun with --resume gives the same bytes, and makes nothing twice."""

import os
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np

from tests.faults.conftest import Predict, Reference, published, rounds
from virnucpro.embedding.store import KEY_BYTES
from virnucpro.journal import Journal

WAYS = (("-k",), ("-k", "--parallel", "--device", "cpu", "--gpus", "2", "--token-budget", "150"))
VICTIMS = ("run", "run", "everything", "rank")


def ranks_of(process: "subprocess.Popen[str]") -> list[int]:
    """The process ids of the ranks that live."""
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        return [int(c) for c in children if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes()]
    except OSError:
        return []


def kill(process: "subprocess.Popen[str]", victim: str) -> None:
    """Kill the run, the run with all its ranks, or one rank where there is one."""
    ranks = ranks_of(process)
    if victim == "rank" and ranks:
        os.kill(ranks[-1], signal.SIGKILL)
    elif process.poll() is None:
        (os.killpg if victim == "everything" else os.kill)(process.pid, signal.SIGKILL)
    process.communicate(timeout=120)


def finished_files(output: Path) -> dict[str, tuple[int, int]]:
    """(inode, time of change) of every file that the journal of the latest attempt says is whole."""
    attempts = sorted(output.glob(".*.unfinished/*/journal"))
    if not attempts:
        return {}
    work = attempts[-1].parent
    journal = Journal(work)
    journal._look()
    whole = [path for name in journal._entries for path in journal.whole(name) or []]
    return {
        path.relative_to(work / "result").as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in whole
        if path.is_relative_to(work / "result")
    }


def sealed_proteins(output: Path) -> int:
    """How many proteins the shards hold for sure: those whose seals are there in full."""
    found: set[int] = set()
    for path in output.glob(".*.unfinished/*/shards/*/rank_*.rows"):
        fields = np.frombuffer(
            path.read_bytes()[KEY_BYTES:][: (path.stat().st_size - KEY_BYTES) // 8 * 8], "<i8"
        )
        start = 0
        while start < len(fields) and start + fields[start] + 3 <= len(fields):
            found.update(fields[start + 2 : start + 2 + fields[start]].tolist())
            start += int(fields[start]) + 3
    return len(found)


def test_a_killed_run_goes_on_where_it_was(
    predict: Predict, undisturbed: Reference, tmp_path: Path, luck: random.Random
) -> None:
    for number in range(rounds(4, 80)):
        options = WAYS[number % 2]
        whole = undisturbed(options)
        output = tmp_path / f"out{number}"
        again: tuple[str, ...] = ()
        for _ in range(luck.choice((1, 1, rounds(1, 3)))):
            process = predict.start(output, *options, *again)
            time.sleep(luck.uniform(0.2, 1.02) * whole.seconds)
            kill(process, luck.choice(VICTIMS))
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


def test_a_term_or_a_ctrl_c_says_how_to_go_on(
    predict: Predict, undisturbed: Reference, tmp_path: Path
) -> None:
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130))[: rounds(1, 2)]:
        output = tmp_path / number.name
        process = predict.start(output, *WAYS[1])
        while not list(output.glob(".*.unfinished/*/journal")) and process.poll() is None:
            time.sleep(0.05)
        os.kill(process.pid, number)
        _, said = process.communicate(timeout=60)
        assert process.returncode == code and "Traceback" not in said
        last = said.strip().splitlines()[-1]
        assert last.startswith(
            f"Error: stopped by {number.name}; go on with: virnucpro predict {predict.fasta}"
        )
        assert last.endswith(" --resume")
        assert predict.run(output, *WAYS[1], "--resume").code == 0
        assert published(output) == undisturbed(WAYS[1]).files


def test_a_finished_run_is_not_run_again(predict: Predict, undisturbed: Reference, tmp_path: Path) -> None:
    output = Path(shutil.copytree(undisturbed(WAYS[0]).output, tmp_path / "out"))
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()}
    done = predict.run(output, "--resume")  # without -k: what is kept beyond that does not hurt
    assert done.code == 0 and "already finished" in done.said
    assert {p: p.stat().st_mtime_ns for p in output.rglob("*") if p.is_file()} == before


def test_a_plain_start_leaves_unfinished_work_alone_and_says_so(predict: Predict, tmp_path: Path) -> None:
    """Only a finished run removes it, or `virnucpro clean`."""
    output = tmp_path / "out"
    process = predict.start(output)
    while not list(output.glob(".*.unfinished/*/journal")) and process.poll() is None:
        time.sleep(0.05)
    kill(process, "everything")
    (first,) = output.glob(".*.unfinished/*")
    process = predict.start(output)
    while len(list(output.glob(".*.unfinished/*/journal"))) < 2 and process.poll() is None:
        time.sleep(0.05)
    kill(process, "everything")
    assert (first / "journal").exists()
    other = predict.run(output, "--min-score", "0.5")
    assert other.code == 0
    assert other.said.count("unfinished work of another input, model set or options: ") == 2
    assert f"{first} (" in other.said and " MB, 0 min old); virnucpro clean " in other.said
    assert len(list(output.glob(".*.unfinished/*"))) == 2
    assert predict.run(output, "--resume").code == 0
    assert not list(output.glob(".*.unfinished"))
