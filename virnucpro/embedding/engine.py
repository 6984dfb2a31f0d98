"""ESM-2 v2.0: plan first, then run. Index, plan, ranks, shards, HDF5; each step in a module of its own."""

import fcntl
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from virnucpro import __version__
from virnucpro.embedding.device import Compute
from virnucpro.embedding.facts import StageFacts
from virnucpro.embedding.index import Index, ProteinReader, build_index
from virnucpro.embedding.memory import tokens_that_fit
from virnucpro.embedding.plan import Rows, default_budget, plan, share
from virnucpro.embedding.progress import Progress
from virnucpro.embedding.ranks import Failure, Rank, run_ranks
from virnucpro.embedding.runner import Forward, Run, recompute
from virnucpro.embedding.store import ShardWriter, embedded, gather, recover
from virnucpro.errors import InputError
from virnucpro.files import atomic
from virnucpro.models.esm2 import load_esm2
from virnucpro.models.esm2_weights import read_esm2_config
from virnucpro.pipeline.runtime_config import RuntimeConfig

ENGINE = "v2.0 packed"
_SPECIAL_TOKENS = 2
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Esm2:
    """The model a run uses: `weights` file, its `sha256`, a `name` for the record, what it computes on, and
    the `attention` back end (a name of `virnucpro.defaults.ATTENTION`)."""

    name: str
    weights: Path
    sha256: str
    compute: Compute
    attention: str = "auto"


@dataclass(frozen=True, slots=True)
class RankFacts:
    """What a rank says of its work when it is done; `seconds` without loading the model."""

    attention: str
    device_name: str
    seconds: float
    recomputed: int


def embed_proteins(
    outputs: Mapping[Path, Sequence[Path]],
    model: Esm2,
    gpus: Sequence[str | None],
    config: RuntimeConfig,
    work: Path,
) -> tuple[StageFacts, list[Failure]]:
    """Embed all proteins of the FASTA files and write each HDF5 path of `outputs` for its files.

    One rank for each of `gpus` (None: a CPU rank). `work` takes `logs/rank_R.log`, and the shards while the
    run lasts. When a rank fails, nothing is written and the failures are returned. Raises `InputError` for
    repeated ids within one output, no rank, or a checkpoint folder that another run is using.
    """
    if not gpus:
        raise InputError("no device for ESM-2: world_size must be at least 1")
    started = time.monotonic()
    index = build_index(outputs.values())
    dim = read_esm2_config(model.weights).embed_dim
    with _shard_folder(index, model, config, work) as shards:
        tokens = index.spans["letters"].astype(np.int64) + _SPECIAL_TOKENS
        budget = config.token_budget or default_budget(model.compute.torch_device, dim)
        batches = _saved_plan(shards, tokens, budget, len(gpus))
        done = recover(shards, dim)
        if len(done):
            log.info("ESM-2 v2.0: %s of %s proteins found in %s", len(done), len(index.spans), shards)
        log.info(
            "ESM-2 v2.0: %s sequences, %s different, %s on %s, world_size %s, %s tokens a batch",
            len(index.unique_of), len(index.spans), model.name, model.compute.describe(), len(gpus), budget,
        )  # fmt: skip
        todo = _save_todo(shards, index, batches, done, tokens, len(gpus))
        failures: list[Failure] = []
        if todo.batches:
            with Progress(len(index.spans), lambda: embedded(shards, dim)) as progress:
                failures = run_ranks(
                    _embed_share,
                    (todo, index.files, model, budget),
                    gpus=gpus,
                    threads=config.threads,
                    logs=work / "logs",
                    heartbeat=progress.update,
                )
        told = [] if failures else _told(shards)
        attention = ", ".join(sorted({rank.attention for rank in told})) or model.attention
        if not failures:
            attributes = {
                "model": model.name,
                "weights_sha256": model.sha256,
                "precision": model.compute.precision,
                "attention": attention,
                "engine": ENGINE,
                "version": __version__,
            }
            gather(shards, dim, index, outputs, attributes)
    if not failures or not config.enable_checkpointing:
        shutil.rmtree(shards)
    facts = StageFacts(
        stage="ESM2",
        architecture="v2.0",
        engine=ENGINE,
        attention=attention,
        device=model.compute.device,
        device_name=", ".join(sorted({rank.device_name for rank in told})) or model.compute.device,
        precision=model.compute.precision,
        world_size=len(gpus),
        token_budget=budget,
        sequences=len(index.unique_of),
        unique_sequences=len(index.spans),
        tokens=todo.tokens,
        seconds=round(time.monotonic() - started, 3),
        compute_seconds=round(max((rank.seconds for rank in told), default=0.0), 3),
        batches=todo.batches,
        recomputed=sum(rank.recomputed for rank in told),
    )
    if told:
        speed, fill = todo.tokens / facts.compute_seconds, todo.tokens / (todo.batches * budget)
        log.info(
            "ESM-2 v2.0: %.0f tokens a second, batches %.0f %% full, %s rows computed again in fp32",
            speed, 100 * fill, facts.recomputed,
        )  # fmt: skip
    return facts, failures


@contextmanager
def _shard_folder(index: Index, model: Esm2, config: RuntimeConfig, work: Path) -> Iterator[Path]:
    """Where this run's shards live: a folder named by what they hold, so that no other run's are taken for
    them, and locked, so that no other run writes there."""
    key = f"{index.content}-{model.sha256[:16]}-{model.compute.precision}-{model.attention}"
    folder = (config.checkpoint_dir or work / "shards") / key
    with _locked(folder):
        if config.force_restart or not config.enable_checkpointing:
            for path in folder.iterdir():
                if path.name != "lock":
                    path.unlink()
        yield folder


def _locked(folder: Path) -> TextIO:
    """The folder's lock, held until it is closed. Raises `InputError` where another run holds it."""
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = (folder / "lock").open("w")
        except OSError as error:
            raise InputError(f"{folder}: cannot be made ({error.strerror}); choose another folder") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise InputError(
                f"{folder}: another run is at work here; wait for it to end, or stop it"
            ) from None
        if os.fstat(lock.fileno()).st_nlink:
            return lock
        lock.close()  # a run that has just ended took the folder away


def _saved_plan(folder: Path, tokens: Rows, budget: int, world_size: int) -> list[Rows]:
    """The batches of an earlier, unfinished run, so that every row comes out as it would have there, to the
    last bit; else new ones, which are saved for a later run."""
    saved = folder / "plan.npz"
    if not saved.exists():
        batches = plan(tokens, budget, world_size)
        order = np.concatenate([*batches, np.empty(0, dtype=np.int64)])
        assert len(np.unique(order)) == len(order) == len(tokens), "every protein is in exactly one batch"
        with atomic(saved) as temporary, temporary.open("wb") as file:
            np.savez(file, order=order, ends=np.cumsum([len(batch) for batch in batches]))
    with np.load(saved) as arrays:
        return np.split(arrays["order"], arrays["ends"][:-1])


@dataclass(frozen=True, slots=True)
class _Todo:
    """What is left of the plan: in `folder`, mapped by every rank, `order.npy` (proteins, batch after batch),
    `ends.npy` (where each batch ends), `rank_of.npy` (who takes it), `spans.npy`."""

    folder: Path
    batches: int
    tokens: int


def _save_todo(
    folder: Path, index: Index, batches: list[Rows], done: Rows, tokens: Rows, world_size: int
) -> _Todo:
    missing = np.ones(len(tokens), dtype=bool)
    missing[done] = False
    left = [rows for batch in batches if len(rows := batch[missing[batch]])]
    order = np.concatenate([*left, np.empty(0, dtype=np.int64)])
    work = np.array([tokens[batch].sum() for batch in left], dtype=np.int64)
    rank_of = np.empty(len(left), dtype=np.int64)
    for rank, mine in enumerate(share(work, world_size)):
        rank_of[mine] = rank
    ends = np.cumsum([len(batch) for batch in left], dtype=np.int64)
    for name, values in {"order": order, "ends": ends, "rank_of": rank_of, "spans": index.spans}.items():
        np.save(folder / f"{name}.npy", values)
    for told in folder.glob("rank_*.json"):
        told.unlink()
    return _Todo(folder, len(left), int(work.sum()))


def _embed_share(rank: Rank, todo: _Todo, files: Sequence[Path], model: Esm2, budget: int) -> None:
    """What one rank does: its batches of the plan, from disk to its shard."""
    order, ends, rank_of, spans = (
        np.load(todo.folder / f"{name}.npy", mmap_mode="r") for name in ("order", "ends", "rank_of", "spans")
    )
    mine = np.flatnonzero(rank_of == rank.number)
    log.info("rank %s of %s: %s batches", rank.number, rank.world_size, len(mine))
    if not len(mine):
        return
    device = model.compute.torch_device
    esm2 = load_esm2(model.weights, device, model.compute.dtype, model.attention)
    on_cpu = rank.world_size if device.type == "cpu" else 1
    forward = Forward(esm2, device, min(budget, tokens_that_fit(esm2, device, on_cpu)))
    log.info(
        "loaded %s on %s, %s threads, %s attention, up to %s tokens a batch",
        model.name, model.compute.device_name, rank.threads, esm2.attention, forward.limit,
    )  # fmt: skip
    with ProteinReader(files) as reader, ShardWriter(todo.folder, rank.number) as writer:
        run = Run(forward, reader, spans, writer, esm2.tokenize_flat, device)
        started = time.monotonic()
        run.embed(np.array(order[ends[batch - 1] if batch else 0 : ends[batch]]) for batch in mine)
        seconds = time.monotonic() - started
        facts = RankFacts(esm2.attention, model.compute.device_name, seconds, len(run.not_finite))
        if again := run.not_finite:
            log.warning("%s embeddings are not finite in %s", len(again), model.compute.precision)
            del run, forward, esm2  # their memory is wanted for the float32 model
            recompute(again, load_esm2(model.weights, device), device, reader, spans, writer)
    with atomic(todo.folder / f"rank_{rank.number}.json") as temporary:
        temporary.write_text(json.dumps(asdict(facts)))
    log.info("rank %s: done in %.1f s", rank.number, seconds)


def _told(folder: Path) -> list[RankFacts]:
    return [RankFacts(**json.loads(path.read_text())) for path in sorted(folder.glob("rank_*.json"))]
