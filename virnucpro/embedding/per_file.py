"""v1.0's way over several devices: each rank takes every world_size-th file."""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from virnucpro.embedding.device import Compute
from virnucpro.embedding.facts import StageFacts
from virnucpro.embedding.ranks import Rank, check, run_ranks

log = logging.getLogger(__name__)
EmbedFiles = Callable[
    [Path, Sequence[Path], Path, Compute, Callable[[], None]], Iterator[tuple[Path, StageFacts]]
]
Finished = Callable[[Path, StageFacts], None]


def embed_per_file(
    embed_files: EmbedFiles,
    weights: Path,
    fastas: Sequence[Path],
    output: Path,
    compute: Compute,
    *,
    gpus: Sequence[str | None],
    threads: int,
    logs: Path,
    finished: Finished,
    patience: float | None = None,
) -> None:
    """Run `embed_files(weights, files, output, compute, alive)` over the files, one rank a device, no more
    ranks than files; with one, in this process. `finished` takes each file and its facts, in the process that
    made it. `patience` as in `run_ranks`. Raises `RankFailed` naming ranks and logs when one fails."""
    gpus = gpus[: len(fastas)]
    if len(gpus) <= 1:
        for path, facts in embed_files(weights, fastas, output, compute, lambda: None):
            finished(path, facts)
        return
    arguments = (embed_files, weights, fastas, output, compute, finished)
    failures = run_ranks(_embed_share, arguments, gpus=gpus, threads=threads, logs=logs, patience=patience)
    check(failures, len(gpus), logs.name, logs)


def _embed_share(
    rank: Rank,
    embed_files: EmbedFiles,
    weights: Path,
    fastas: Sequence[Path],
    output: Path,
    compute: Compute,
    finished: Finished,
) -> None:
    mine = fastas[rank.number :: rank.world_size]
    for path, facts in embed_files(weights, mine, output, compute, rank.alive):
        finished(path, facts)
    log.info("rank %s of %s: %s files done", rank.number, rank.world_size, len(mine))
