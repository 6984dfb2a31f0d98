"""Running the real pipeline: each run has its own launch and work folder, all share one Nextflow."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TASK = re.compile(r"\[[0-9a-f]{2}/[0-9a-f]{6}\] (Submitted|Cached) process > (?:\w+:)?(\w+)")


@dataclass(frozen=True)
class Run:
    """What one Nextflow run printed and left behind."""

    code: int
    output: str
    folder: Path

    @property
    def outdir(self) -> Path:
        return self.folder / "out dir"

    def processes(self, state: str) -> set[str]:
        """Names of the processes with a task that was `Submitted`, or `Cached`."""
        return {name for found, name in TASK.findall(self.output) if found == state}

    def tasks(self, process: str, state: str = "Submitted") -> int:
        """How many tasks of the process were `Submitted`, or `Cached`."""
        return TASK.findall(self.output).count((state, process))

    def only_cached(self) -> set[str]:
        """Names of the processes all of whose tasks came from the cache."""
        return self.processes("Cached") - self.processes("Submitted")

    def rows(self, path: str) -> list[dict[str, str]]:
        """The rows of a TSV file under `outdir`, by column name."""
        header, *lines = (self.outdir / path).read_text().splitlines()
        return [dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines]


def nextflow(folder: Path, *arguments: str, parser: str = "v1", env: dict[str, str] | None = None) -> Run:
    """Run tools/nextflow in `folder`, with the tests' own Python first on the PATH."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "NXF_SYNTAX_PARSER": parser,
        "NXF_ANSI_LOG": "false",
        **(env or {}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [ROOT / "tools" / "nextflow", *arguments],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=600,
    )
    return Run(done.returncode, done.stdout, folder)


def pipeline(
    folder: Path,
    *arguments: str,
    parser: str = "v1",
    profile: str = "test,local",
    env: dict[str, str] | None = None,
    root: Path = ROOT,
) -> Run:
    """Run main.nf, with results under `out dir`."""
    command = ["run", str(root / "main.nf"), "-profile", profile, "--outdir", "out dir", *arguments]
    return nextflow(folder, *command, parser=parser, env=env)


@pytest.fixture
def succeeded() -> Callable[[Run], Run]:
    """Hand a run on when it ended well and without a warning; show what it printed when not."""

    def check(run: Run) -> Run:
        assert run.code == 0, run.output
        assert "WARN" not in run.output, run.output
        return run

    return check
