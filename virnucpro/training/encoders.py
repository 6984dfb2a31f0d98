"""The two encoders as training uses them: open frames in, rows of features out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from virnucpro.embedding.runner import embed
from virnucpro.models.dnabert_s import DnabertS, load_dnabert_s
from virnucpro.models.esm2 import ESM2, load_esm2
from virnucpro.sequences.frames import Frame

TOKEN_BUDGET = 4096


@dataclass(frozen=True)
class Encoders:
    """DNABERT-S and ESM-2 on the CPU in float32, and the files they came from."""

    dnabert_s: DnabertS
    esm2: ESM2
    dnabert_s_folder: Path
    esm2_file: Path

    def embed(self, frames: Sequence[Frame]) -> NDArray[np.float32]:
        """(n, dim) in the order of the frames: DNABERT-S, then ESM-2, as the pipeline merges them."""
        dna = embed(self.dnabert_s, [frame.nucleotide for frame in frames], TOKEN_BUDGET)
        protein = embed(self.esm2, [frame.protein for frame in frames], TOKEN_BUDGET)
        return np.concatenate([dna, protein], axis=1)


def load_encoders(dnabert_s_folder: Path, esm2_file: Path) -> Encoders:
    """Load both for inference. Raises `InputError` when a file is missing or damaged."""
    cpu = torch.device("cpu")
    return Encoders(
        load_dnabert_s(dnabert_s_folder, cpu), load_esm2(esm2_file, cpu), dnabert_s_folder, esm2_file
    )
