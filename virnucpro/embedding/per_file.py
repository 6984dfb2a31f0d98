"""v1.0's way: one file of frames in, one `output_N_<model>.pt` out; over several devices, each rank takes
every world_size-th file."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

import numpy as np

from virnucpro.embedding.device import Compute
from virnucpro.embedding.facts import StageFacts
from virnucpro.embedding.plan import Rows
from virnucpro.embedding.ranks import Rank, check, run_ranks
from virnucpro.embedding.runner import B, Forward, Vectors, run
from virnucpro.errors import InputError
from virnucpro.sequences.fasta import read_frames

log = logging.getLogger(__name__)
Finished = Callable[[Path, StageFacts], None]
EmbedFiles = Callable[[Path, Sequence[Path], Compute, Finished, Callable[[], None]], None]


@dataclass(frozen=True)
class Model(Generic[B]):
    """A v1.0 stage's loaded model: its pass, and how it cuts the sequences of a file into `batches`, each
    with the numbers (n,) of its sequences."""

    forward: Forward[B]
    dim: int
    attention: str
    token_budget: int
    batches: Callable[[Sequence[str]], Iterator[tuple[Rows, B]]]


@dataclass(frozen=True)
class Stage(Generic[B]):
    """What sets a v1.0 stage apart: the `name` and `engine` of its facts, the `suffix` of its files, and how
    one is written, from ids and their vectors (n, dim)."""

    name: str
    engine: str
    suffix: str
    load: Callable[[], Model[B]]
    write: Callable[[Path, list[str], Vectors], None]

    def embed(
        self, fastas: Sequence[Path], compute: Compute, finished: Finished, alive: Callable[[], None]
    ) -> None:
        """Embed each FASTA of frames on its own into the file of its name beside it; the next is read, and
        the last written, while one computes.

        `finished` takes each file and the facts of its making, `alive` is called after every batch. Raises
        `InputError` for repeated ids, and embeddings that are not finite.
        """
        started = time.monotonic()
        some = any(fasta.stat().st_size for fasta in fastas)
        model = self.load() if some else None  # not where no frame is open

        def finish(file: _File) -> None:
            nonlocal started
            if not (finite := np.isfinite(file.vectors).all(axis=1)).all():
                todo = "check the weights" if compute.precision == "fp32" else "use --precision fp32"
                raise InputError(
                    f"{file.fasta}: the embedding of {file.ids[int(finite.argmin())]!r} is not finite in "
                    f"{compute.precision}; {todo}"
                )
            target = file.fasta.with_name(f"{file.fasta.stem}_{self.suffix}.pt")
            self.write(target, file.ids, file.vectors)
            finished(target, self._facts(file, model, compute, started))
            started = time.monotonic()

        def batches() -> Iterator[tuple[tuple[_File, Rows], B]]:
            for fasta in fastas:
                frames = list(read_frames(fasta))
                ids = [id for id, _ in frames]
                if len(set(ids)) < len(ids):
                    raise InputError(f"{fasta}: an id comes twice; ids must be unique")
                file = _File(fasta, ids, np.empty((len(ids), model.dim if model else 0), dtype=np.float32))
                if not (frames and model):
                    finish(file)
                    continue
                for rows, batch in model.batches([letters for _, letters in frames]):
                    file.tokens += batch.size
                    yield (file, rows), batch

        def save(part: tuple[_File, Rows], vectors: Vectors) -> None:
            file, rows = part
            file.vectors[rows] = vectors
            file.done += len(rows)
            if file.done == len(file.ids):
                finish(file)

        if model:
            run(batches(), model.forward, save, alive)
        else:
            list(batches())

    def _facts(self, file: "_File", model: Model[B] | None, compute: Compute, started: float) -> StageFacts:
        return StageFacts.of_file(
            self.name, self.engine, model.attention if model else "none", compute,
            token_budget=model.token_budget if model else 0,
            sequences=len(file.ids), tokens=file.tokens, started=started,
        )  # fmt: skip


@dataclass
class _File:
    """A file on its way: its vectors (n, dim), how many of them are `done`, and the tokens that it has."""

    fasta: Path
    ids: list[str]
    vectors: Vectors
    done: int = 0
    tokens: int = 0


def write_facts(path: Path, facts: StageFacts) -> None:
    """Write them beside the file, under its name."""
    facts.write(path.with_suffix(".json"))


def embed_per_file(
    embed_files: EmbedFiles,
    weights: Path,
    fastas: Sequence[Path],
    compute: Compute,
    *,
    gpus: Sequence[str | None],
    threads: int,
    logs: Path,
    finished: Finished,
    patience: float | None = None,
) -> None:
    """Run `embed_files(weights, files, compute, finished, alive)` over the files, one rank a device, no more
    ranks than files; with one, in this process. `finished` takes each file and its facts, in the process that
    made it. `patience` as in `run_ranks`. Raises `RankFailed` naming ranks and logs when one fails."""
    gpus = gpus[: len(fastas)]
    if len(gpus) <= 1:
        embed_files(weights, fastas, compute, finished, lambda: None)
        return
    arguments = (embed_files, weights, fastas, compute, finished)
    failures = run_ranks(_embed_share, arguments, gpus=gpus, threads=threads, logs=logs, patience=patience)
    check(failures, len(gpus), logs.name, logs)


def _embed_share(
    rank: Rank,
    embed_files: EmbedFiles,
    weights: Path,
    fastas: Sequence[Path],
    compute: Compute,
    finished: Finished,
) -> None:
    mine = fastas[rank.number :: rank.world_size]
    embed_files(weights, mine, compute, finished, rank.alive)
    log.info("rank %s of %s: %s files done", rank.number, rank.world_size, len(mine))
