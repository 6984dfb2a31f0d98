"""Fit the classifier on embeddings: early stopping on validation genomes, the best weights kept."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from virnucpro.errors import InputError
from virnucpro.models.classifier import MLPClassifier
from virnucpro.training.epochs import Epoch, Log, Plan, run_epochs

BATCH = 256
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.01
EPOCHS = 200
PATIENCE = 5  # epochs without a better validation loss


@dataclass(frozen=True)
class Examples:
    """One row per frame."""

    x: NDArray[np.float32]  # (n, dim) embeddings
    y: NDArray[np.int64]  # (n,) 1 virus, 0 others
    weight: NDArray[np.float32]  # (n,) how much a row counts in the loss


def balanced_weights(y: NDArray[np.int64], kind: Sequence[str]) -> NDArray[np.float32]:
    """Weights of mean 1: both labels count the same, each class of a label by the root of its rows.

    So a class of which few frames exist (human DNA has few open ones) is heard, without a handful of
    rows outweighing all others. Raises `InputError` when a label has no row.
    """
    viral = int(y.sum())
    if viral in (0, len(y)):
        raise InputError(f"{viral} viral and {len(y) - viral} other frames: both are needed; add sequences")
    count = Counter(kind)
    weight = np.array([count[name] ** -0.5 for name in kind])
    for label in (0, 1):
        weight[y == label] *= len(y) / 2 / weight[y == label].sum()
    return weight.astype(np.float32)


def fit(
    training: Examples,
    validation: Examples,
    seed: int,
    epochs: int = EPOCHS,
    device: torch.device | None = None,
    state: Path | None = None,
    log: Log = lambda _: None,
) -> tuple[MLPClassifier, list[Epoch]]:
    """The classifier with the lowest validation loss, on the CPU, and the history of all epochs.

    Stops after `PATIENCE` epochs without a better one, or after `epochs`; goes on from `state`, see
    `run_epochs`. The same seed, machine, device and number of threads give the same weights.
    """
    torch.manual_seed(seed)
    device = device or torch.device("cpu")
    model = MLPClassifier(training.x.shape[1]).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    x, y, weight = _tensors(training, device)
    held_out = _tensors(validation, device)

    def train() -> float:
        model.train()
        total = 0.0
        for rows in batches(len(y)):
            loss = weighted_loss(model(x[rows]), y[rows], weight[rows])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            total += loss.item() * len(rows)
        return total / len(y)

    plan = Plan("classifier", epochs, PATIENCE)
    kept = {"optimizer": optimizer}
    history = run_epochs(plan, model, kept, train, lambda: _loss(model, *held_out), state, log)
    return model.cpu().eval(), history


def batches(rows: int, size: int = BATCH) -> tuple[Tensor, ...]:
    """All row numbers, shuffled, in nearly equal batches of at most `size`: none dropped, none of one row."""
    return torch.randperm(rows).tensor_split(-(-rows // size))


def weighted_loss(logits: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Cross entropy, averaged with the rows' weights."""
    return (nn.functional.cross_entropy(logits, y, reduction="none") * weight).sum() / weight.sum()


def validation_loss(model: nn.Module, examples: Examples) -> float:
    """The loss as it is at prediction time: no dropout, stored batch statistics."""
    return _loss(model, *_tensors(examples, torch.device("cpu")))


@torch.no_grad()
def _loss(model: nn.Module, x: Tensor, y: Tensor, weight: Tensor) -> float:
    return float(weighted_loss(model.eval()(x), y, weight))


def _tensors(examples: Examples, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    x, y, weight = (torch.from_numpy(part) for part in (examples.x, examples.y, examples.weight))
    return x.to(device), y.to(device), weight.to(device)
