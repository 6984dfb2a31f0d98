"""The plan: which sequences go through a model together. Decided before anything runs."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from virnucpro.models.attention import Packed

CPU_TOKEN_BUDGET = 4_096  # fastest of 512 to 16 k on two cores; a GPU wants about 16 k
GPU_TOKEN_BUDGET = 16_384


class Encoder(Protocol):
    """What ESM-2 and DNABERT-S have in common."""

    dim: int

    def tokenize(self, sequences: Sequence[str], /) -> list[list[int]]: ...
    def __call__(self, batch: Packed) -> Tensor: ...


def plan(tokens: npt.NDArray[np.int64], budget: int) -> list[npt.NDArray[np.int64]]:
    """Batches of row numbers, longest sequence first, each as full as `budget` tokens allow.

    `tokens` (n,) holds each row's number of tokens. Every row is in exactly one batch; rows of equal length
    are neighbours; a row longer than the budget has a batch of its own. Rank r of w takes batches r, r + w, …

    >>> [batch.tolist() for batch in plan(np.array([3, 9, 5, 3]), budget=8)]
    [[1], [2, 0], [3]]
    """
    order = np.argsort(-tokens, kind="stable")
    ends = np.cumsum(tokens[order])
    batches = []
    start = 0
    while start < len(order):
        used = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, used + budget, side="right")), start + 1)
        batches.append(order[start:stop])
        start = stop
    return batches


def default_budget(device: torch.device) -> int:
    """Tokens a batch when nobody says otherwise."""
    return GPU_TOKEN_BUDGET if device.type == "cuda" else CPU_TOKEN_BUDGET


@torch.inference_mode()
def embed(
    model: Encoder,
    sequences: Sequence[str],
    token_budget: int,
    device: torch.device | None = None,
    done: Callable[[int], None] = lambda tokens: None,
) -> npt.NDArray[np.float32]:
    """Embed sequences: (n, dim) float32, in input order. `done` is told the tokens of each finished batch."""
    tokenized = model.tokenize(sequences)
    lengths = np.array([len(tokens) for tokens in tokenized], dtype=np.int64)
    vectors = np.empty((len(sequences), model.dim), dtype=np.float32)
    for rows in plan(lengths, token_budget):
        batch = Packed.of([tokenized[row] for row in rows], device or torch.device("cpu"))
        vectors[rows] = model(batch).cpu().numpy()
        done(int(lengths[rows].sum()))
    return vectors
