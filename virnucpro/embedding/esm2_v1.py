"""ESM-2, v1.0: fair-esm's own model and batches, one file of proteins in, one `output_N_ESM.pt` out."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from esm.data import FastaBatchedDataset
from esm.model.esm2 import ESM2
from esm.modules import RobertaLMHead
from torch import Tensor, nn

from virnucpro.embedding.device import Compute
from virnucpro.embedding.h5_to_pt import save_esm_pt
from virnucpro.embedding.memory import NO_LIMIT
from virnucpro.embedding.per_file import Finished, Model, Stage
from virnucpro.embedding.plan import Rows
from virnucpro.embedding.runner import Forward, Vectors
from virnucpro.models.esm2 import POOLED_RESIDUES
from virnucpro.models.esm2_weights import read_esm2
from virnucpro.models.weights import NoWeights

TOKENS_PER_BATCH = 2048  # the original's; residues and one more a sequence, padding counted


def load_fair_esm(weights: Path, compute: Compute) -> ESM2:
    """fair-esm's model with the weights of a checkpoint. Its language-model head is random: it runs at every
    pass there, and its result is not used.

    No second copy of the weights is made on the way. Raises `InputError` for another model's.
    """
    config, state = read_esm2(weights)
    with NoWeights():
        model = ESM2(
            config.num_layers, config.embed_dim, config.attention_heads, "ESM-1b", config.token_dropout
        )
    model.lm_head = model.contact_head = nn.Identity()
    model.load_state_dict(state, assign=True)
    model.lm_head = RobertaLMHead(config.embed_dim, model.alphabet_size, model.embed_tokens.weight)
    return model.to(compute.torch_device, compute.dtype).eval()


@dataclass(frozen=True)
class Padded:
    """Proteins as fair-esm batches them: `tokens` (n, L) int64, filled up with `padding`; each has so many
    `residues`."""

    tokens: Tensor
    residues: tuple[int, ...]
    padding: int

    @property
    def count(self) -> int:
        """Proteins in the batch."""
        return len(self.residues)

    @property
    def size(self) -> int:
        """Tokens in the batch: the residues, one before and one after them; padding not counted."""
        return sum(self.residues) + 2 * self.count

    def halves(self) -> tuple[Self, Self]:
        """Two batches of half the proteins each, no wider than their longest. For batches on CPU."""
        middle = self.count // 2
        return self._part(slice(middle)), self._part(slice(middle, None))

    def _part(self, rows: slice) -> Self:
        tokens = self.tokens[rows]
        width = int((tokens != self.padding).sum(1).max())
        return replace(self, tokens=tokens[:, :width], residues=self.residues[rows])

    def to(self, device: torch.device, non_blocking: bool = False) -> Self:
        """The batch on a device."""
        return replace(self, tokens=self.tokens.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """The batch in page-locked memory, from where a GPU copies it without stopping."""
        return replace(self, tokens=self.tokens.pin_memory())


def embed_protein_files(
    weights: Path,
    fastas: Sequence[Path],
    compute: Compute,
    finished: Finished,
    alive: Callable[[], None] = lambda: None,
) -> None:
    """Embed each FASTA of proteins on its own, as `Stage.embed` says and as the original: batches sorted by
    length and padded, nothing truncated, the mean over the first 1,024 residues;
    `{'proteins': [id], 'data': [(dim,) float32]}` in the file's order."""

    def load() -> Model[Padded]:
        esm2 = load_fair_esm(weights, compute)

        def batches(proteins: Sequence[str]) -> Iterator[tuple[Rows, Padded]]:
            return _batches(esm2, proteins)

        def means(batch: Padded) -> Tensor:
            return _means(esm2, batch)

        forward = Forward(means, compute.torch_device, NO_LIMIT)
        return Model(forward, esm2.embed_dim, "fair-esm", TOKENS_PER_BATCH, batches)

    stage = Stage("ESM2_V1", "v1.0 fair-esm batches", "ESM", load, _write)
    stage.embed(fastas, compute, finished, alive)


def _batches(model: ESM2, proteins: Sequence[str]) -> Iterator[tuple[Rows, Padded]]:
    """fair-esm's batches, each with the numbers (n,) of its proteins."""
    convert = model.alphabet.get_batch_converter()
    data = FastaBatchedDataset([""] * len(proteins), proteins)
    for rows in data.get_batch_indices(TOKENS_PER_BATCH, extra_toks_per_seq=1):
        _, _, tokens = convert([("", proteins[row]) for row in rows])
        residues = tuple(len(proteins[row]) for row in rows)
        yield np.array(rows, dtype=np.int64), Padded(tokens, residues, model.alphabet.padding_idx)


def _means(model: ESM2, batch: Padded) -> Tensor:
    """(n, dim) float32."""
    layer = model.num_layers
    out = model(batch.tokens, repr_layers=[layer])["representations"][layer]
    means = [out[row, 1 : min(n, POOLED_RESIDUES) + 1].mean(0) for row, n in enumerate(batch.residues)]
    return torch.stack(means).float()


def _write(path: Path, ids: list[str], vectors: Vectors) -> None:
    save_esm_pt(path, ids, torch.from_numpy(vectors))
