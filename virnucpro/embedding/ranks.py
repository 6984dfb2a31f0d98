"""Ranks: one process per device, started together, watched until all are done or one has failed."""

import logging
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from virnucpro.cli.entry import EXIT_CODES
from virnucpro.errors import InputError, OutOfMemory, RankFailed

log = logging.getLogger(__name__)
_HEARTBEAT = 1.0  # seconds between two looks at the progress


@dataclass(frozen=True, slots=True)
class Rank:
    """One of `world_size` processes; `gpu` is the only card it sees (a number or UUID), None on CPU."""

    number: int
    world_size: int
    gpu: str | None
    threads: int
    log: Path


@dataclass(frozen=True, slots=True)
class Failure:
    """A rank that ended without finishing, and how (`exit_code` as multiprocessing gives it, < 0: signal)."""

    rank: int
    exit_code: int
    log: Path

    def __str__(self) -> str:
        how = f"exit code {self.exit_code}" if self.exit_code >= 0 else f"killed by signal {-self.exit_code}"
        return f"rank {self.rank} ({how}; log: {self.log})"


def run_ranks(
    work: Callable[..., None],
    arguments: Sequence[Any],
    *,
    gpus: Sequence[str | None],
    threads: int,
    logs: Path,
    heartbeat: Callable[[], None] = lambda: None,
) -> list[Failure]:
    """Run `work(rank, *arguments)` in one spawned process for each of `gpus` (None: a CPU rank).

    The first failure ends all others. Returns the ranks that failed, not those ended because of them.
    `threads` are shared out among the ranks.
    """
    logs.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    running: dict[int, tuple[Rank, BaseProcess]] = {}
    failures: list[Failure] = []
    try:
        for number, gpu in enumerate(gpus):
            rank = Rank(number, len(gpus), gpu, max(threads // len(gpus), 1), logs / f"rank_{number}.log")
            rank.log.touch()  # there to be named, however early the rank ends
            process: BaseProcess = context.Process(
                target=_enter, args=(work, rank, arguments), name=f"rank {number}", daemon=True
            )
            with _only_gpu(gpu):
                process.start()
            running[process.sentinel] = (rank, process)
        while running and not failures:
            heartbeat()
            for ended in wait(list(running), timeout=_HEARTBEAT):
                assert isinstance(ended, int)
                rank, process = running.pop(ended)
                process.join()
                if process.exitcode:
                    failures.append(Failure(rank.number, process.exitcode, rank.log))
    finally:
        _end([process for _, process in running.values()])
    return failures


def check(failures: Sequence[Failure], world_size: int, stage: str) -> None:
    """Raise `RankFailed`, or the failure that a rank's exit code stands for, when a rank has failed."""
    if not failures:
        return
    message = f"{stage}: {len(failures)} of {world_size} ranks failed: {', '.join(map(str, failures))}"
    last_words = failures[0].log.read_text(errors="replace").strip().splitlines()[-1:]
    if last_words:
        message += f"; its last line: {last_words[0]}"
    by_code = {code: error for error, code in EXIT_CODES.items() if error in (InputError, OutOfMemory)}
    raise by_code.get(failures[0].exit_code, RankFailed)(message)


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
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    threading.Thread(target=_follow_parent, daemon=True).start()
    torch.set_num_threads(rank.threads)
    try:
        work(rank, *arguments)
    except torch.OutOfMemoryError as error:
        log.error("out of GPU memory: %s", str(error).splitlines()[0])
        sys.exit(EXIT_CODES[OutOfMemory])
    except InputError as error:
        log.error("%s", error)
        sys.exit(EXIT_CODES[InputError])


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _end(processes: Sequence[BaseProcess], patience: float = 5.0) -> None:
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + patience
    for process in processes:
        process.join(max(deadline - time.monotonic(), 0))
        if process.is_alive():
            process.kill()
            process.join()
