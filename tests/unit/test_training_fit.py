"""Fitting the classifier: best weights, balance, nothing dropped, the same bytes twice."""

import numpy as np
import pytest
import torch

from virnucpro.errors import InputError
from virnucpro.training import fit as fitting
from virnucpro.training.fit import Examples, balanced_weights, batches, fit, validation_loss


def blobs(rows: int, seed: int, distance: float = 1.0) -> Examples:
    random = np.random.default_rng(seed)
    y = np.arange(rows, dtype=np.int64) % 2
    x = random.normal(size=(rows, 6)) + distance * y[:, None]
    return Examples(x.astype(np.float32), y, np.ones(rows, dtype=np.float32))


def test_returns_the_weights_of_the_best_epoch() -> None:
    # Few noisy rows: the classifier soon fits the noise, so the last epoch is not the best one.
    training, validation = blobs(60, 1, 0.3), blobs(400, 2, 0.3)
    model, history = fit(training, validation, seed=1)
    losses = [epoch.validation_loss for epoch in history]
    assert min(losses) < losses[-1]
    assert validation_loss(model, validation) == min(losses)
    assert len(history) == losses.index(min(losses)) + 1 + fitting.PATIENCE


def test_best_weights_also_when_epochs_run_out() -> None:
    training, validation = blobs(60, 1, 0.3), blobs(400, 2, 0.3)
    whole = [epoch.validation_loss for epoch in fit(training, validation, seed=1)[1]]
    after_the_best = whole.index(min(whole)) + 3
    model, history = fit(training, validation, seed=1, epochs=after_the_best)
    assert len(history) == after_the_best
    assert validation_loss(model, validation) == min(whole)


def test_learns_and_repeats_itself() -> None:
    training, validation = blobs(600, 1, 2.0), blobs(200, 2, 2.0)
    model, history = fit(training, validation, seed=3)
    again, _ = fit(training, validation, seed=3)
    other, _ = fit(training, validation, seed=4)
    assert history[-1].validation_loss < 0.1
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True)
    )
    assert not torch.equal(model.output_layer.weight, other.output_layer.weight)


@pytest.mark.parametrize("rows", [1, 2, 255, 256, 257, 513, 1000])
def test_batches_hold_every_row_once_and_none_is_alone(rows: int) -> None:
    drawn = batches(rows)
    assert sorted(torch.cat(drawn).tolist()) == list(range(rows))
    assert rows == 1 or min(len(batch) for batch in drawn) > 1
    assert max(len(batch) for batch in drawn) <= fitting.BATCH


def test_weights_balance_labels_and_soften_classes() -> None:
    y = np.array([1] * 10 + [0] * 400 + [0] * 100, dtype=np.int64)
    kind = ["phage"] * 10 + ["bacteria"] * 400 + ["human"] * 100
    weight = balanced_weights(y, kind)
    assert weight[y == 1].sum() == pytest.approx(weight[y == 0].sum())
    assert weight.mean() == pytest.approx(1)
    assert weight[10:410].sum() / weight[410:].sum() == pytest.approx(2)  # roots of 400 and 100


def test_one_label_is_refused() -> None:
    with pytest.raises(InputError, match="0 viral and 3 other frames"):
        balanced_weights(np.zeros(3, dtype=np.int64), ["human"] * 3)
