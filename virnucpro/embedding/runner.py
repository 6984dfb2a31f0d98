"""What one rank does with its batches: reading, computing and writing overlap, and the device never waits.

One thread reads and tokenizes ahead, this one starts the forward passes, a third takes finished rows to the
shard. On a GPU nothing here asks the device for a value: copies go through page-locked memory, and the writer
alone waits, for the event behind its rows.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from virnucpro.embedding.index import ProteinReader
from virnucpro.embedding.store import ShardWriter
from virnucpro.models.attention import Packed
from virnucpro.models.esm2 import ESM2

log = logging.getLogger(__name__)
_AHEAD = 4  # batches read before they are needed, and finished ones that wait to be written

Rows = npt.NDArray[np.int64]


class Forward:
    """A model's pass over batches of any size: one of more than `limit` tokens is halved, and so is one that
    does not fit into GPU memory, which lowers the limit for all that follow."""

    def __init__(self, model: ESM2, device: torch.device, limit: int) -> None:
        self.limit = limit
        self._model, self._device = model, device

    def __call__(self, batch: Packed) -> Tensor:
        """(n, dim) float32 on the device. Raises `OutOfMemoryError` when a single sequence does not fit."""
        if batch.count > 1 and len(batch.tokens) > self.limit:
            return torch.cat([self(half) for half in batch.halves()])
        try:
            vectors: Tensor = self._model(batch.to(self._device, non_blocking=True))
            return vectors
        except torch.OutOfMemoryError:
            if batch.count == 1:
                raise
            self.limit = len(batch.tokens) // 2
        # Tried again out here, where the failed pass and what it held are gone.
        log.warning(
            "%s tokens do not fit into GPU memory: %s a batch from now on", len(batch.tokens), self.limit
        )
        torch.cuda.empty_cache()
        return self(batch)


class Run:
    """One rank's way through its batches."""

    def __init__(
        self,
        forward: Forward,
        reader: ProteinReader,
        spans: npt.NDArray[np.void],
        writer: ShardWriter,
        tokenize: Callable[[list[bytes]], tuple[Rows, Rows]],
        device: torch.device,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        """`alive` is called as batches go through."""
        self.not_finite: list[int] = []
        self._forward, self._reader, self._spans, self._writer = forward, reader, spans, writer
        self._tokenize, self._device, self._alive = tokenize, device, alive

    @torch.inference_mode()
    def embed(self, batches: Iterable[Rows]) -> None:
        """Embed batches of protein numbers and append them to the shard; rows that are not finite are
        left out and noted in `not_finite`. Raises what any of the three threads raised first."""
        remaining = iter(batches)
        with ThreadPoolExecutor(1, "reader") as reading, ThreadPoolExecutor(1, "writer") as writing:
            coming = deque(reading.submit(self._load, rows) for rows in islice(remaining, _AHEAD))
            leaving: deque[Future[None]] = deque()
            while coming:
                rows, batch = coming.popleft().result()
                coming.extend(reading.submit(self._load, rows) for rows in islice(remaining, 1))
                vectors, ready = self._fetch(self._forward(batch))
                leaving.append(writing.submit(self._save, rows, vectors, ready))
                if len(leaving) > _AHEAD:
                    leaving.popleft().result()
                self._alive()
            for written in leaving:
                written.result()
                self._alive()

    def _load(self, rows: Rows) -> tuple[Rows, Packed]:
        batch = Packed.of_flat(*self._tokenize(self._reader.read(self._spans[rows])))
        return rows, batch.pin_memory() if self._device.type == "cuda" else batch

    def _fetch(self, vectors: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
        """The rows on the host, and the event after which they are there."""
        host = vectors.to("cpu", non_blocking=True)  # page-locked when it comes from a GPU
        if vectors.device.type != "cuda":
            return host, None
        ready = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        ready.record()  # type: ignore[no-untyped-call]
        return host, ready

    def _save(self, rows: Rows, vectors: Tensor, ready: torch.cuda.Event | None) -> None:
        if ready is not None:
            ready.synchronize()
        found = vectors.numpy()
        finite = np.isfinite(found).all(axis=1)
        self.not_finite += rows[~finite].tolist()
        if finite.any():
            self._writer.append(rows[finite], found[finite])


@torch.inference_mode()
def recompute(
    proteins: Sequence[int],
    model: ESM2,
    device: torch.device,
    reader: ProteinReader,
    spans: npt.NDArray[np.void],
    writer: ShardWriter,
    alive: Callable[[], None] = lambda: None,
) -> None:
    """Embed what was not finite once more in float32, each protein alone. Raises `RuntimeError` naming the
    first that is not finite then either."""
    for protein in proteins:
        batch = Packed.of_flat(*model.tokenize_flat(reader.read(spans[[protein]])))
        vector = model.in_float32(batch.to(device)).cpu().numpy()
        if not np.isfinite(vector).all():
            raise RuntimeError(
                f"{reader.name(spans[protein])}: its embedding is not finite, in float32 either"
            )
        writer.append(np.array([protein]), vector)
        alive()
