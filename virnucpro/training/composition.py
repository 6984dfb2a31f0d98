"""Training of the composition model: all nets at once, each without the groups of its own fold.

So every window is out of fold for one net, and what that net says of it is what calibration is fitted on.
"""

import logging
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from virnucpro.errors import InputError
from virnucpro.models.composition import CompositionModel, log_odds, shapes
from virnucpro.sequences.composition import FRAME, FRAMES, WHOLE, features
from virnucpro.training.shuffle import shuffle_bases, shuffle_dinucleotides

log = logging.getLogger(__name__)
SHUFFLED = "shuffled"  # a class of its own among others


class Windows(Protocol):
    """Windows of any length from 100 bases on, with the class and the group of each."""

    @property
    def sequences(self) -> Sequence[str]: ...
    @property
    def labels(self) -> NDArray[np.int8]: ...
    @property
    def kinds(self) -> Sequence[str]: ...
    @property
    def groups(self) -> Sequence[str]: ...


@dataclass(frozen=True)
class Settings:
    """How the nets are made; the defaults are those of `mini`."""

    nets: int = 4
    hidden: int = 128
    epochs: int = 12  # each takes one piece of every window
    batch: int = 256
    rate: float = 2e-3
    warm_up: int = 100  # steps
    decay: float = 0.05
    dropout: float = 0.4
    input_dropout: float = 0.3
    smoothing: float = 0.05  # of the classes
    shuffled: float = 0.05  # shuffled windows, as a share of all others
    half: bool = False  # products in bfloat16, where the CPU has them
    genes: float = 1.0  # how much a class of single genes counts, where others count 1


@dataclass(frozen=True)
class TrainedComposition:
    """The model; of each window its fold, and the log-odds of the net that has not seen its group."""

    model: CompositionModel
    log_odds: NDArray[np.float32]  # (n,)
    folds: NDArray[np.int64]  # (n,)
    losses: list[float]  # of every epoch


def train_composition(windows: Windows, seed: int = 1, settings: Settings = Settings()) -> TrainedComposition:
    """Train on pieces of `windows`, a random one of each in every epoch, and score the windows out of fold.

    Same input, seed, machine and number of threads: same bytes. One line an epoch is logged, with the time
    left.
    Raises `InputError` where a label is missing.
    """
    if set(windows.labels.tolist()) != {0, 1}:
        raise InputError("composition: windows of both labels are needed, virus and others; add sequences")
    torch.manual_seed(seed)
    draw = random.Random(seed)
    folds = deal_folds(windows.kinds, windows.groups, settings.nets)
    rows = _Rows.of(windows, folds, settings, draw)
    classes = rows.classes
    net = _Nets.start(settings, len(classes), rows.features(rows.order(draw)[:4096], draw))
    optimizer = torch.optim.AdamW(net.parameters(), settings.rate, weight_decay=settings.decay)
    steps = settings.epochs * -(-len(rows.sequences) // settings.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps, settings.warm_up))
    losses, start = [], time.monotonic()
    for epoch in range(1, settings.epochs + 1):
        order, total = rows.order(draw), 0.0
        for begin in range(0, len(order), settings.batch):
            at = order[begin : begin + settings.batch]
            x = torch.from_numpy(rows.features(at, draw))
            loss = _loss(
                net, x, torch.from_numpy(rows.y[at]), torch.from_numpy(rows.weights[:, at]), settings
            )
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            total += loss.item() * len(at)
        losses.append(total / len(order))
        left = (time.monotonic() - start) / epoch * (settings.epochs - epoch)
        log.info(
            "composition: epoch %d of %d, loss %.4f, %d s left", epoch, settings.epochs, losses[-1], left
        )
    model = CompositionModel(classes, net.arrays())
    return TrainedComposition(model, out_of_fold(model, windows.sequences, folds), folds, losses)


def deal_folds(kinds: Sequence[str], groups: Sequence[str], folds: int) -> NDArray[np.int64]:
    """The fold of every window: a group is in one fold, whatever its classes; folds share a class alike.

    The largest group is dealt first, each to the fold with the fewest windows of its class so far.
    """
    of_kind: dict[str, dict[str, int]] = {}
    for kind, group in zip(kinds, groups, strict=True):
        counts = of_kind.setdefault(kind, {})
        counts[group] = counts.get(group, 0) + 1
    place: dict[str, int] = {}
    for kind in sorted(of_kind):
        held = [0] * folds
        for group, count in of_kind[kind].items():
            if group in place:
                held[place[group]] += count
        for group in sorted(of_kind[kind], key=lambda name: (-of_kind[kind][name], name)):
            if group not in place:
                place[group] = held.index(min(held))
                held[place[group]] += of_kind[kind][group]
    return np.array([place[group] for group in groups], dtype=np.int64)


def out_of_fold(
    model: CompositionModel, sequences: Sequence[str], folds: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Log-odds of each sequence by the net that has not seen its fold: (n,)."""
    result = np.empty(len(sequences), dtype=np.float32)
    for start in range(0, len(sequences), 256):
        end = start + 256
        odds = log_odds(model.class_log_probabilities(features(sequences[start:end])), model.classes)
        result[start:end] = odds[folds[start:end], np.arange(odds.shape[1])]
    return result


def piece_length(draw: random.Random, longest: int) -> int:
    """Bases of a piece: as windows have them, most from 300 to 600, never over `longest`.

    Longer contigs are scored as the mean of their windows, which tells more than one piece of 3,000 bases.
    """
    lowest, highest = draw.choices([(100, 300), (300, 600), (600, 1200)], [20, 65, 15])[0]
    steps: float = (highest / lowest) ** draw.random()
    return min(longest, round(lowest * steps))


@dataclass(frozen=True)
class _Rows:
    """What is trained on: windows, then shuffled ones."""

    sequences: list[str]
    y: NDArray[np.int64]  # (n,) class
    weights: NDArray[np.float32]  # (nets, n) in the loss; 0 in the fold of the net
    classes: Mapping[str, int]

    @classmethod
    def of(
        cls, windows: Windows, folds: NDArray[np.int64], settings: Settings, draw: random.Random
    ) -> "_Rows":
        """Both labels count the same, and all classes of a label; a shuffled window counts as any other."""
        labels = dict(sorted(zip(windows.kinds, windows.labels.tolist(), strict=True)))
        number = {kind: n for n, kind in enumerate([*labels, SHUFFLED])}
        y = np.array([number[kind] for kind in windows.kinds], dtype=np.int64)
        of_label = list(labels.values())
        counts = [settings.genes if kind.endswith("genes") else 1.0 for kind in labels]
        sums = [sum(c for c, one in zip(counts, of_label, strict=True) if one == label) for label in of_label]
        share = np.array(counts) / np.array(sums)
        weight = (share / np.bincount(y))[y]
        weight *= len(y) / weight.sum()
        extra = draw.sample(range(len(y)), round(settings.shuffled * len(y) / 2))
        shuffle = [draw.choice([shuffle_bases, shuffle_dinucleotides]) for _ in extra]
        shuffled = [mix(windows.sequences[row], draw) for mix, row in zip(shuffle, extra, strict=True)]
        weight = np.append(weight, np.ones(len(extra)))
        fold = np.append(folds, folds[extra])
        weights = np.where(fold == np.arange(settings.nets)[:, None], 0, weight).astype(np.float32)
        y = np.append(y, np.full(len(extra), number[SHUFFLED]))
        return cls([*windows.sequences, *shuffled], y, weights, labels | {SHUFFLED: 0})

    def order(self, draw: random.Random) -> NDArray[np.int64]:
        """All rows in a new order."""
        return np.random.default_rng(draw.getrandbits(64)).permutation(len(self.sequences))

    def features(self, rows: NDArray[np.int64], draw: random.Random) -> NDArray[np.float32]:
        """Of a random piece of each row."""
        return features([_piece(self.sequences[row], draw) for row in rows])


def _piece(sequence: str, draw: random.Random) -> str:
    length = piece_length(draw, len(sequence))
    start = draw.randrange(len(sequence) - length + 1)
    return sequence[start : start + length]


def _rate(step: int, steps: int, warm_up: int) -> float:
    return min(1.0, (step + 1) / warm_up) * (0.5 + 0.5 * float(np.cos(np.pi * min(step / steps, 1))))


class _Nets(torch.nn.ParameterDict):
    """The tensors of `CompositionModel`, as parameters; mean and scale stay as they are."""

    mean: Tensor
    scale: Tensor

    @classmethod
    def start(cls, settings: Settings, classes: int, x: NDArray[np.float32]) -> "_Nets":
        """Random tensors, and mean and scale of the features `x` (n, ...)."""
        net = cls()
        for name, shape in shapes(settings.nets, settings.hidden, classes).items():
            if name not in ("mean", "scale"):
                bound = shape[1] ** -0.5 if len(shape) == 3 else 0.0
                net[name] = torch.nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
        frames = x[:, WHOLE:].reshape(-1, FRAME)
        net.mean = torch.from_numpy(np.concatenate([x[:, :WHOLE].mean(axis=0), frames.mean(axis=0)]))
        net.scale = torch.from_numpy(np.concatenate([x[:, :WHOLE].std(axis=0), frames.std(axis=0)]) + 1e-2)
        return net

    def logits(self, x: Tensor, settings: Settings) -> Tensor:
        """(n, ...) features -> (nets, n, classes), as in training."""
        nets, hidden = self["frame_bias"].shape
        whole = (x[:, :WHOLE] - self.mean[:WHOLE]) / self.scale[:WHOLE]
        frames = (x[:, WHOLE:].reshape(-1, FRAME) - self.mean[WHOLE:]) / self.scale[WHOLE:]
        whole = functional.dropout(whole, settings.input_dropout)
        frames = functional.dropout(frames, settings.input_dropout)
        beside = (whole @ self["whole_to_frame"]) + self["frame_bias"][:, None]  # (nets, n, hidden)
        first = (frames @ self["frame"]).reshape(nets, len(x), FRAMES, hidden) + beside[:, :, None]
        first = torch.relu(first)
        weight = torch.softmax((first * self["attention"][:, None, None]).sum(3), dim=2)
        second = first.reshape(nets, -1, hidden) @ self["frame_2"] + self["frame_2_bias"][:, None]
        second = torch.relu(second).reshape(first.shape)
        alone = torch.relu(whole @ self["whole"] + self["whole_bias"][:, None])
        seen = [alone, (weight[..., None] * second).sum(2), second.amax(2), second.mean(2)]
        joined = functional.dropout(torch.cat(seen, dim=2), settings.dropout)
        last = torch.relu(joined @ self["joined"] + self["joined_bias"][:, None])
        last = functional.dropout(last, settings.dropout)
        result: Tensor = last @ self["out"] + self["out_bias"][:, None]
        return result

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """The tensors of the model that has been trained."""
        arrays = {name: value.detach().numpy().copy() for name, value in self.items()}
        return arrays | {"mean": self.mean.numpy(), "scale": self.scale.numpy()}


def _loss(net: _Nets, x: Tensor, y: Tensor, weights: Tensor, settings: Settings) -> Tensor:
    """Cross-entropy over classes with `weights` (nets, n), summed over the nets."""
    with torch.autocast("cpu", torch.bfloat16, enabled=settings.half):
        logits = net.logits(x, settings)
    flat = logits.float().flatten(0, 1)
    each = functional.cross_entropy(
        flat, y.repeat(len(weights)), reduction="none", label_smoothing=settings.smoothing
    )
    return (each * weights.flatten()).sum() / len(x)
