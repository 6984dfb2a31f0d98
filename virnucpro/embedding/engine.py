"""ESM-2 v2.0: plan first, then run. Index, plan, ranks, shards, HDF5; each step in a module of its own."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

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
from virnucpro.embedding.runtime_config import RuntimeConfig
from virnucpro.embedding.store import KEY_BYTES, ShardWriter, embedded, gather, recover
from virnucpro.errors import Busy
from virnucpro.files import SHARDS, atomic, claim, naming, remove_own
from virnucpro.journal import Journal
from virnucpro.locks import lock
from virnucpro.models.attention import choose_attention
from virnucpro.models.esm2 import load_esm2
from virnucpro.models.esm2_weights import read_esm2_config

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
    whole: Callable[[StageFacts], None] = lambda facts: None,
) -> tuple[StageFacts, list[Failure]]:
    """Embed all proteins of the FASTA files and write each HDF5 path of `outputs` for its files.

    One rank for each of `gpus` (None: a CPU rank). `work` takes `logs/rank_R.log`, and the shards while the
    run lasts. `whole` is told when all outputs are there, before the shards go. When a rank fails, nothing is
    written, the shards stay, and the failures are returned. Raises `InputError` for repeated ids within one
    output, or an attention back end that cannot run.
    """
    started = time.monotonic()
    compute, shape = model.compute, read_esm2_config(model.weights)
    attention = choose_attention(model.attention, compute.torch_device, compute.dtype, shape.head_dim)
    model = replace(model, attention=attention)
    index = build_index(outputs.values())
    dim = shape.embed_dim
    key = _key(index, model)
    with _shard_folder(key.hex(), config, work) as shards:
        tokens = index.spans["letters"].astype(np.int64) + _SPECIAL_TOKENS
        budget = config.token_budget or default_budget(model.compute.torch_device, dim)
        batches = _saved_plan(shards, tokens, budget, len(gpus))
        done = recover(shards, dim, key, len(index.spans))
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
                    (todo, index.files, model, budget, key),
                    gpus=gpus,
                    threads=config.threads,
                    logs=work / "logs",
                    heartbeat=progress.update,
                    patience=config.rank_timeout,
                )
        told = [] if failures else _told(shards)
        if not failures:
            attributes = {
                "model": model.name,
                "weights_sha256": model.sha256,
                "precision": model.compute.precision,
                "attention": model.attention,
                "engine": ENGINE,
                "version": __version__,
            }
            gather(shards, dim, key, index, outputs, attributes)
        facts = StageFacts(
            stage="ESM2",
            architecture="v2.0",
            engine=ENGINE,
            attention=model.attention,
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
        if not failures:
            whole(facts)
            if not config.keep_shards:
                remove_own(shards, SHARDS)
    if told:
        speed, fill = todo.tokens / facts.compute_seconds, todo.tokens / (todo.batches * budget)
        log.info(
            "ESM-2 v2.0: %.0f tokens a second, batches %.0f %% full, %s rows computed again in fp32",
            speed, 100 * fill, facts.recomputed,
        )  # fmt: skip
    return facts, failures


def _key(index: Index, model: Esm2) -> bytes:
    """32 bytes that name shards by all that their rows depend on: no other run's are taken for them."""
    depends = [index.content, model.sha256, model.compute.precision, model.attention, ENGINE, __version__]
    return hashlib.blake2b(json.dumps(depends).encode(), digest_size=KEY_BYTES).digest()


@contextmanager
def _shard_folder(name: str, config: RuntimeConfig, work: Path) -> Iterator[Path]:
    """Where this run's shards live, for this run alone as long as it lasts. While another run has the same
    proteins in the checkpoint folder under its hands, this one works beside its output."""
    own = work / "shards"
    with ExitStack() as stack:

        def claimed(root: Path) -> Path:
            stack.enter_context(lock(root / f".{name}.lock"))
            folder = root / name
            if folder.exists() and (config.force_restart or not config.enable_checkpointing):
                remove_own(folder, SHARDS)
            claim(folder, SHARDS)
            return folder

        try:
            folder = claimed(config.checkpoint_dir or own)
        except Busy as busy:
            if not config.checkpoint_dir:
                raise
            log.warning("%s; going on without the rows there", busy)
            folder = claimed(own)
        yield folder


def _saved_plan(folder: Path, tokens: Rows, budget: int, world_size: int) -> list[Rows]:
    """The batches of an earlier, unfinished run, so that every row comes out as it would have there, to the
    last bit; else new ones, which are saved for a later run."""
    journal, saved = Journal(folder), folder / "plan.npz"
    if not journal.whole("plan"):
        batches = plan(tokens, budget, world_size)
        order = np.concatenate([*batches, np.empty(0, dtype=np.int64)])
        assert len(np.unique(order)) == len(order) == len(tokens), "every protein is in exactly one batch"
        with atomic(saved) as temporary, temporary.open("wb") as file:
            np.savez(file, order=order, ends=np.cumsum([len(batch) for batch in batches]))
        journal.enter("plan", [saved])
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
        with naming(folder / f"{name}.npy"):
            np.save(folder / f"{name}.npy", values)
    for told in folder.glob("rank_*.json"):
        told.unlink()
    return _Todo(folder, len(left), int(work.sum()))


def _embed_share(
    rank: Rank, todo: _Todo, files: Sequence[Path], model: Esm2, budget: int, key: bytes
) -> None:
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
    with ProteinReader(files) as reader, ShardWriter(todo.folder, rank.number, key) as writer:
        run = Run(forward, reader, spans, writer, esm2.tokenize_flat, device, rank.alive)
        started = time.monotonic()
        run.embed(np.array(order[ends[batch - 1] if batch else 0 : ends[batch]]) for batch in mine)
        seconds = time.monotonic() - started
        facts = RankFacts(esm2.attention, model.compute.device_name, seconds, len(run.not_finite))
        if again := run.not_finite:
            log.warning("%s embeddings are not finite in %s", len(again), model.compute.precision)
            recompute(again, esm2, device, reader, spans, writer, rank.alive)
    with atomic(todo.folder / f"rank_{rank.number}.json") as temporary:
        temporary.write_text(json.dumps(asdict(facts)))
    log.info("rank %s: done in %.1f s", rank.number, seconds)


def _told(folder: Path) -> list[RankFacts]:
    return [RankFacts(**json.loads(path.read_text())) for path in sorted(folder.glob("rank_*.json"))]
