"""The plan: every row once, batches full, ranks alike."""

import numpy as np
import pytest

from virnucpro.embedding.plan import plan


@pytest.mark.parametrize("budget", [1, 170, 999, 10**6])
@pytest.mark.parametrize("rows", [0, 1, 2, 1000])
def test_every_row_is_planned_once_within_the_budget(rows: int, budget: int) -> None:
    tokens = np.random.default_rng(rows).integers(3, 169, rows)
    batches = plan(tokens, budget)
    assert sorted(np.concatenate([*batches, np.empty(0, int)]).tolist()) == list(range(rows))
    assert all(tokens[batch].sum() <= budget or len(batch) == 1 for batch in batches)
    lengths = [int(length) for batch in batches for length in tokens[batch]]
    assert lengths == sorted(lengths, reverse=True)


def test_ranks_get_like_shares() -> None:
    tokens = np.random.default_rng(1).integers(22, 169, 50_000)
    batches = plan(tokens, 4096)
    for world_size in (2, 3, 8):
        work = [sum(int(tokens[b].sum()) for b in batches[rank::world_size]) for rank in range(world_size)]
        assert min(work) / max(work) > 0.98
