"""ESM-2 v2.0: plan first, then run. Index, plan, ranks, shards, HDF5; each step in a module of its own."""

import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from virnucpro import __version__
from virnucpro.embedding.device import Compute
from virnucpro.embedding.facts import StageFacts
from virnucpro.embedding.index import Index, ProteinReader, build_index, refuse_repeated_ids
from virnucpro.embedding.plan import default_budget, plan
from virnucpro.embedding.ranks import Failure, Rank, run_ranks
from virnucpro.embedding.store import ShardWriter, entry_dtype, gather, recover
from virnucpro.errors import InputError
from virnucpro.models.attention import Packed, choose_attention
from virnucpro.models.esm2 import load_esm2
from virnucpro.models.weights import read_esm2_config
from virnucpro.pipeline.runtime_config import RuntimeConfig

ENGINE = "v2.0 packed"
_SPECIAL_TOKENS = 2
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Esm2:
    """The model a run uses: `weights` file, its `sha256`, a `name` for the record, what it computes on."""

    name: str
    weights: Path
    sha256: str
    compute: Compute


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
    repeated ids within one output, or no rank.
    """
    if not gpus:
        raise InputError("no device for ESM-2: world_size must be at least 1")
    started = time.monotonic()
    for files in outputs.values():
        refuse_repeated_ids(files)
    index = build_index([path for files in outputs.values() for path in files])
    dim = read_esm2_config(model.weights).embed_dim
    shards = _shard_folder(index, model, config, work)
    done = recover(sorted(shards.glob("*.shard")), dim)
    missing = np.setdiff1d(np.arange(len(index.spans)), done)
    tokens = index.spans["letters"].astype(np.int64) + _SPECIAL_TOKENS
    budget = _budget(tokens[missing], config, model.compute.torch_device, len(gpus))
    if len(done):
        log.info("ESM-2 v2.0: %s of %s proteins found in %s", len(done), len(index.spans), shards)
    log.info(
        "ESM-2 v2.0: %s sequences, %s different, %s on %s (%s), world_size %s, %s tokens a batch",
        len(index.unique_of), len(index.spans), model.name, model.compute.device, model.compute.precision,
        len(gpus), budget,
    )  # fmt: skip
    failures: list[Failure] = []
    if len(missing):
        share = _save_plan(index, missing, tokens, budget, shards)
        failures = run_ranks(
            _embed_share,
            (share, index.files, model, shards, dim),
            gpus=gpus,
            threads=config.threads,
            logs=work / "logs",
            heartbeat=lambda: _report(shards, dim, len(index.spans)),
        )
    if not failures:
        attributes = {
            "model": model.name,
            "weights_sha256": model.sha256,
            "precision": model.compute.precision,
            "engine": ENGINE,
            "version": __version__,
        }
        gather(sorted(shards.glob("*.shard")), dim, index, outputs, attributes)
    if not failures or not config.enable_checkpointing:
        shutil.rmtree(shards)
    facts = StageFacts(
        stage="ESM2",
        architecture="v2.0",
        engine=ENGINE,
        attention=choose_attention("auto", model.compute.torch_device, model.compute.dtype),
        device=model.compute.device,
        device_name=model.compute.device_name,
        precision=model.compute.precision,
        world_size=len(gpus),
        token_budget=budget,
        sequences=len(index.unique_of),
        unique_sequences=len(index.spans),
        tokens=int(tokens[missing].sum()),
        seconds=round(time.monotonic() - started, 3),
    )
    return facts, failures


def _shard_folder(index: Index, model: Esm2, config: RuntimeConfig, work: Path) -> Path:
    """Where this run's shards live: a folder named by what they hold, so that no other run can take them."""
    key = f"{index.content}-{model.sha256[:16]}-{model.compute.precision}"
    folder = (config.checkpoint_dir or work / "shards") / key
    if folder.exists() and (config.force_restart or not config.enable_checkpointing):
        shutil.rmtree(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}); choose another folder") from None
    return folder


def _budget(
    tokens: npt.NDArray[np.int64], config: RuntimeConfig, device: torch.device, world_size: int
) -> int:
    """Tokens a batch; less than asked for when the work is so small that some ranks would go without."""
    share = -(-int(tokens.sum()) // world_size)
    return max(min(config.token_budget or default_budget(device), share), 1)


@dataclass(frozen=True, slots=True)
class _Plan:
    """The plan on disk, mapped by every rank: proteins in order, where each batch begins, their spans."""

    order: Path
    bounds: Path
    spans: Path


def _save_plan(
    index: Index, missing: npt.NDArray[np.int64], tokens: npt.NDArray[np.int64], budget: int, folder: Path
) -> _Plan:
    batches = plan(tokens[missing], budget)
    order = missing[np.concatenate(batches)]
    assert len(np.unique(order)) == len(order) == len(missing), "every protein is in exactly one batch"
    saved = _Plan(folder / "order.npy", folder / "bounds.npy", folder / "spans.npy")
    np.save(saved.order, order)
    np.save(saved.bounds, np.cumsum([0, *map(len, batches)]))
    np.save(saved.spans, index.spans)
    return saved


def _embed_share(
    rank: Rank, saved: _Plan, files: Sequence[Path], model: Esm2, shards: Path, dim: int
) -> None:
    """What one rank does: every world_size-th batch of the plan, from disk to its shard."""
    order, spans = np.load(saved.order, mmap_mode="r"), np.load(saved.spans, mmap_mode="r")
    bounds = np.load(saved.bounds)
    mine = range(rank.number, len(bounds) - 1, rank.world_size)
    log.info("rank %s of %s: %s batches", rank.number, rank.world_size, len(mine))
    if not mine:
        return
    device = model.compute.torch_device
    esm2 = load_esm2(model.weights, device, model.compute.dtype)
    log.info("loaded %s on %s, %s threads", model.name, model.compute.device_name, rank.threads)
    writer = ShardWriter(shards / f"rank_{rank.number}.shard", dim)
    with torch.inference_mode(), ProteinReader(files) as reader, writer:
        for batch in mine:
            rows = np.array(order[bounds[batch] : bounds[batch + 1]])
            proteins = reader.read(spans[rows])
            vectors = esm2(Packed.of(esm2.tokenize(proteins), device)).cpu().numpy()
            if not np.isfinite(vectors).all():
                raise RuntimeError(f"batch {batch}: non-finite embeddings in {model.compute.precision}")
            writer.append(rows, vectors)
    log.info("rank %s: done", rank.number)


def _report(shards: Path, dim: int, proteins: int) -> None:
    size = entry_dtype(dim).itemsize
    done = sum(path.stat().st_size // size for path in shards.glob("*.shard"))
    log.info("ESM-2 v2.0: %s of %s proteins embedded", done, proteins)
