"""ESM-2, v1.0: fair-esm's own model and batches, one file of proteins in, one `output_N_ESM.pt` out."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from esm.data import FastaBatchedDataset
from esm.model.esm2 import ESM2
from esm.modules import RobertaLMHead
from torch import Tensor, nn

from virnucpro.embedding.device import Compute
from virnucpro.embedding.facts import StageFacts
from virnucpro.embedding.h5_to_pt import save_esm_pt
from virnucpro.errors import InputError
from virnucpro.files import file_number
from virnucpro.models.esm2 import POOLED_RESIDUES
from virnucpro.models.esm2_weights import read_esm2
from virnucpro.models.weights import NoWeights
from virnucpro.sequences.fasta import read_frames

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


def embed_protein_files(
    weights: Path,
    fastas: Sequence[Path],
    output: Path,
    compute: Compute,
    alive: Callable[[], None] = lambda: None,
) -> Iterator[tuple[Path, StageFacts]]:
    """Embed each FASTA of proteins on its own, as the original: batches sorted by length and padded, nothing
    truncated, the mean over the first 1,024 residues; `{'proteins': [id], 'data': [(dim,) float32]}` in the
    file's order goes to `output`.

    Gives each file as it is finished, with the facts of its making. `alive` is called after every batch.
    Raises `InputError` for repeated ids.
    """
    model: ESM2 | None = None
    for fasta in fastas:
        started = time.monotonic()
        frames = list(read_frames(fasta))
        ids = [id for id, _ in frames]
        if len(set(ids)) < len(ids):
            raise InputError(f"{fasta}: an id comes twice; ids must be unique")
        if frames and model is None:
            model = load_fair_esm(weights, compute)
        target = output / f"output_{file_number(fasta)}_ESM.pt"
        save_esm_pt(target, ids, _embed(model, frames, compute, alive))
        facts = StageFacts.of_file(
            "ESM2_V1", "v1.0 fair-esm batches", "fair-esm", compute,
            token_budget=TOKENS_PER_BATCH, sequences=len(frames),
            tokens=sum(len(protein) + 2 for _, protein in frames), started=started,
        )  # fmt: skip
        yield target, facts


@torch.inference_mode()
def _embed(
    model: ESM2 | None, frames: Sequence[tuple[str, str]], compute: Compute, alive: Callable[[], None]
) -> Tensor:
    """(n, dim) float32, in the order of the frames."""
    vectors = torch.empty((len(frames), model.embed_dim if model else 0))
    data = FastaBatchedDataset([id for id, _ in frames], [protein for _, protein in frames])
    for batch in data.get_batch_indices(TOKENS_PER_BATCH, extra_toks_per_seq=1):
        assert model is not None
        _, proteins, tokens = model.alphabet.get_batch_converter()([data[i] for i in batch])
        layer = model.num_layers
        out = model(tokens.to(compute.torch_device), repr_layers=[layer])["representations"][layer]
        for row, (i, protein) in enumerate(zip(batch, proteins, strict=True)):
            residues = out[row, 1 : min(len(protein), POOLED_RESIDUES) + 1]
            vectors[i] = residues.mean(0)
        alive()
    return vectors
