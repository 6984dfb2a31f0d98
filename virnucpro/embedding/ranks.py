"""Ranks: one process per device, started together, watched until all are done, or one fails or is stuck."""

import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Self

from virnucpro.errors import EXIT_CODES, FAILURES, InputError, MachineError, OutOfMemory, RankFailed, explain
from virnucpro.logs import log_to
from virnucpro.threads import end_with_parent, limit

log = logging.getLogger(__name__)
_LOOK_EVERY = 1.0  # seconds between two looks at the ranks
_PATIENCE = {
    "cuda": 15 * 60.0,
    "cpu": 60 * 60.0,
}  # for loading the model, or one batch, on a slow disk or CPU


@dataclass(frozen=True, slots=True)
class Rank:
    """One of `world_size` processes; `gpu` is the only card it sees (a number or UUID), None on CPU."""

    number: int
    world_size: int
    gpu: str | None
    threads: int
    log: Path
    to_parent: Connection

    def alive(self) -> None:
        """Say that work goes on; a rank that says nothing for too long is ended."""
        self.to_parent.send(None)


class Failure(int):
    """The number of a rank that ended without finishing, and how: its `exit_code` as multiprocessing gives it
    (< 0: signal), or, of one that was stuck, how long it was `silent` (seconds); and its last `words`."""

    def __new__(
        cls, rank: int, log: Path, *, exit_code: int | None = None, silent: float = 0, words: str = ""
    ) -> Self:
        failure = super().__new__(cls, rank)
        failure.log, failure.exit_code, failure.silent, failure.words = log, exit_code, silent, words
        return failure

    log: Path
    exit_code: int | None
    silent: float
    words: str

    def __str__(self) -> str:
        if self.silent:
            how = f"no progress for {self.silent:.0f} s; "
        elif self.exit_code is None:
            how = ""
        elif self.exit_code < 0:
            how = f"killed by signal {-self.exit_code}; "
        else:
            how = f"exit code {self.exit_code}; "
        return f"rank {int(self)} ({how}log: {self.log})"


class _Watched:
    """A rank seen from its parent: its process, what it says, and how long it has said nothing."""

    def __init__(self, rank: Rank, process: BaseProcess, words: Connection) -> None:
        self.rank, self.process = rank, process
        self.silent = 0.0
        self._connection = words
        self._said = ""

    def listen(self, since_last_look: float) -> None:
        """Take in what it has said. Only time that this process was awake counts as its silence."""
        self.silent += min(since_last_look, 2 * _LOOK_EVERY)
        try:
            while self._connection.poll():
                self._said = self._connection.recv() or ""
                self.silent = 0.0
        except EOFError:
            return

    def failure(self, exit_code: int | None) -> Failure:
        """It has ended with this code, or (None) is stuck. Its last words: to this process, or, if it was
        killed, to its log."""
        lines = self.rank.log.read_text(errors="replace").strip().splitlines()[-1:]
        silent = self.silent if exit_code is None else 0
        words = self._said or "".join(lines)
        return Failure(self.rank.number, self.rank.log, exit_code=exit_code, silent=silent, words=words)


def run_ranks(
    work: Callable[..., None],
    arguments: Sequence[Any],
    *,
    gpus: Sequence[str | None],
    threads: int,
    logs: Path,
    heartbeat: Callable[[], None] = lambda: None,
    patience: float | None = None,
) -> list[Failure]:
    """Run `work(rank, *arguments)` in one spawned process for each of `gpus` (None: a CPU rank).

    The first failure ends all others, and so does a rank whose `alive` is not called for `patience` seconds
    (default: 15 minutes on GPUs, an hour on CPU). Returns the ranks that failed, not those ended because of
    them. `threads` are shared out among the ranks.
    """
    logs.mkdir(parents=True, exist_ok=True)
    patience = patience or _PATIENCE["cpu" if gpus[0] is None else "cuda"]
    context = multiprocessing.get_context("spawn")
    running: dict[int, _Watched] = {}
    failures: list[Failure] = []
    try:
        for number, gpu in enumerate(gpus):
            from_rank, to_parent = context.Pipe(duplex=False)
            rank = Rank(
                number, len(gpus), gpu, max(threads // len(gpus), 1), _log_of(number, logs), to_parent
            )
            rank.log.touch()  # there to be named, however early the rank ends
            process: BaseProcess = context.Process(
                target=_enter, args=(work, rank, arguments), name=f"rank {number}", daemon=True
            )
            with _only_gpu(gpu):
                process.start()
            to_parent.close()
            running[process.sentinel] = _Watched(rank, process, from_rank)
        looked = time.monotonic()
        while running and not failures:
            heartbeat()
            ended = wait(list(running), timeout=_LOOK_EVERY)
            since_last_look, looked = time.monotonic() - looked, time.monotonic()
            for watched in running.values():
                watched.listen(since_last_look)
            for sentinel in ended:
                assert isinstance(sentinel, int)
                watched = running.pop(sentinel)
                watched.process.join()
                if code := watched.process.exitcode:
                    failures.append(watched.failure(code))
            failures += [w.failure(None) for w in running.values() if not failures and w.silent > patience]
    finally:
        _end([watched.process for watched in running.values()])
    return failures


def check(failed: Sequence[int], world_size: int, stage: str, logs: Path) -> None:
    """Raise `RankFailed`, or the failure that a rank's exit code stands for, when a rank has failed. Of one
    that is a mere number and no `Failure`, no more is known than where its log is."""
    if not failed:
        return
    failures = [rank if isinstance(rank, Failure) else Failure(rank, _log_of(rank, logs)) for rank in failed]
    message = f"{stage}: {len(failures)} of {world_size} ranks failed: {', '.join(map(str, failures))}"
    if failures[0].words:
        message += f"; its last words: {failures[0].words}"
    if failures[0].silent:
        message += "; --rank-timeout is how long one may take for a batch"
    kinds = (InputError, MachineError, OutOfMemory)
    by_code: dict[int | None, type[Exception]] = {EXIT_CODES[kind]: kind for kind in kinds}
    raise by_code.get(failures[0].exit_code, RankFailed)(message)


def _log_of(rank: int, logs: Path) -> Path:
    return logs / f"rank_{rank}.log"


@contextmanager
def _only_gpu(gpu: str | None) -> Iterator[None]:
    """What a process started inside sees: this card and no other; a CPU rank sees none."""
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = gpu or ""
    try:
        yield
    finally:
        if before is None:
            del os.environ["CUDA_VISIBLE_DEVICES"]
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = before


def _enter(work: Callable[..., None], rank: Rank, arguments: Sequence[Any]) -> None:
    """Where a rank begins: everything it prints goes to its log; it does not outlive its parent."""
    with rank.log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    log_to(logging.StreamHandler(sys.stderr))
    end_with_parent()
    limit(rank.threads)
    try:
        work(rank, *arguments)
    except FAILURES as error:
        if (known := explain(error)) is None:
            raise
        code, words = known
        rank.to_parent.send(words)  # the log may lie on the disk that is full
        log.error("%s", words)
        sys.exit(code)


def _end(processes: Sequence[BaseProcess], patience: float = 5.0) -> None:
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + patience
    for process in processes:
        process.join(max(deadline - time.monotonic(), 0))
        if process.is_alive():
            process.kill()
            process.join(patience)
        if process.is_alive():
            log.error(
                "%s (process %s) hangs in the system: its disk or device is stuck", process.name, process.pid
            )
