"""ESM-2 v2.0: plan first, then run. Index, plan, ranks, shards, HDF5; each step in a module of its own."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from virnucpro import __version__
from virnucpro.embedding.esm2_v2 import Esm2, Todo, embed_share, rank_facts
from virnucpro.embedding.facts import StageFacts
from virnucpro.embedding.index import Index, build_index
from virnucpro.embedding.plan import Rows, default_budget, plan, share
from virnucpro.embedding.progress import Progress
from virnucpro.embedding.ranks import Failure, run_ranks
from virnucpro.embedding.runtime_config import RuntimeConfig
from virnucpro.embedding.store import KEY_BYTES, embedded, gather, recover
from virnucpro.errors import Busy
from virnucpro.files import SHARDS, atomic, claim, naming, remove_own
from virnucpro.journal import Journal
from virnucpro.locks import lock
from virnucpro.models.attention import choose_attention
from virnucpro.models.esm2_weights import read_esm2_config

ENGINE = "v2.0 packed"
_SPECIAL_TOKENS = 2
log = logging.getLogger(__name__)


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
                    embed_share,
                    (todo, index.files, model, budget, key),
                    gpus=gpus,
                    threads=config.threads,
                    logs=work / "logs",
                    heartbeat=progress.update,
                    patience=config.rank_timeout,
                )
        told = [] if failures else rank_facts(shards)
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


def _save_todo(
    folder: Path, index: Index, batches: list[Rows], done: Rows, tokens: Rows, world_size: int
) -> Todo:
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
    return Todo(folder, len(left), int(work.sum()))
