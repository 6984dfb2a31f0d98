"""ESM-2, v2.0: what one rank does with its batches of the plan, from disk to its shard."""

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from virnucpro.embedding.device import Compute
from virnucpro.embedding.index import ProteinReader
from virnucpro.embedding.memory import tokens_that_fit
from virnucpro.embedding.plan import Rows
from virnucpro.embedding.ranks import Rank
from virnucpro.embedding.runner import Forward, Vectors, run
from virnucpro.embedding.store import ShardWriter
from virnucpro.files import atomic
from virnucpro.models.attention import Packed
from virnucpro.models.esm2 import ESM2, load_esm2

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


@dataclass(frozen=True, slots=True)
class Todo:
    """What is left of the plan: in `folder`, mapped by every rank, `order.npy` (proteins, batch after batch),
    `ends.npy` (where each batch ends), `rank_of.npy` (who takes it), `spans.npy`."""

    folder: Path
    batches: int
    tokens: int


def embed_share(rank: Rank, todo: Todo, files: Sequence[Path], model: Esm2, budget: int, key: bytes) -> None:
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
        share = Share(esm2, reader, spans, writer)
        started = time.monotonic()
        batches = (np.array(order[ends[batch - 1] if batch else 0 : ends[batch]]) for batch in mine)
        run(share.read(batches), forward, share.save, rank.alive)
        seconds = time.monotonic() - started
        facts = RankFacts(esm2.attention, model.compute.device_name, seconds, len(share.not_finite))
        if share.not_finite:
            log.warning("%s embeddings are not finite in %s", len(share.not_finite), model.compute.precision)
            share.recompute(device, rank.alive)
    with atomic(todo.folder / f"rank_{rank.number}.json") as temporary:
        temporary.write_text(json.dumps(asdict(facts)))
    log.info("rank %s: done in %.1f s", rank.number, seconds)


def rank_facts(folder: Path) -> list[RankFacts]:
    """What each rank that had something to do has said."""
    return [RankFacts(**json.loads(path.read_text())) for path in sorted(folder.glob("rank_*.json"))]


class Share:
    """The proteins of one rank, by their numbers: from the reader, and their rows to the shard."""

    def __init__(
        self, model: ESM2, reader: ProteinReader, spans: npt.NDArray[np.void], writer: ShardWriter
    ) -> None:
        self.not_finite: list[int] = []
        self._model, self._reader, self._spans, self._writer = model, reader, spans, writer

    def read(self, batches: Iterable[Rows]) -> Iterator[tuple[Rows, Packed]]:
        """Each of `batches` of protein numbers (n,), with its tokens."""
        for rows in batches:
            proteins = self._reader.read(self._spans[rows])
            yield rows, Packed.of_flat(*self._model.tokenize_flat(proteins))

    def save(self, rows: Rows, vectors: Vectors) -> None:
        """Append vectors (n, dim) to the shard; those that are not finite are left out and noted in
        `not_finite`."""
        finite = np.isfinite(vectors).all(axis=1)
        self.not_finite += rows[~finite].tolist()
        if finite.any():
            self._writer.append(rows[finite], vectors[finite])

    @torch.inference_mode()
    def recompute(self, device: torch.device, alive: Callable[[], None] = lambda: None) -> None:
        """Embed what was not finite once more in float32, each protein alone. Raises `RuntimeError` naming
        the first that is not finite then either."""
        for rows, batch in self.read(np.array([protein]) for protein in self.not_finite):
            vector = self._model.in_float32(batch.to(device)).cpu().numpy()
            if not np.isfinite(vector).all():
                name = self._reader.name(self._spans[rows[0]])
                raise RuntimeError(f"{name}: its embedding is not finite, in float32 either")
            self._writer.append(rows, vector)
            alive()
