"""v1.0's way over several devices: each rank takes every world_size-th file."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from virnucpro.embedding.device import Compute
from virnucpro.embedding.ranks import Rank, check, run_ranks

log = logging.getLogger(__name__)
EmbedFiles = Callable[[Path, Sequence[Path], Path, Compute], None]


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
) -> None:
    """Run `embed_files(weights, files, output, compute)` over the files, one rank a device, no more ranks
    than files; with one, in this process. Raises `RankFailed` naming ranks and logs when one fails."""
    gpus = gpus[: len(fastas)]
    if len(gpus) <= 1:
        embed_files(weights, fastas, output, compute)
        return
    arguments = (embed_files, weights, fastas, output, compute)
    check(run_ranks(_embed_share, arguments, gpus=gpus, threads=threads, logs=logs), len(gpus), logs.name)


def _embed_share(
    rank: Rank, embed_files: EmbedFiles, weights: Path, fastas: Sequence[Path], output: Path, compute: Compute
) -> None:
    mine = fastas[rank.number :: rank.world_size]
    embed_files(weights, mine, output, compute)
    log.info("rank %s of %s: %s files done", rank.number, rank.world_size, len(mine))
