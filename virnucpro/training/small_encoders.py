"""Small encoders of the published shapes, for where the published ones are too large.

The same classes, file layouts and steps of the pipeline, a thousandth of the size: ESM-2 first learns to fill
in masked residues, then both learn, with a classifier on top, to tell viral frames from others. They know
their training genomes and nothing else.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors, trainers
from torch import Tensor, nn

from virnucpro.models.attention import Packed
from virnucpro.models.classifier import MLPClassifier
from virnucpro.models.dnabert_s import DnabertConfig, DnabertS, published_name
from virnucpro.models.esm2 import ESM2, trainable_esm2, turn_order
from virnucpro.models.esm2_weights import Esm2Config, write_esm2
from virnucpro.models.weights import write_safetensors
from virnucpro.sequences.frames import Frame
from virnucpro.training.epochs import Epoch, Kept, Log, Plan, run_epochs
from virnucpro.training.fit import weighted_loss

ESM2_CONFIG = Esm2Config(num_layers=2, embed_dim=64, attention_heads=4, token_dropout=True)
DNABERT_S_CONFIG = DnabertConfig(
    vocab_size=96,
    hidden_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=128,
    type_vocab_size=2,
    layer_norm_eps=1e-12,
)
SPECIAL_TOKENS = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]

BATCH = 64  # frames
POOL = 16 * BATCH  # frames sorted by length together: neighbours of equal length share an attention call
LEARNING_RATE = 2e-3
STAGE = "encoders, end to end"


@dataclass(frozen=True)
class LabelledFrames:
    """Frames with their label and their weight in the loss, row by row."""

    frames: Sequence[Frame]
    y: NDArray[np.int64]  # (n,)
    weight: NDArray[np.float32]  # (n,)


class Pair(nn.Module):
    """Both encoders with a classifier on top: what is trained, together."""

    def __init__(self, tokenizer: Tokenizer, esm2: ESM2) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.dnabert_s = DnabertS(DNABERT_S_CONFIG, tokenizer)
        for name, parameter in self.dnabert_s.named_parameters():
            # Each residual branch begins at nothing, so the layers begin as what the embeddings learned.
            if name.rpartition(".")[0].endswith((".dense", ".wo")):
                nn.init.zeros_(parameter)
        self.esm2 = esm2
        self.head = MLPClassifier(self.dnabert_s.dim + self.esm2.dim)

    def forward(self, frames: Sequence[Frame]) -> Tensor:
        """Logits (n, 2)."""
        device = self.esm2.inv_freq.device
        dna = _embed(self.dnabert_s, [frame.nucleotide for frame in frames], device)
        protein = _embed(self.esm2, [frame.protein for frame in frames], device)
        logits: Tensor = self.head(torch.cat([dna, protein], dim=1))
        return logits


def train_encoders(
    esm2: Path,
    training: LabelledFrames,
    validation: LabelledFrames,
    epochs: int,
    seed: int,
    device: torch.device,
    state: Path | None,
    log: Log,
) -> tuple[Pair, list[Epoch]]:
    """DNABERT-S from random weights and the ESM-2 in `esm2` (any layout), trained end to end; the weights of
    the epoch of lowest validation loss, on the CPU.

    Goes on from `state`, see `run_epochs`. The same frames, seed, machine and number of threads give the same
    weights.
    """
    torch.manual_seed(seed)
    tokenizer = train_tokenizer([frame.nucleotide for frame in training.frames])
    pair = Pair(tokenizer, trainable_esm2(esm2)).to(device)
    y, weight = torch.from_numpy(training.y).to(device), torch.from_numpy(training.weight).to(device)
    lengths = np.array([len(frame.protein) for frame in training.frames])
    optimizer = torch.optim.AdamW(pair.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    steps = epochs * -(-len(lengths) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, steps, pct_start=0.1)

    def train() -> float:
        pair.train()
        total = 0.0
        for rows in batches_of_like_length(lengths):
            loss = weighted_loss(pair([training.frames[row] for row in rows]), y[rows], weight[rows])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(pair.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item() * len(rows)
        return total / len(lengths)

    kept: dict[str, Kept] = {"optimizer": optimizer, "schedule": schedule}
    plan = Plan(STAGE, epochs)
    history = run_epochs(plan, pair, kept, train, lambda: _validation_loss(pair, validation), state, log)
    return pair.cpu(), history


def train_tokenizer(nucleotides: Sequence[str]) -> Tokenizer:
    """Byte-pair encoding of upper-case DNA within codons, so that its tokens are the codons of the frame.

    Any letter but A, C, G, T becomes [UNK]. (The published vocabulary has 4,096 tokens of any length; a model
    this small learns more from codons.)
    """
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(".{3}"), behavior="isolated")
    trainer = trainers.BpeTrainer(
        vocab_size=DNABERT_S_CONFIG.vocab_size,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=list("ACGT"),
        limit_alphabet=4,
        show_progress=False,
    )
    tokenizer.train_from_iterator(nucleotides, trainer)
    ends = [(token, SPECIAL_TOKENS.index(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return tokenizer


def batches_of_like_length(lengths: NDArray[np.int64]) -> Iterator[Tensor]:
    """Every row number once, in batches of at most `BATCH`: shuffled, sorted by length within `POOL` rows."""
    order = torch.randperm(len(lengths)).numpy()
    batches = []
    for start in range(0, len(order), POOL):
        pool = order[start : start + POOL]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [torch.from_numpy(pool[first : first + BATCH]) for first in range(0, len(pool), BATCH)]
    for index in torch.randperm(len(batches)).tolist():
        yield batches[index]


def _embed(model: DnabertS | ESM2, sequences: Sequence[str], device: torch.device) -> Tensor:
    """(n, dim), with gradients; equal lengths are made neighbours on the way in, and put back after."""
    tokens = model.tokenize(sequences)
    order = np.argsort([len(row) for row in tokens], kind="stable")
    vectors: Tensor = model(Packed.of([tokens[row] for row in order], device))
    return vectors[torch.from_numpy(np.argsort(order))]


@torch.no_grad()
def _validation_loss(pair: Pair, examples: LabelledFrames) -> float:
    pair.eval()
    rows = np.argsort([len(frame.protein) for frame in examples.frames], kind="stable")
    logits = torch.empty(len(rows), 2)
    for batch in np.array_split(rows, -(-len(rows) // BATCH)):
        logits[torch.from_numpy(batch)] = pair([examples.frames[row] for row in batch]).cpu()
    return float(weighted_loss(logits, torch.from_numpy(examples.y), torch.from_numpy(examples.weight)))


def write_encoders(directory: Path, pair: Pair) -> tuple[Path, Path]:
    """Write both under their published names: the folder of DNABERT-S, the file of ESM-2."""
    folder, esm2 = directory / "dnabert_s", directory / "esm2.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    config = json.dumps(asdict(DNABERT_S_CONFIG), indent=2)
    (folder / "config.json").write_text(config + "\n", encoding="utf-8")
    (folder / "tokenizer.json").write_text(pair.tokenizer.to_str(), encoding="utf-8")
    state = {published_name(name): value for name, value in pair.dnabert_s.state_dict().items()}
    write_safetensors(folder / "model.safetensors", state, {"format": "pt"})
    write_esm2(esm2, pair.esm2.config, fair_esm_layout(pair.esm2))
    return folder, esm2


def fair_esm_layout(model: ESM2) -> dict[str, Tensor]:
    """Our state under fair-esm's names: q, k and v apart, the rotary speeds in every layer."""
    theirs: dict[str, Tensor] = {}
    heads = model.config.attention_heads
    back = turn_order(model.dim // heads).argsort()
    for name, value in model.state_dict().items():
        if ".qkv." in name:
            for part, third in zip("qkv", value.chunk(3), strict=True):
                ordered = (
                    third if part == "v" else third.view(heads, len(back), -1)[:, back].reshape(third.shape)
                )
                theirs[name.replace("qkv", f"self_attn.{part}_proj")] = ordered.clone()
        elif name == "inv_freq":
            for layer in range(model.config.num_layers):
                theirs[f"layers.{layer}.self_attn.rot_emb.inv_freq"] = value.clone()
        else:
            theirs[name.replace(".out_proj.", ".self_attn.out_proj.")] = value
    return theirs
