"""The output folder of one sample: what in it is ours, where unfinished work lies, how a result appears.

    <folder>/<sample>/                          the result, with our mark
    <folder>/report.html  pipeline_info/        about the run
    <folder>/.<sample>.unfinished/<run>-<n>/    the n-th attempt at a run, with our mark

Nothing but what is ours is ever replaced or removed, whatever the options. functions/outdir.nf keeps the same
rules for a Nextflow run.
"""

import errno
import logging
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from virnucpro.errors import InputError
from virnucpro.files import MARK, RESULTS, UNFINISHED, claim, mark, remove_empty, remove_own, set_mark
from virnucpro.locks import lock

LOCK = ".virnucpro.lock"
PUBLISHED = (
    *("prediction_results.txt", "prediction_results_highestscore.csv"),
    *("{}_contigs.tsv", "{}_windows.tsv", "{}_viral_ngs.tsv", "{}_viral.fa", "{}_mqc.json"),
)
_INTERMEDIATE = re.compile(
    r"intermediate/(.+_(chunked\d+\.fa|identified_\w+\.faa?)|embeddings\w*\.h5|\w+/output_\w+\.(fa|pt))"
)
# What is said about the run, where, and what shows that such a file is ours.
ABOUT = {
    "report.html": b'<meta name="generator" content="virnucpro',
    "summary.tsv": b"sample\tstatus\treason",
    "pipeline_info/run_info.json": b'"virnucpro":',
}
_NOT_OF_THE_USER = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENAMETOOLONG)
log = logging.getLogger(__name__)


@contextmanager
def opened(folder: Path, sample: str, run: str, may_hold_files: bool) -> Iterator["Output"]:
    """The output folder, checked, and locked for this run alone; made where it is not there, and taken away
    again if nothing comes into it. `run` names the run by all that its result depends on.

    Raises `InputError` for a folder that cannot be written, holds a stranger's files where ours must go, or
    other samples' results, or any file where none may be; `Busy` when another run is at work in it.
    """
    made = not folder.exists()
    _check_writable(folder)
    try:
        with lock(folder / LOCK):
            output = Output(folder, sample, run)
            output.check(may_hold_files)
            for left in unfinished(folder):
                own = mark(left.folder).get("run") == run
                of = "(--resume goes on with it)" if own else "of another input, model set or options"
                log.warning("unfinished work %s: %s; virnucpro clean %s removes it", of, left, folder)
            yield output
    finally:
        if made:
            remove_empty(folder)


@dataclass(frozen=True, slots=True)
class Left:
    """A folder that lies around: its bytes, and the seconds since it was last touched."""

    folder: Path
    size: int
    age: float

    @classmethod
    def of(cls, folder: Path) -> Self:
        files = [file.lstat() for file in (folder, *folder.rglob("*"))]
        touched = max(file.st_mtime for file in files)
        return cls(folder, sum(file.st_size for file in files), time.time() - touched)

    def __str__(self) -> str:
        age = f"{self.age / 3600:.0f} h" if self.age >= 3600 else f"{self.age / 60:.0f} min"
        return f"{self.folder} ({self.size / 1e6:,.1f} MB, {age} old)"


def unfinished(folder: Path) -> Iterator[Left]:
    """What unfinished runs have left in an output folder."""
    for path in sorted(folder.glob(".*.unfinished/*")):
        if mark(path).get("virnucpro") == UNFINISHED:
            yield Left.of(path)
        else:
            log.warning("%s: its mark is damaged or not there, so it stays; remove it yourself", path)


@dataclass(frozen=True, slots=True)
class Output:
    """What one run does with the output folder that it holds; see `opened`."""

    folder: Path
    sample: str
    run: str

    def check(self, may_hold_files: bool) -> None:
        """Raise `InputError` where results would touch what is not ours."""
        there = [p for p in self.folder.iterdir() if p.name != LOCK and not p.match(".*.unfinished")]
        if there and not may_hold_files:
            raise InputError(
                f"{self.folder}: exists and is not empty; "
                "choose another --output-dir, or --force to write into it"
            )
        folders = (self._target, self._attempts, self.folder / "pipeline_info")
        about = {self.folder / name: sign for name, sign in ABOUT.items()}
        for path in (*folders, *about):
            if path.is_symlink():
                self._refuse(f"{path}: is a link, and may lead out of the folder")
            if path.exists() and path.is_dir() != (path in folders):
                self._refuse(f"{path}: is a {'folder' if path.is_dir() else 'file'}, where ours is not")
        stranger = self._stranger() or next((p for p, sign in about.items() if not _is_ours(p, sign)), None)
        if stranger:
            self._refuse(f"{stranger}: is not virnucpro's, and would be replaced")
        others = [
            path.name for path in there if path != self._target and mark(path).get("virnucpro") == RESULTS
        ]
        if others:
            self._refuse(
                f"{self.folder}: holds results of other samples ({', '.join(sorted(others)[:3])}), "
                "whose report this run would replace"
            )

    def attempt(self, resume: bool) -> Path:
        """The folder to work in: with `resume` that of the latest unfinished attempt, else a new one."""
        mine = self._mine()
        if resume and mine:
            return mine[max(mine)]
        number = 1
        while (new := self._attempts / f"{self.run}-{number}").exists():
            number += 1
        claim(new, UNFINISHED, sample=self.sample, run=self.run)
        return new

    def finished(self, intermediate: bool) -> bool:
        """Whether this very run's result is here, with what it must hold."""
        said = mark(self._target)
        return (
            said.get("run") == self.run
            and (said.get("intermediate") or not intermediate)
            and all((self._target / name.format(self.sample)).is_file() for name in PUBLISHED)
        )

    def publish(self, work: Path, intermediate: bool) -> None:
        """Let `work/result` appear as the sample's folder, whole and at once; killed at any point, it can be
        called again."""
        result = work / "result"
        if not intermediate and (result / "intermediate").exists():
            (result / "intermediate").rename(work / "intermediate")
        set_mark(result, RESULTS, sample=self.sample, run=self.run, intermediate=intermediate)
        if self._target.exists():
            self._target.rename(work / "replaced")
        result.rename(self._target)

    def finish(self) -> None:
        """Let the report appear beside the result, and remove what all attempts at this run have left."""
        (self.folder / "pipeline_info").mkdir(exist_ok=True)
        for _, work in sorted(self._mine().items()):
            for name in ABOUT:
                if (made := work / Path(name).name).exists():
                    made.replace(self.folder / name)
            remove_own(work, UNFINISHED)
        if self._attempts.exists():
            remove_empty(self._attempts)

    def discard_if_nothing_was_done(self, work: Path) -> None:
        """Remove an attempt that has come to no file that a resume could use."""
        if work.exists() and not (work / "journal").exists():
            remove_own(work, UNFINISHED)
            remove_empty(self._attempts)

    @property
    def _target(self) -> Path:
        return self.folder / self.sample

    @property
    def _attempts(self) -> Path:
        return self.folder / f".{self.sample}.unfinished"

    def _mine(self) -> dict[int, Path]:
        """The attempts at this run that are there, by number."""
        found = (
            (path.name.removeprefix(f"{self.run}-"), path) for path in self._attempts.glob(f"{self.run}-*")
        )
        return {
            int(number): path
            for number, path in found
            if number.isdecimal() and mark(path).get("virnucpro") == UNFINISHED
        }

    def _stranger(self) -> Path | None:
        """What stands in the sample's folder and is not ours: the folder itself when it has no mark."""
        if not self._target.exists() or not any(self._target.iterdir()):
            return None
        said = mark(self._target)
        if (said.get("virnucpro"), said.get("sample")) != (RESULTS, self.sample):
            return self._target
        names = {MARK, *(name.format(self.sample) for name in PUBLISHED)}
        for path in sorted(self._target.rglob("*")):
            name = path.relative_to(self._target).as_posix()
            if path.is_symlink() or not (path.is_dir() or name in names or _INTERMEDIATE.fullmatch(name)):
                return path
        return None

    def _refuse(self, why: str) -> None:
        raise InputError(f"{why}; choose another --output-dir")


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        if error.errno in _NOT_OF_THE_USER:
            raise
        why = f"{folder}: cannot be written ({error.strerror})"
        raise InputError(f"{why}; choose another --output-dir") from None


def _is_ours(path: Path, sign: bytes) -> bool:
    """Whether a file that says something about a run is ours; also when none is there."""
    if not path.exists():
        return True
    with path.open("rb") as file:
        return sign in file.read(4096)
