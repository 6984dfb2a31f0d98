"""Packed batches (no padding) and attention over them.

A packed batch is one flat token axis, sequence after sequence. Neighbours of equal length form a run,
and each run is one dense attention call: nothing is padded, nothing masked, and no sequence can see
another. Sorted by length, a batch of a large input is one or two runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor

ATTENTION = "sdpa over runs of equal length"  # named in run_info.json


@dataclass(frozen=True)
class Packed:
    """`tokens` (T,) int64, and the runs it is made of: (number of sequences, tokens in each)."""

    tokens: Tensor
    runs: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]], device: torch.device) -> "Packed":
        """Pack tokenized sequences in the order given; fewest runs when equal lengths are neighbours."""
        flat = torch.tensor([token for tokens in sequences for token in tokens], dtype=torch.int64)
        runs = tuple((len(list(same)), length) for length, same in groupby(map(len, sequences)))
        return cls(flat.to(device), runs)

    def positions(self) -> Tensor:
        """(T,) position of each token within its own sequence, from 0."""
        device = self.tokens.device
        return torch.cat([torch.arange(length, device=device).repeat(n) for n, length in self.runs])

    def split(self, x: Tensor) -> list[Tensor]:
        """Views of `x` (T, …), one a run, each (sequences, tokens, …)."""
        sizes = [n * length for n, length in self.runs]
        parts = zip(torch.split(x, sizes), self.runs, strict=True)
        return [part.view(n, length, *x.shape[1:]) for part, (n, length) in parts]


def attend(q: Tensor, k: Tensor, v: Tensor, batch: Packed, bias: Tensor | None = None) -> Tensor:
    """Softmax attention within each sequence: q, k, v (T, heads, d) -> (T, heads * d).

    `bias` (heads, L, L), L at least the longest sequence, is added to the scaled scores.
    """
    rows = []
    for q_run, k_run, v_run in zip(batch.split(q), batch.split(k), batch.split(v), strict=True):
        length = q_run.shape[1]
        mask = None if bias is None else bias[:, :length, :length]
        out = F.scaled_dot_product_attention(
            q_run.transpose(1, 2), k_run.transpose(1, 2), v_run.transpose(1, 2), attn_mask=mask
        )
        rows.append(out.transpose(1, 2).reshape(-1, q.shape[1] * q.shape[2]))
    return torch.cat(rows)
