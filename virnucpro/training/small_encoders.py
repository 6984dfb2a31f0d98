"""Small encoders of the published shapes, trained from random weights to tell viral frames from others.

They stand in for the published ones where those are too large: the same classes, file layouts and steps
of the pipeline, a thousandth of the size. They know their training genomes and nothing else.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
from virnucpro.models.esm2 import ESM2, turn_order
from virnucpro.models.esm2_weights import Esm2Config, write_esm2
from virnucpro.models.weights import write_safetensors
from virnucpro.sequences.frames import Frame
from virnucpro.training.encoders import Encoders, load_encoders
from virnucpro.training.fit import copy_of_weights, weighted_loss

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


@dataclass(frozen=True)
class Stage:
    """One run over the training frames with its own learning rate, warmed up and annealed."""

    name: str
    epochs: int
    learning_rate: float


WITHOUT_LAYERS = Stage("embeddings", epochs=5, learning_rate=4e-3)
WITH_LAYERS = Stage("encoders", epochs=1, learning_rate=1e-3)


@dataclass(frozen=True)
class LabelledFrames:
    """Frames with their label and their weight in the loss, row by row."""

    frames: Sequence[Frame]
    y: NDArray[np.int64]  # (n,)
    weight: NDArray[np.float32]  # (n,)


class Pair(nn.Module):
    """Both encoders with a classifier on top: what is trained, together."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.dnabert_s = DnabertS(DNABERT_S_CONFIG, tokenizer)
        self.esm2 = ESM2(ESM2_CONFIG)
        head_dim = ESM2_CONFIG.embed_dim // ESM2_CONFIG.attention_heads
        self.esm2.inv_freq = 10_000 ** -(torch.arange(0, head_dim, 2) / head_dim)
        self.head = MLPClassifier(self.dnabert_s.dim + self.esm2.dim)
        for name, parameter in self.named_parameters():
            # Each residual branch begins at nothing, so the layers begin as what the embeddings learned.
            if name.rpartition(".")[0].endswith((".dense", ".wo", ".out_proj", ".fc2")):
                nn.init.zeros_(parameter)

    def forward(self, frames: Sequence[Frame]) -> Tensor:
        """Logits (n, 2)."""
        dna = _embed(self.dnabert_s, [frame.nucleotide for frame in frames])
        protein = _embed(self.esm2, [frame.protein for frame in frames])
        logits: Tensor = self.head(torch.cat([dna, protein], dim=1))
        return logits

    @contextmanager
    def without_layers(self) -> Iterator[None]:
        """Embeddings, norm and mean only: much faster, and most of what a small model learns."""
        kept = self.dnabert_s.layer, self.esm2.layers
        self.dnabert_s.layer, self.esm2.layers = nn.ModuleList(), nn.ModuleList()
        yield
        self.dnabert_s.layer, self.esm2.layers = kept


def make_small_encoders(
    directory: Path,
    training: LabelledFrames,
    validation: LabelledFrames,
    seed: int,
    log: Callable[[str], None],
) -> Encoders:
    """Train both encoders, first their embeddings, then all of them; write them, and load what was written.

    The same frames, seed, machine and number of threads give the same files.
    """
    torch.manual_seed(seed)
    pair = Pair(train_tokenizer([frame.nucleotide for frame in training.frames]))
    with pair.without_layers():
        _train(pair, training, validation, WITHOUT_LAYERS, log)
    _train(pair, training, validation, WITH_LAYERS, log)
    return _write(directory, pair)


def _train(
    pair: Pair, training: LabelledFrames, validation: LabelledFrames, stage: Stage, log: Callable[[str], None]
) -> None:
    """Run one stage; `pair` ends with the weights of its epoch of lowest validation loss."""
    y, weight = torch.from_numpy(training.y), torch.from_numpy(training.weight)
    lengths = np.array([len(frame.protein) for frame in training.frames])
    optimizer = torch.optim.AdamW(pair.parameters(), lr=stage.learning_rate)
    steps = stage.epochs * -(-len(lengths) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, stage.learning_rate, steps, pct_start=0.1)
    best_loss, best = float("inf"), copy_of_weights(pair)
    for epoch in range(1, stage.epochs + 1):
        pair.train()
        for rows in batches_of_like_length(lengths):
            loss = weighted_loss(pair([training.frames[row] for row in rows]), y[rows], weight[rows])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(pair.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        loss_now = _validation_loss(pair, validation)
        log(f"{stage.name}: epoch {epoch} of {stage.epochs}, validation loss {loss_now:.4f}")
        if loss_now < best_loss:
            best_loss, best = loss_now, copy_of_weights(pair)
    pair.load_state_dict(best)


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


def _embed(model: DnabertS | ESM2, sequences: Sequence[str]) -> Tensor:
    """(n, dim), with gradients; equal lengths are made neighbours on the way in, and put back after."""
    tokens = model.tokenize(sequences)
    order = np.argsort([len(row) for row in tokens], kind="stable")
    vectors: Tensor = model(Packed.of([tokens[row] for row in order], torch.device("cpu")))
    return vectors[torch.from_numpy(np.argsort(order))]


@torch.no_grad()
def _validation_loss(pair: Pair, examples: LabelledFrames) -> float:
    pair.eval()
    rows = np.argsort([len(frame.protein) for frame in examples.frames], kind="stable")
    logits = torch.empty(len(rows), 2)
    for batch in np.array_split(rows, -(-len(rows) // BATCH)):
        logits[torch.from_numpy(batch)] = pair([examples.frames[row] for row in batch])
    return float(weighted_loss(logits, torch.from_numpy(examples.y), torch.from_numpy(examples.weight)))


def _write(directory: Path, pair: Pair) -> Encoders:
    folder, esm2 = directory / "dnabert_s", directory / "esm2.safetensors"
    folder.mkdir(parents=True)
    config = json.dumps(asdict(DNABERT_S_CONFIG), indent=2)
    (folder / "config.json").write_text(config + "\n", encoding="utf-8")
    (folder / "tokenizer.json").write_text(pair.tokenizer.to_str(), encoding="utf-8")
    state = {published_name(name): value for name, value in pair.dnabert_s.state_dict().items()}
    write_safetensors(folder / "model.safetensors", state, {"format": "pt"})
    write_esm2(esm2, ESM2_CONFIG, fair_esm_layout(pair.esm2))
    return load_encoders(folder, esm2)


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
