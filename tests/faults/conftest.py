"""Runs of the whole way that are killed, starved, damaged or misled, and what must come out all the same.

The short form is part of `make test`; `make soak` sets SOAK, and the same tests go through many more rounds.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import SOAK
from virnucpro.journal import Journal
from virnucpro.models.model_set import ModelSet

V1 = ("-k",)
V2 = ("-k", "--parallel", "--device", "cpu", "--token-budget", "150")
ROOT = Path(__file__).parents[2]


def rounds(short: int, soak: int) -> int:
    """How many rounds a test goes through."""
    return soak if SOAK else short


@dataclass(frozen=True)
class Done:
    """How a program ended: its exit code and what it said on stderr."""

    code: int
    said: str

    @property
    def last(self) -> str:
        return self.said.strip().splitlines()[-1]


@dataclass(frozen=True)
class Predict:
    """`virnucpro predict` as a program of its own, on one input with one model set, as a user types it."""

    fasta: Path
    models: Path

    def command(self, output: Path, *options: str) -> list[str]:
        words = ["predict", str(self.fasta), "-m", str(self.models), "-o", str(output), "-t", "1"]
        return [sys.executable, "-m", "virnucpro", *words, "--split-size", "4", *options]

    def start(
        self, output: Path, *options: str, env: dict[str, str] | None = None
    ) -> "subprocess.Popen[str]":
        """In a session of its own, so that all its processes can be killed at once."""
        return subprocess.Popen(
            self.command(output, *options),
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            text=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def run(self, output: Path, *options: str, env: dict[str, str] | None = None) -> Done:
        process = self.start(output, *options, env=env)
        _, said = process.communicate(timeout=300)
        assert "Traceback" not in said, said
        return Done(process.returncode, said)


@pytest.fixture(scope="session")
def predict(reads: Path, model_set: ModelSet) -> Predict:
    return Predict(reads, model_set.directory)


def published(output: Path) -> dict[str, bytes]:
    """Every file of the result by its name, but for what holds the seconds that the run took."""
    files = (path.relative_to(output) for path in output.rglob("*") if path.is_file())
    return {
        path.as_posix(): (output / path).read_bytes()
        for path in files
        if path.parts[0] not in ("report.html", "pipeline_info") and not path.match(".*")
        if not path.parts[0].startswith(".")
    }


def ranks_of(process: "subprocess.Popen[str]") -> list[int]:
    """The process ids of the ranks that live."""
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        return [int(c) for c in children if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes()]
    except OSError:
        return []


def finished_files(output: Path) -> dict[str, tuple[int, int]]:
    """(inode, time of change) of every file of the result that the latest attempt's journal says is whole."""
    attempts = sorted(output.glob(".*.unfinished/*/journal"))
    if not attempts:
        return {}
    work = attempts[-1].parent
    journal = Journal(work)
    entered = [
        json.loads(line[33:]) for line in journal.path.read_bytes().splitlines() if line.endswith(b"}")
    ]
    whole = [path for entry in entered for path in journal.whole(entry["name"]) or []]
    return {
        path.relative_to(work / "result").as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in whole
        if path.is_relative_to(work / "result")
    }


@dataclass(frozen=True)
class Undisturbed:
    """A run that nobody disturbed: its output folder, what it published, and how long it took."""

    output: Path
    files: dict[str, bytes]
    seconds: float


Reference = Callable[[tuple[str, ...]], Undisturbed]


@pytest.fixture(scope="session")
def undisturbed(predict: Predict, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """The run with these options, once a session."""
    known: dict[tuple[str, ...], Undisturbed] = {}

    def run(options: tuple[str, ...]) -> Undisturbed:
        if options not in known:
            output = tmp_path_factory.mktemp("undisturbed") / "out"
            began = time.monotonic()
            done = predict.run(output, *options)
            assert done.code == 0, done.said
            known[options] = Undisturbed(output, published(output), time.monotonic() - began)
            assert len(known[options].files) > 6
        return known[options]

    return run
