"""The plan: every row once, batches full, ranks alike."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from virnucpro.embedding.plan import plan, share

LENGTHS = st.lists(st.integers(3, 1024), max_size=300).map(lambda lengths: np.array(lengths, dtype=np.int64))
RANKS = st.integers(1, 9)
BUDGETS = st.integers(1, 5000)


@given(LENGTHS, BUDGETS, RANKS)
def test_every_row_is_planned_once_within_the_budget(
    tokens: np.ndarray, budget: int, world_size: int
) -> None:
    """P25, P27 to P29: no row lost, none twice, no empty batch, for any number of ranks and sequences."""
    batches = plan(tokens, budget, world_size)
    assert sorted(np.concatenate([*batches, np.empty(0, int)]).tolist()) == list(range(len(tokens)))
    assert all(len(batch) for batch in batches)
    assert all(tokens[batch].sum() <= budget or len(batch) == 1 for batch in batches)
    lengths = [int(length) for batch in batches for length in tokens[batch]]
    assert lengths == sorted(lengths, reverse=True)


@given(LENGTHS, BUDGETS)
def test_batches_are_full(tokens: np.ndarray, budget: int) -> None:
    """For one rank: no batch could have taken the next sequence too."""
    batches = plan(tokens, budget)
    for batch, following in pairwise(batches):
        assert tokens[batch].sum() + tokens[following[0]] > budget


@given(LENGTHS, BUDGETS, RANKS)
def test_every_batch_is_shared_out_once(tokens: np.ndarray, budget: int, world_size: int) -> None:
    work = np.array([tokens[batch].sum() for batch in plan(tokens, budget, world_size)], dtype=np.int64)
    shares = share(work, world_size)
    assert sorted(np.concatenate(shares).tolist()) == list(range(len(work)))
    loads = [int(work[mine].sum()) for mine in shares]
    assert max(loads) - min(loads) <= work.max(initial=0)


@given(st.data(), st.integers(2, 8), st.sampled_from([2048, 4096, 16384]))
def test_ranks_get_like_shares(data: st.DataObject, world_size: int, budget: int) -> None:
    """Within 1 %, from ten batches a rank on: nobody waits for a last full batch."""
    shortest = data.draw(st.integers(3, 60))
    seed = data.draw(st.integers(0, 2**32))
    number = data.draw(st.integers(1, 3)) * 10 * world_size * budget // shortest
    tokens = np.random.default_rng(seed).integers(shortest, 171, number)
    work = np.array([tokens[batch].sum() for batch in plan(tokens, budget, world_size)])
    loads = [int(work[mine].sum()) for mine in share(work, world_size)]
    assert min(loads) / max(loads) >= 0.99


@pytest.mark.parametrize("sequences", [8, 9, 15])
def test_few_sequences_reach_every_rank(sequences: int) -> None:
    """P45: the work is shared out by sequences, whatever files they came in."""
    work = np.array([len(batch) for batch in plan(np.full(sequences, 100), 16_384, 8)])
    assert len(work) == 8 and work.max() - work.min() <= 1
