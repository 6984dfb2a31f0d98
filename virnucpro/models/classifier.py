"""The classifier on top of the two embeddings: a small perceptron, its file format, its scores.

Layer names are those of the original's state dict, so that its weights load unchanged.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from virnucpro.errors import InputError
from virnucpro.models.weights import is_dense, is_matrix, read_safetensors, read_torch, write_safetensors

LABELS = ("others", "virus")  # of the two probabilities, in this order
BATCH = 256  # rows a forward pass; every pass has exactly this shape, so that a score depends on its row only


class MLPClassifier(nn.Module):
    """Linear, BatchNorm, ReLU, Dropout, Linear: float32 (n, input_dim) -> logits (n, classes)."""

    def __init__(self, input_dim: int, hidden_dim: int = 512, classes: int = 2) -> None:
        super().__init__()
        self.hidden_layer = nn.Linear(input_dim, hidden_dim)
        self.bn1 = nn.BatchNorm1d(hidden_dim)
        self.output_layer = nn.Linear(hidden_dim, classes)
        self.dropout = nn.Dropout(0.5)
        nn.init.xavier_uniform_(self.hidden_layer.weight)
        nn.init.xavier_uniform_(self.output_layer.weight)

    @property
    def input_dim(self) -> int:
        return self.hidden_layer.in_features

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.output_layer(self.dropout(torch.relu(self.bn1(self.hidden_layer(x)))))
        return logits


def scores(model: MLPClassifier, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Class probabilities (n, classes) in float32 for the rows of `x` (n, input_dim), in eval mode.

    The last pass is filled up with zero rows to `BATCH`, so a row scores the same, to the bit, in any file.
    """
    model.eval()
    result = np.empty((len(x), model.output_layer.out_features), dtype=np.float32)
    batch = torch.zeros((BATCH, model.input_dim))
    with torch.inference_mode():
        for start in range(0, len(x), BATCH):
            rows = torch.from_numpy(x[start : start + BATCH])
            batch[: len(rows)] = rows
            result[start : start + BATCH] = torch.softmax(model(batch), dim=1)[: len(rows)].numpy()
    return result


def save_classifier(path: Path, model: MLPClassifier) -> None:
    """Write the state dict as safetensors (float32), whole or not at all; layer sizes and labels go into the
    metadata."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_safetensors(path, state, {"classifier": json.dumps({"layers": _sizes(model), "labels": LABELS})})


def load_classifier(path: Path) -> MLPClassifier:
    """A classifier in eval mode from safetensors. Raises `InputError`, also for layer sizes or labels other
    than its metadata states or than this program knows."""
    state, metadata = read_safetensors(path)
    model = _from_state(path, state)
    if (stated := metadata.get("classifier")) != (
        known := json.dumps({"layers": _sizes(model), "labels": LABELS})
    ):
        raise InputError(f"{path}: its metadata say {stated}, not {known}; convert the classifier again")
    return model


def convert_classifier(source: Path, target: Path) -> None:
    """Write a classifier, an original `.pth` or safetensors, as our safetensors. Raises `InputError`."""
    safe = source.suffix == ".safetensors"
    save_classifier(target, load_classifier(source) if safe else load_original_classifier(source))


def _sizes(model: MLPClassifier) -> list[int]:
    return [model.input_dim, model.hidden_layer.out_features, model.output_layer.out_features]


class _Plain:
    """Stands in for every class of a pickled module: it only keeps the attributes."""


# Everything a pickled original may name, beside the tensors that torch allows by itself.
_ORIGINAL_CLASSES = (
    "__main__.MLPClassifier",
    "torch.nn.modules.linear.Linear",
    "torch.nn.modules.batchnorm.BatchNorm1d",
    "torch.nn.modules.dropout.Dropout",
    "torch.nn.modules.activation.ReLU",
)


def load_original_classifier(path: Path) -> MLPClassifier:
    """The classifier in an original `.pth`, a whole pickled `__main__.MLPClassifier`; in eval mode.

    Nothing in the file runs: its classes become plain attribute holders, and any other name in it is
    refused with an `InputError` that says which.
    """
    return _from_state(path, dict(_tensors(read_torch(path, [(_Plain, name) for name in _ORIGINAL_CLASSES]))))


def _tensors(module: object) -> Iterator[tuple[str, Tensor]]:
    """`(dotted name, tensor)` of the layers in a plain holder; nothing for any other object."""
    for layer, holder in _group(module, "_modules"):
        for name, tensor in [*_group(holder, "_parameters"), *_group(holder, "_buffers")]:
            if is_dense(tensor):
                yield f"{layer}.{name}", tensor.detach()


def _group(module: object, name: str) -> list[tuple[object, object]]:
    group = vars(module).get(name) if isinstance(module, _Plain) else None
    return list(group.items()) if isinstance(group, dict) else []


def _from_state(path: Path, state: dict[str, Tensor]) -> MLPClassifier:
    hidden, output = state.get("hidden_layer.weight"), state.get("output_layer.weight")
    if not is_matrix(hidden, 2) or not is_matrix(output, 2) or 0 in (*hidden.shape, *output.shape):
        raise InputError(f"{path}: not a VirNucPro classifier (hidden_layer and output_layer expected)")
    model = MLPClassifier(hidden.shape[1], hidden.shape[0], output.shape[0])
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a VirNucPro classifier: {reason}") from error
    if not all(torch.isfinite(tensor).all() for tensor in model.state_dict().values()):
        raise InputError(f"{path}: the classifier holds values that are not finite")
    return model.eval()
