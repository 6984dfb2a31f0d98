"""The plan: which sequences go through a model together, and on which rank. Decided before anything runs."""

import heapq

import numpy as np
import numpy.typing as npt
import torch

_GPU_BUDGET = 16_384
# What stays in an L3 of 32 MB, fastest of 456 to 8,208 tokens at widths of 640 and 2,560 on two cores.
_CPU_NUMBERS, _CPU_BUDGET = 1_536_000, 4_096

Rows = npt.NDArray[np.int64]


def plan(tokens: Rows, budget: int, world_size: int = 1) -> list[Rows]:
    """Batches of row numbers, longest sequence first, each as full as `budget` tokens allow.

    `tokens` (n,) holds each row's number of tokens. Every row is in exactly one batch; rows of equal length
    are neighbours; a row longer than the budget has a batch of its own. With several ranks, the last
    batches are made alike, as many as go round evenly, so that all ranks end together.

    >>> [batch.tolist() for batch in plan(np.array([3, 9, 5, 3]), budget=8)]
    [[1], [2, 0], [3]]
    """
    order = np.argsort(-tokens, kind="stable")
    ends = np.cumsum(tokens[order])
    cuts = _full(ends, budget)
    if world_size > 1:
        kept = cuts[: max(len(cuts) - len(cuts) % world_size - world_size, 0)]
        cuts = kept + _even(ends, kept[-1] if kept else 0, world_size, budget)
    return [order[start:stop] for start, stop in zip([0, *cuts], cuts, strict=False)]


def _full(ends: Rows, budget: int, start: int = 0) -> list[int]:
    """Where batches end that take all that the budget allows, from row `start` on."""
    cuts = []
    while start < len(ends):
        used = ends[start - 1] if start else 0
        start = max(int(np.searchsorted(ends, used + budget, side="right")), start + 1)
        cuts.append(start)
    return cuts


def _even(ends: Rows, start: int, world_size: int, budget: int) -> list[int]:
    """Where batches of like token totals end, from row `start` on: a multiple of `world_size`, if there are
    rows enough."""
    if start == len(ends):
        return []
    before = int(ends[start - 1]) if start else 0
    tokens, longest = int(ends[-1]) - before, int(ends[start]) - before
    parts = world_size * max(-(-tokens // (world_size * max(budget - longest, 1))), 1)
    cuts = []
    for part in range(1, parts + 1):
        target = before + tokens * part / parts
        at = int(np.searchsorted(ends, target))  # the row that the target falls into: up to it, or with it
        with_it = ends[at] - target < target - (ends[at - 1] if at else 0)
        used = ends[start - 1] if start else 0
        limit = int(np.searchsorted(ends, used + budget, side="right"))
        stop = max(min(at + int(with_it), limit), start + 1)
        if start < len(ends):
            cuts.append(stop)
            start = stop
    return cuts + _full(ends, budget, start)


def share(work: Rows, world_size: int) -> list[Rows]:
    """Which batches each rank takes: from the largest on, the next goes to the rank with the least `work` so
    far. `work` (batches,) in tokens; the batches of a rank keep their order.

    >>> [batches.tolist() for batches in share(np.array([9, 8, 8, 2]), 2)]
    [[0, 3], [1, 2]]
    """
    ranks: list[list[int]] = [[] for _ in range(world_size)]
    loads = [(0, rank) for rank in range(world_size)]
    for batch in np.argsort(-work, kind="stable").tolist():
        load, rank = heapq.heappop(loads)
        ranks[rank].append(batch)
        heapq.heappush(loads, (load + int(work[batch]), rank))
    return [np.array(sorted(batches), dtype=np.int64) for batches in ranks]


def default_budget(device: torch.device, dim: int) -> int:
    """Tokens a batch when nobody says otherwise; on CPU fewer, the wider the model is."""
    return _GPU_BUDGET if device.type == "cuda" else min(_CPU_NUMBERS // dim, _CPU_BUDGET)
