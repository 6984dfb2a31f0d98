"""Nothing hangs without a word: a stopped rank is ended and named, an orphan is not waited for."""

import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.conftest import ROOT, V2, Predict, Reference, published, ranks_of
from virnucpro.embedding import ranks
from virnucpro.embedding.ranks import Rank, check, run_ranks
from virnucpro.errors import RankFailed
from virnucpro.locks import _started

TWO = (*V2, "--gpus", "2")


def _get_on_or_not(rank: Rank) -> None:
    """Rank 0 gets on; rank 1 says nothing more after its first words."""
    rank.alive()
    print("begun", flush=True)  # to its log
    while rank.number == 0:
        rank.alive()
        time.sleep(0.1)
    time.sleep(600)


def test_a_silent_rank_is_named_and_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that works longer than the limit but says so is left alone."""
    monkeypatch.setattr(ranks, "_LOOK_EVERY", 0.2)
    failures = run_ranks(_get_on_or_not, (), gpus=[None] * 2, threads=2, logs=tmp_path, patience=15)
    assert failures == [1]
    with pytest.raises(RankFailed) as caught:
        check(failures, 2, "ESM-2 v2.0", tmp_path)
    log = re.escape(str(tmp_path / "rank_1.log"))
    assert re.search(rf"rank 1 \(no progress for \d+ s; log: {log}\)", str(caught.value))
    assert "--rank-timeout" in str(caught.value)


PARENT = """
import sys
from pathlib import Path
from tests.faults.test_stuck import _get_on_or_not
from virnucpro.embedding.ranks import run_ranks
run_ranks(_get_on_or_not, (), gpus=[None] * 2, threads=1, logs=Path(sys.argv[1]))
"""


def test_ranks_end_with_their_parent(tmp_path: Path) -> None:
    """One in the middle of a batch too, which has nothing to say to it."""
    logs = [tmp_path / f"rank_{number}.log" for number in (0, 1)]
    process = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], cwd=ROOT, text=True)
    while not all(log.exists() and "begun" in log.read_text() for log in logs):
        assert process.poll() is None
        time.sleep(0.1)
    ranks = ranks_of(process)
    assert len(ranks) == 2
    process.kill()
    process.wait()
    until = time.monotonic() + 60
    while left := [pid for pid in ranks if _started(pid)]:
        assert time.monotonic() < until, left
        time.sleep(0.1)


def stop_a_rank(process: "subprocess.Popen[str]") -> int:
    """SIGSTOP the first rank that has begun, as a hung disk would."""
    while not (found := ranks_of(process)) and process.poll() is None:
        time.sleep(0.02)
    time.sleep(0.5)
    os.kill(found[0], signal.SIGSTOP)
    return found[0]


def test_a_stopped_rank_ends_the_run_and_is_waited_for_by_none(
    predict: Predict, undisturbed: Reference, tmp_path: Path
) -> None:
    """A rank that is stopped is named; one whose parent is killed beside it, so that it cannot notice, is not
    waited for by the next run."""
    undisturbed(V2)

    def watched() -> None:
        process = predict.start(tmp_path / "watched", *TWO, "--rank-timeout", "8")
        stopped = stop_a_rank(process)
        _, said = process.communicate(timeout=120)
        assert process.returncode == 1 and "Traceback" not in said
        found = re.search(r"rank \d \(no progress for \d+ s; log: (\S+)\)", said.strip().splitlines()[-1])
        assert found and Path(found[1]).exists(), said
        assert not Path(f"/proc/{stopped}").exists()

    def orphaned() -> None:
        output = tmp_path / "orphaned"
        process = predict.start(output, *V2)
        orphan = stop_a_rank(process)
        try:
            os.kill(process.pid, signal.SIGKILL)
            process.wait(timeout=60)
            assert Path(f"/proc/{orphan}").exists()
            assert predict.run(output, *V2, "--resume").code == 0
            assert published(output) == undisturbed(V2).files
        finally:
            os.kill(orphan, signal.SIGKILL)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(watched), pool.submit(orphaned)]:
            done.result()
