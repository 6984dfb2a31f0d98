"""The composition model: from a sequence's letters alone to log-odds of virus, no frame or encoder needed.

A few small nets of one shape, side by side. Each sees the whole sequence and its six frames: all frames go
through the same layers, and what these say is joined by a weighted mean, a maximum and a mean, so that the
order of frames, and with it the strand, does not matter. Each net gives probabilities of classes (RNA virus,
phage, bacteria, ...), and the mean of their log-odds is the model's.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from virnucpro.errors import InputError
from virnucpro.files import atomic
from virnucpro.sequences.composition import FRAME, FRAMES, WHOLE, features_of
from virnucpro.sequences.letters import Letters

Array = npt.NDArray[np.float32]
MIN_BASES = 100  # known bases, below which a sequence has no log-odds
BATCH = 64  # sequences a pass; every pass has exactly this shape, whatever a sequence's company
_KEY = "composition"  # of the file's metadata


def shapes(nets: int, hidden: int, classes: int) -> dict[str, tuple[int, ...]]:
    """The tensors of a model: products are (nets, in, out), what is added is (nets, out)."""
    return {
        "mean": (WHOLE + FRAME,),
        "scale": (WHOLE + FRAME,),
        "frame": (nets, FRAME, hidden),
        "whole_to_frame": (nets, WHOLE, hidden),
        "frame_bias": (nets, hidden),
        "attention": (nets, hidden),
        "frame_2": (nets, hidden, hidden),
        "frame_2_bias": (nets, hidden),
        "whole": (nets, WHOLE, hidden),
        "whole_bias": (nets, hidden),
        "joined": (nets, 4 * hidden, hidden),
        "joined_bias": (nets, hidden),
        "out": (nets, hidden, classes),
        "out_bias": (nets, classes),
    }


@dataclass(frozen=True)
class CompositionModel:
    """`classes` by name, 1 for a virus and 0 for others, and the tensors that `shapes` names."""

    classes: Mapping[str, int]
    tensors: Mapping[str, Array]

    @cached_property
    def _first(self) -> tuple[Array, Array, Array]:
        """The products from whole sequences and from frames, all nets side by side, and what is added.

        They standardise their input themselves.
        """
        t = self.tensors
        mean, scale = t["mean"], t["scale"]
        whole = np.concatenate([t["whole_to_frame"], t["whole"]], axis=2) / scale[:WHOLE, None]
        frame = t["frame"] / scale[WHOLE:, None]
        bias = np.concatenate([t["frame_bias"], t["whole_bias"]], axis=1) - mean[:WHOLE] @ whole
        bias[:, : frame.shape[2]] -= mean[WHOLE:] @ frame
        return _side_by_side(whole), _side_by_side(frame), bias.astype(np.float32)

    def log_odds(self, sequences: Sequence[str]) -> Array:
        """Log-odds of virus against all else, both held equally likely: float32 (n,), natural logarithm.

        NaN for a sequence with fewer than `MIN_BASES` known bases. A sequence and its reverse complement have
        the same, and a sequence has the same in any company, up to rounding.
        """
        result = np.full(len(sequences), np.nan, dtype=np.float32)
        for start in range(0, len(sequences), BATCH):
            batch = sequences[start : start + BATCH]
            letters = Letters.of([*batch, *[""] * (BATCH - len(batch))])
            odds = log_odds(self.class_log_probabilities(features_of(letters)), self.classes).mean(axis=0)
            odds[letters.bases() < MIN_BASES] = np.nan
            result[start : start + len(batch)] = odds[: len(batch)]
        return result

    def class_log_probabilities(self, x: Array) -> Array:
        """From features (n, ...) of `sequences.composition` to (nets, n, classes)."""
        t = self.tensors
        nets, hidden = t["frame_bias"].shape
        whole, frame, bias = self._first
        from_whole = x[:, :WHOLE] @ whole
        from_whole += bias.ravel()
        from_whole = from_whole.reshape(len(x), nets, 2, hidden)
        frames = (x[:, WHOLE:].reshape(-1, FRAME) @ frame).reshape(len(x), FRAMES, nets, hidden)
        frames += from_whole[:, None, :, 0]
        _relu(frames)
        result = np.empty((nets, len(x), len(self.classes)), dtype=np.float32)
        joined = np.empty((len(x), 4 * hidden), dtype=np.float32)
        for net in range(nets):
            first = frames.reshape(-1, nets * hidden)[:, net * hidden : (net + 1) * hidden]
            weight = np.exp(_log_softmax((first @ t["attention"][net]).reshape(-1, FRAMES)))
            second = first @ t["frame_2"][net]
            second += t["frame_2_bias"][net]
            second = _relu(second).reshape(-1, FRAMES, hidden)
            joined[:, :hidden] = _relu(from_whole[:, net, 1])
            second.max(axis=1, out=joined[:, 2 * hidden : 3 * hidden])
            second.mean(axis=1, out=joined[:, 3 * hidden :])
            second *= weight[:, :, None]
            second.sum(axis=1, out=joined[:, hidden : 2 * hidden])
            last = _relu(joined @ t["joined"][net] + t["joined_bias"][net])
            result[net] = _log_softmax(last @ t["out"][net] + t["out_bias"][net])
        return result


def log_odds(log_probabilities: Array, classes: Mapping[str, int]) -> Array:
    """Of virus against others, from log-probabilities of classes on the last axis."""
    is_virus = np.array(list(classes.values())) == 1
    shares = np.exp(np.maximum(log_probabilities, -60))  # which float32 can still hold
    virus, others = shares[..., is_virus].sum(axis=-1), shares[..., ~is_virus].sum(axis=-1)
    odds: Array = np.log(virus / others)
    return odds


def _side_by_side(product: npt.NDArray[np.floating]) -> Array:
    """(nets, in, out) as one product (in, nets * out)."""
    together = product.transpose(1, 0, 2).reshape(product.shape[1], -1)
    return np.ascontiguousarray(together, dtype=np.float32)


def _relu(x: Array) -> Array:
    np.maximum(x, 0, out=x)
    return x


def _log_softmax(x: Array) -> Array:
    shifted = x - x.max(axis=-1, keepdims=True)
    result: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def save_composition(path: Path, model: CompositionModel) -> None:
    """Write safetensors, whole or not at all: products in half precision, all else in float32."""
    tensors = {
        name: np.ascontiguousarray(value, dtype=np.float16 if value.ndim == 3 else np.float32)
        for name, value in model.tensors.items()
    }
    with atomic(path) as temporary:
        temporary.write_bytes(save(tensors, {_KEY: json.dumps(dict(model.classes))}))


def load_composition(path: Path) -> CompositionModel:
    """Read what `save_composition` wrote. Raises `InputError` for a missing, damaged or other file."""
    if not path.is_file():
        raise InputError(f"{path}: no such composition model")
    content = path.read_bytes()
    try:
        tensors = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        classes = json.loads(header["__metadata__"][_KEY])
        frame = tensors["frame"]
        wanted = shapes(len(frame), frame.shape[-1], len(classes))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: no composition model, or damaged ({error}); bring it again") from None
    for name, shape in wanted.items():
        found = tensors.get(name)
        if found is None or found.shape != shape or not np.isfinite(found).all():
            raise InputError(
                f"{path}: {name} is not {shape} finite numbers; bring it again, or train it anew"
            )
    if sorted(set(classes.values())) != [0, 1]:
        raise InputError(f"{path}: its classes must be of both labels, virus (1) and others (0)")
    return CompositionModel(classes, {name: tensors[name].astype(np.float32) for name in wanted})
