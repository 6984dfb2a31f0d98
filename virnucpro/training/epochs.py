"""One loop for all that is trained by epochs here: the best epoch is kept, and a killed training goes on.

After each epoch everything that the next one depends on goes to one file, so that what was cut off ends with
the same weights as what was not.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from virnucpro.models.weights import read_torch, write_torch

Log = Callable[[str], None]


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training rows led to."""

    stage: str
    epoch: int
    training_loss: float
    validation_loss: float


class Kept(Protocol):
    """Whatever a state can be taken from and put back: an optimizer, a schedule."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any: ...


@dataclass(frozen=True)
class Plan:
    """`epochs` at most of the `stage`; `patience` epochs without a better validation loss end it earlier."""

    stage: str
    epochs: int
    patience: int | None = None


def run_epochs(
    plan: Plan,
    model: nn.Module,
    kept: Mapping[str, Kept],
    train: Callable[[], float],
    validate: Callable[[], float],
    state: Path | None,
    log: Log,
) -> list[Epoch]:
    """Call `train` and `validate`, which give their losses, epoch after epoch; one log line each.

    `model` ends with the weights of its epoch of lowest validation loss. `kept` is what else changes with the
    epochs, by name. With a `state` file a training goes on from there, to the same bytes, and writes it anew
    after each epoch. Returns all epochs.
    """
    history: list[Epoch] = []
    best = copy_of_weights(model)
    if state is not None and state.exists():
        history, best = _go_on(state, model, kept)
    remaining = Remaining(plan.epochs - len(history))
    while not _ended(plan, history):
        losses = train(), validate()
        history.append(Epoch(plan.stage, len(history) + 1, *losses))
        if best_of(history) is history[-1]:
            best = copy_of_weights(model)
        if state is not None:
            _save(state, model, best, kept, history)
        log(epoch_line(history[-1], plan.epochs, remaining.after_one_more()))
    model.load_state_dict(best)
    return history


def best_of(history: list[Epoch]) -> Epoch:
    """The first epoch of lowest validation loss."""
    return min(history, key=lambda epoch: epoch.validation_loss)


def epoch_line(epoch: Epoch, epochs: int, seconds_left: float) -> str:
    """What the log says of an epoch."""
    return (
        f"{epoch.stage}: epoch {epoch.epoch} of {epochs}, training loss {epoch.training_loss:.4f}, "
        f"validation loss {epoch.validation_loss:.4f}, at most {seconds_left / 60:.1f} min left"
    )


class Remaining:
    """Time left, from the time that the epochs of this process took."""

    def __init__(self, epochs: int) -> None:
        self._begin, self._epochs, self._done = time.monotonic(), epochs, 0

    def after_one_more(self) -> float:
        """Seconds for the epochs that are left after the one that has just ended."""
        self._done += 1
        return (time.monotonic() - self._begin) / self._done * (self._epochs - self._done)


def copy_of_weights(model: nn.Module) -> dict[str, Tensor]:
    """The weights as they are now; a state_dict alone would follow the model as it trains on."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def _ended(plan: Plan, history: list[Epoch]) -> bool:
    if len(history) >= plan.epochs:
        return True
    if plan.patience is None or not history:
        return False
    return history[-1].epoch - best_of(history).epoch >= plan.patience


def _save(
    path: Path, model: nn.Module, best: dict[str, Tensor], kept: Mapping[str, Kept], history: list[Epoch]
) -> None:
    content = {
        "model": model.state_dict(),
        "best": best,
        "kept": {name: part.state_dict() for name, part in kept.items()},
        "random": torch.get_rng_state(),
        "random_of_gpus": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "history": [asdict(epoch) for epoch in history],
    }
    write_torch(path, content)


def _go_on(path: Path, model: nn.Module, kept: Mapping[str, Kept]) -> tuple[list[Epoch], dict[str, Tensor]]:
    content = read_torch(path)
    model.load_state_dict(content["model"])
    for name, part in kept.items():
        part.load_state_dict(content["kept"][name])
    torch.set_rng_state(content["random"])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all(content["random_of_gpus"])
    return [Epoch(**epoch) for epoch in content["history"]], content["best"]
