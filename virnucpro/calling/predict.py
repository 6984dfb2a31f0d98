"""Score every frame with the classifier: merged embeddings in, `prediction_results.txt` out."""

import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from virnucpro.embedding.plain import ids_of
from virnucpro.errors import InputError
from virnucpro.files import atomic
from virnucpro.models.classifier import MLPClassifier, load_classifier, scores
from virnucpro.models.weights import is_matrix, read_torch

HEADER = "Sequence_ID\tPrediction\tscore1\tscore2\n"

_NAME = re.compile(r"output_(\d+)_merged\.pt")


def predict(merged: Iterable[Path], classifier: Path, output: Path) -> int:
    """Write one row a frame, files in order of their N, rows in file order; returns the number of rows.

    score1 is P(others), score2 P(virus), each the shortest text that gives the float32 back. The label is
    the larger one; an exact tie is `others`, as argmax has it. One file is in memory at a time.

    Raises `InputError` for a file that is not a merge, or whose width the classifier does not take.
    """
    files = sorted(merged, key=_number)
    for earlier, later in pairwise(files):
        if _number(earlier) == _number(later):
            raise InputError(f"{later}: same number as {earlier}; name each file once")
    model = load_classifier(classifier)
    rows = 0
    with atomic(output) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as table:
        table.write(HEADER)
        for path in files:
            ids, data = read_merged(path)
            rows += len(ids)
            if len(ids) > 0:
                _check_width(path, data, model, classifier)
                for id_, (others, virus) in zip(ids, scores(model, data.numpy()), strict=True):
                    label = "virus" if virus > others else "others"
                    table.write(f"{id_}\t{label}\t{others!s}\t{virus!s}\n")
    return rows


def _number(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise InputError(f"{path}: expected a name like output_1_merged.pt")
    return int(match[1])


def read_merged(path: Path) -> tuple[list[str], torch.Tensor]:
    """Ids and float32 rows (n, d) of an `output_N_merged.pt`. Raises `InputError`."""
    content: Any = read_torch(path)
    ids, data = ids_of(path, content, "ids"), content.get("data")
    if not is_matrix(data, dimensions=2) or len(ids) != len(data):
        raise InputError(f"{path}: {len(ids)} ids do not fit the rows of 'data'; merge again")
    return ids, data.detach().float()


def _check_width(path: Path, data: torch.Tensor, model: MLPClassifier, classifier: Path) -> None:
    if data.shape[1] != model.input_dim:
        raise InputError(
            f"{path}: rows of {data.shape[1]} values, but the classifier {classifier} takes "
            f"{model.input_dim}; use the classifier that belongs to these embeddings"
        )
    if model.output_layer.out_features != 2:
        raise InputError(
            f"{classifier}: {model.output_layer.out_features} classes, expected others and virus"
        )
