"""The two encoders as training uses them: open frames in, rows of features out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from virnucpro.embedding.device import choose
from virnucpro.embedding.plan import default_budget
from virnucpro.embedding.runner import embed
from virnucpro.models.dnabert_s import DnabertS, load_dnabert_s
from virnucpro.models.esm2 import ESM2, load_esm2
from virnucpro.sequences.frames import Frame


@dataclass(frozen=True)
class Encoders:
    """DNABERT-S and ESM-2 on their device, and the files they came from."""

    dnabert_s: DnabertS
    esm2: ESM2
    dnabert_s_folder: Path
    esm2_file: Path
    device: torch.device

    @property
    def dim(self) -> int:
        """Features of a frame."""
        return self.dnabert_s.dim + self.esm2.dim

    def embed(self, frames: Sequence[Frame]) -> NDArray[np.float32]:
        """(n, dim) in the order of the frames: DNABERT-S, then ESM-2, as the pipeline merges them."""
        parts = (
            (self.dnabert_s, [frame.nucleotide for frame in frames]),
            (self.esm2, [frame.protein for frame in frames]),
        )
        rows = [
            embed(model, sequences, default_budget(self.device, model.dim), self.device)
            for model, sequences in parts
        ]
        return np.concatenate(rows, axis=1)


def load_encoders(
    dnabert_s_folder: Path, esm2_file: Path, device: str = "cpu", precisions: Sequence[str] = ("fp32",)
) -> Encoders:
    """Load both for inference, as a run does: on a GPU ESM-2 in half precision, where `precisions` has it.

    Raises `InputError` when a file is missing or damaged, and for a GPU that is not there.
    """
    whole, half = (choose(device, "auto", half_on_gpu=half, allowed=precisions) for half in (False, True))
    place = whole.torch_device
    return Encoders(
        load_dnabert_s(dnabert_s_folder, place, whole.dtype),
        load_esm2(esm2_file, place, half.dtype),
        dnabert_s_folder,
        esm2_file,
        place,
    )
