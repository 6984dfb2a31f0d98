"""How every stage takes its batches through a model: reading, computing and writing overlap, and the device
never waits.

One thread reads and tokenizes ahead, the calling one starts the forward passes, a third takes finished rows
to where they are kept. On a GPU nothing here asks the device for a value: copies go through page-locked
memory, and the writer alone waits, for the event behind its rows.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from virnucpro.embedding.plan import Rows, plan
from virnucpro.errors import OutOfMemory
from virnucpro.models.attention import Packed

log = logging.getLogger(__name__)
# Batches read before they are needed, and finished ones that may wait: what a card computes while a file of
# frames is tokenized or written, in a few megabytes.
_AHEAD = 64

Vectors = npt.NDArray[np.float32]


class Batch(Protocol):
    """Tokenized sequences that go through a model together: `Packed`, or v1.0's padded ones."""

    @property
    def count(self) -> int:
        """Sequences in the batch."""

    @property
    def size(self) -> int:
        """Tokens in the batch, padding not counted."""

    def halves(self) -> tuple[Self, Self]:
        """Two batches of half the sequences each, in their order. For batches on CPU."""

    def to(self, device: torch.device, non_blocking: bool = False) -> Self:
        """The batch on a device."""

    def pin_memory(self) -> Self:
        """The batch in page-locked memory."""


class Encoder(Protocol):
    """What ESM-2 and DNABERT-S have in common."""

    dim: int

    def tokenize(self, sequences: Sequence[str], /) -> list[list[int]]: ...
    def __call__(self, batch: Packed) -> Tensor: ...


B = TypeVar("B", bound=Batch)
Item = TypeVar("Item")


class Forward(Generic[B]):
    """A model's pass over batches of any size: one of more than `limit` tokens is halved, and so is one that
    does not fit into GPU memory, which lowers the limit for all that follow."""

    def __init__(self, model: Callable[[B], Tensor], device: torch.device, limit: int) -> None:
        self.device, self.limit = device, limit
        self._model = model

    def __call__(self, batch: B) -> Tensor:
        """(n, dim) float32 on the device. Raises `OutOfMemory` when a single sequence does not fit."""
        if batch.count > 1 and batch.size > self.limit:
            return torch.cat([self(half) for half in batch.halves()])
        try:
            return self._model(batch.to(self.device, non_blocking=True))
        except torch.OutOfMemoryError as error:
            if batch.count == 1:
                reason = str(error).splitlines()[0]
                raise OutOfMemory(f"a sequence of {batch.size} tokens has no room ({reason})") from None
            self.limit = batch.size // 2
        # Tried again out here, where the failed pass and what it held are gone.
        log.warning("%s tokens do not fit into GPU memory: %s a batch from now on", batch.size, self.limit)
        torch.cuda.empty_cache()
        return self(batch)


@torch.inference_mode()
def run(
    batches: Iterable[tuple[Item, B]],
    forward: Forward[B],
    save: Callable[[Item, Vectors], None],
    alive: Callable[[], None] = lambda: None,
) -> None:
    """Take each of `batches` through `forward`, and give `save` its item and its rows (n, dim) float32.

    `batches` is read in a thread of its own, `save` is called in another, batch after batch; `alive` in this
    one as batches go through. Raises what any of the three threads raised first.
    """
    source = iter(batches)
    on_gpu = forward.device.type == "cuda"

    def read() -> tuple[Item, B] | None:
        if (ahead := next(source, None)) is None:
            return None
        item, batch = ahead
        return item, batch.pin_memory() if on_gpu else batch

    def write(item: Item, rows: Tensor, ready: torch.cuda.Event | None) -> None:
        if ready is not None:
            ready.synchronize()
        save(item, rows.numpy())

    with ThreadPoolExecutor(1, "reader") as reading, ThreadPoolExecutor(1, "writer") as writing:
        coming = deque(reading.submit(read) for _ in range(_AHEAD))
        leaving: deque[Future[None]] = deque()
        try:
            while (ahead := coming.popleft().result()) is not None:
                coming.append(reading.submit(read))
                item, batch = ahead
                leaving.append(writing.submit(write, item, *_fetch(forward(batch))))
                while leaving and (leaving[0].done() or len(leaving) > _AHEAD):
                    leaving.popleft().result()
                alive()
            for written in leaving:
                written.result()
                alive()
        finally:
            reading.shutdown(wait=False, cancel_futures=True)


def _fetch(rows: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
    """The rows on the host, and the event after which they are there."""
    host = rows.to("cpu", non_blocking=True)  # page-locked when it comes from a GPU
    if rows.device.type != "cuda":
        return host, None
    ready = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
    ready.record()  # type: ignore[no-untyped-call]
    return host, ready


def packed(model: Encoder, sequences: Sequence[str], token_budget: int) -> Iterator[tuple[Rows, Packed]]:
    """All sequences in packed batches, longest first, each with the numbers (n,) of its sequences."""
    tokenized = model.tokenize(sequences)
    lengths = np.array([len(tokens) for tokens in tokenized], dtype=np.int64)
    for rows in plan(lengths, token_budget):
        yield rows, Packed.of([tokenized[row] for row in rows], torch.device("cpu"))


def embed(
    model: Encoder, sequences: Sequence[str], token_budget: int, device: torch.device | None = None
) -> Vectors:
    """Embed sequences that are in memory: (n, dim) float32, in input order."""
    vectors = np.empty((len(sequences), model.dim), dtype=np.float32)

    def save(rows: Rows, found: Vectors) -> None:
        vectors[rows] = found

    forward: Forward[Packed] = Forward(model, device or torch.device("cpu"), token_budget)
    run(packed(model, sequences, token_budget), forward, save)
    return vectors
