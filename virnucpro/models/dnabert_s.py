"""DNABERT-S on packed batches: the published shape (MosaicBERT: ALiBi, gated linear units), our own class.

Equals the published model code (Zhou et al., 2024) on its PyTorch path; no remote code, no Triton, so the
numbers do not depend on what else is installed.
"""

import math
import shutil
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn

from virnucpro.errors import InputError
from virnucpro.files import atomic
from virnucpro.models.attention import HALF, Packed, attend, choose_attention
from virnucpro.models.linear import Linear, prepack
from virnucpro.models.weights import (
    NoWeights,
    check_weights,
    read_config,
    read_folder,
    whole_number,
    write_safetensors,
)


@dataclass(frozen=True, slots=True)
class DnabertConfig:
    """The keys of the published `config.json` that shape the model."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    type_vocab_size: int
    layer_norm_eps: float


class DnabertS(nn.Module):
    """`forward(batch)` gives (sequences, hidden_size) float32: the mean over all tokens, [CLS] and [SEP] too.

    That mean is the original's; longer inputs than 512 tokens are not cut, as there.
    `attention` is the back end's settled name, one that takes the ALiBi bias.
    """

    slopes: Tensor

    def __init__(self, config: DnabertConfig, tokenizer: Tokenizer, attention: str = "sdpa") -> None:
        super().__init__()
        self.attention = attention
        self.dim = config.hidden_size
        self.register_buffer("slopes", alibi_slopes(config.num_attention_heads), persistent=False)
        self._tokenizer = tokenizer
        self.embeddings = Embeddings(config)
        self.layer = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))

    def tokenize(self, sequences: Sequence[str]) -> list[list[int]]:
        """Token ids by the model's own tokenizer, its special tokens included, never truncated."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(sequences))]

    def forward(self, batch: Packed) -> Tensor:
        x = self.embeddings(batch.tokens)  # (T, dim)
        if self.attention == "flash":
            bias = self.slopes
        else:  # of a width that the GPU's kernel takes as it is, in every layer
            bias = alibi(self.slopes, -(-batch.longest // 8) * 8).to(x.dtype)
        for layer in self.layer:
            x = layer(x, batch, bias, self.attention)
        return torch.cat([run.mean(dim=1) for run in batch.split(x.float())])


class Embeddings(nn.Module):
    def __init__(self, config: DnabertConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, tokens: Tensor) -> Tensor:
        embedded: Tensor = self.LayerNorm(self.word_embeddings(tokens) + self.token_type_embeddings.weight[0])
        return embedded


class Layer(nn.Module):
    def __init__(self, config: DnabertConfig) -> None:
        super().__init__()
        dim, eps = config.hidden_size, config.layer_norm_eps
        self.heads = config.num_attention_heads
        self.Wqkv = Linear(dim, 3 * dim)
        self.dense = Linear(dim, dim)
        self.attention_norm = nn.LayerNorm(dim, eps=eps)
        self.gated_layers = Linear(dim, 2 * config.intermediate_size, bias=False)
        self.wo = Linear(config.intermediate_size, dim)
        self.mlp_norm = nn.LayerNorm(dim, eps=eps)

    def forward(self, x: Tensor, batch: Packed, bias: Tensor, attention: str) -> Tensor:
        q, k, v = self.Wqkv(x).view(len(x), 3, self.heads, -1).unbind(1)  # each (T, heads, head_dim)
        x = self.attention_norm(self.dense.add_to(x, attend(q, k, v, batch, bias, attention)))
        gate, value = self.gated_layers(x).chunk(2, dim=-1)
        x = self.mlp_norm(self.wo.add_to(x, F.gelu(gate) * value))
        return x


def alibi(slopes: Tensor, length: int) -> Tensor:
    """(heads, length, length) float32, where the slopes are: minus slope times distance, symmetric (Press et
    al., 2022)."""
    place = torch.arange(length, device=slopes.device)
    return slopes[:, None, None] * -(place[:, None] - place).abs()


def alibi_slopes(heads: int) -> Tensor:
    """(heads,) float32."""
    return torch.tensor(_slopes(heads))


def _slopes(heads: int) -> list[float]:
    """Geometric for a power of two; otherwise every other slope of the next one fills up, as published."""
    power = 2 ** math.floor(math.log2(heads))
    slopes = [2 ** (-8 * (i + 1) / power) for i in range(power)]
    return slopes if power == heads else slopes + _slopes(2 * power)[0::2][: heads - power]


def load_dnabert_s(
    folder: Path, device: torch.device, dtype: torch.dtype = torch.float32, attention: str = "auto"
) -> DnabertS:
    """Load a folder in the published layout: `config.json`, weights, `tokenizer.json`; ready for inference.

    Weights stay mapped to their file until each goes to its device and dtype on its own. `attention` is that
    of the run: `auto` takes the place of a kernel without ALiBi, and of one without this precision. Raises
    `InputError` naming what is missing or damaged, and where `choose_attention` does.
    """
    config = _read_config(folder / "config.json")
    if attention == "varlen" or (attention == "flash" and dtype not in HALF):
        attention = "auto"
    head_dim = config.hidden_size // config.num_attention_heads
    attention = choose_attention(attention, device, dtype, head_dim, alibi=True)
    tokenizer = _read_tokenizer(folder / "tokenizer.json", config.vocab_size)
    state = _our_layout(read_folder(folder))
    if config.num_hidden_layers > len(state):
        raise InputError(f"{folder}: its weights do not fit its config.json ({len(state)} are too few)")
    with NoWeights():
        model = DnabertS(config, tokenizer, attention)
    try:
        model.load_state_dict(state, assign=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(f"{folder}: its weights do not fit its config.json ({reason})") from None
    model.to(device, dtype).requires_grad_(False).eval()
    model.slopes = alibi_slopes(config.num_attention_heads).to(device)  # in float32, whatever the weights are
    if device.type == "cpu" and dtype == torch.float32:
        prepack(model)
    return model


def convert_dnabert_s(folder: Path, target: Path) -> None:
    """Write the new folder `target`: the published layout with the weights as safetensors, no more of them
    than the embedding takes. Raises `InputError` for a folder that is no DNABERT-S."""
    load_dnabert_s(folder, torch.device("meta"))  # every weight is there and has its shape
    check_weights(folder)
    state = {
        published_name(name): value.contiguous() for name, value in _our_layout(read_folder(folder)).items()
    }
    with atomic(target) as partial:
        partial.mkdir(parents=True)
        for name in ("config.json", "tokenizer.json"):
            shutil.copyfile(folder / name, partial / name)
        write_safetensors(partial / "model.safetensors", state, {"format": "pt"})


_RENAMED = {
    "attention.self.Wqkv": "Wqkv",
    "attention.output.dense": "dense",
    "attention.output.LayerNorm": "attention_norm",
    "mlp.gated_layers": "gated_layers",
    "mlp.wo": "wo",
    "mlp.layernorm": "mlp_norm",
}


def _our_layout(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published names to ours; pooler and language-model head are left behind."""
    ours = {}
    for name, value in published.items():
        name = name.removeprefix("bert.").removeprefix("encoder.")
        if name.startswith(("embeddings.", "layer.")):
            for theirs, new in _RENAMED.items():
                name = name.replace(theirs, new)
            ours[name] = value
    return ours


def published_name(name: str) -> str:
    """The published checkpoint's name of one of our parameters."""
    for theirs, ours in _RENAMED.items():
        head, found, tail = name.partition(f".{ours}.")
        if found:
            return f"bert.encoder.{head}.{theirs}.{tail}"
    return f"bert.{name}"


def _read_config(path: Path) -> DnabertConfig:
    published = read_config(path)
    try:
        config = DnabertConfig(**{field.name: published[field.name] for field in fields(DnabertConfig)})
    except KeyError as error:
        raise InputError(f"{path}: not a DNABERT-S configuration ({error})") from None
    *sizes, eps = astuple(config)
    possible = all(map(whole_number, sizes)) and config.hidden_size % config.num_attention_heads == 0
    if not possible or not isinstance(eps, float) or not 0 < eps < 1:
        raise InputError(f"{path}: states sizes that no DNABERT-S has ({config!r:.300})")
    return config


def _read_tokenizer(path: Path, vocab_size: int) -> Tokenizer:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a tokenizer ({error})") from None
    try:
        tokenizer = Tokenizer.from_str(text)
        tokens = [*tokenizer.get_vocab().values(), *tokenizer.encode("ACGT").ids]
    except BaseException as error:  # the library raises bare Exception, and for a bad template panics
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise InputError(f"{path}: not a tokenizer ({error})") from None
        raise
    if max(tokens, default=0) >= vocab_size:
        raise InputError(f"{path}: has token {max(tokens)}, but the model's config.json has {vocab_size}")
    return tokenizer
