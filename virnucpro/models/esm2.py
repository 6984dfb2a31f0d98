"""ESM-2 on packed batches: the whole forward pass, from residues to one mean vector a protein.

The weights are those of fair-esm's `ESM2` (Lin et al., Science 2023); the pass equals it, without
padding, and without its language-model and contact heads.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from esm.data import Alphabet
from torch import Tensor, nn

from virnucpro.models.attention import Packed, attend, choose_attention
from virnucpro.models.esm2_weights import Esm2Config, read_esm2
from virnucpro.models.linear import Linear, prepack
from virnucpro.models.weights import NoWeights

POOLED_RESIDUES = 1024  # the original averages no more than the first 1,024 residues, and cuts nothing else
_TOKEN_DROPOUT_SCALE = 1 - 0.15 * 0.8  # fair-esm scales embeddings as if 12 % of the tokens were masked
_ALPHABET = Alphabet.from_architecture("ESM-1b")
_TOKEN_OF = np.array([_ALPHABET.tok_to_idx.get(chr(byte), _ALPHABET.unk_idx) for byte in range(256)])


class ESM2(nn.Module):
    """`forward(batch)` gives (sequences, dim) float32: the mean over each protein's residues.

    `attention` is the back end's settled name.
    """

    inv_freq: Tensor

    def __init__(self, config: Esm2Config, attention: str = "sdpa") -> None:
        super().__init__()
        self.config = config
        self.attention = attention
        self.dim = config.embed_dim
        self.embed_tokens = nn.Embedding(len(_ALPHABET), config.embed_dim)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_layers))
        self.emb_layer_norm_after = nn.LayerNorm(config.embed_dim)
        self.register_buffer("inv_freq", torch.empty(config.embed_dim // config.attention_heads // 2))

    def tokenize(self, proteins: Sequence[str]) -> list[list[int]]:
        """Token ids with <cls> before and <eos> after; a letter that ESM-2 does not know becomes <unk>."""
        tokens, lengths = self.tokenize_flat([protein.encode("latin-1", "replace") for protein in proteins])
        return [part.tolist() for part in np.split(tokens, np.cumsum(lengths)[:-1])] if proteins else []

    def tokenize_flat(self, proteins: Sequence[bytes]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The same as one flat array (T,), and each protein's number of tokens (n,)."""
        lengths = np.array([len(protein) + 2 for protein in proteins], dtype=np.int64)
        letters = np.frombuffer(b"".join(b"." + protein + b"." for protein in proteins), dtype=np.uint8)
        tokens = _TOKEN_OF[letters]
        ends = np.cumsum(lengths)
        tokens[ends - lengths], tokens[ends - 1] = _ALPHABET.cls_idx, _ALPHABET.eos_idx
        return tokens, lengths

    def forward(self, batch: Packed) -> Tensor:
        x = self.embed_tokens(batch.tokens)  # (T, dim)
        if self.config.token_dropout:
            x = x * _TOKEN_DROPOUT_SCALE
        turns = self._turns(batch.positions)
        for layer in self.layers:
            x = layer(x, batch, turns, self.attention)
        x = self.emb_layer_norm_after(x).float()
        residues = (run[:, 1:-1][:, :POOLED_RESIDUES] for run in batch.split(x))
        return torch.cat([run.mean(dim=1) for run in residues])

    def _turns(self, positions: Tensor) -> Tensor:
        """(T, 1, 1, head_dim / 2) complex64: how far each position turns each pair of a head's numbers; the
        speeds come from the checkpoint, never anew, and are not rounded."""
        angles = positions.float()[:, None] * self.inv_freq
        return torch.polar(torch.ones_like(angles), angles)[:, None, None]


class Layer(nn.Module):
    """Rows of `qkv` for q and k stand in the order of `turn_order`."""

    def __init__(self, config: Esm2Config) -> None:
        super().__init__()
        self.heads = config.attention_heads
        self.self_attn_layer_norm = nn.LayerNorm(config.embed_dim)
        self.qkv = Linear(config.embed_dim, 3 * config.embed_dim)
        self.out_proj = Linear(config.embed_dim, config.embed_dim)
        self.final_layer_norm = nn.LayerNorm(config.embed_dim)
        self.fc1 = Linear(config.embed_dim, 4 * config.embed_dim)
        self.fc2 = Linear(4 * config.embed_dim, config.embed_dim)

    def forward(self, x: Tensor, batch: Packed, turns: Tensor, attention: str) -> Tensor:
        qkv = self.qkv(self.self_attn_layer_norm(x)).view(len(x), 3, self.heads, -1)
        q, k = turn(qkv[:, :2], turns).unbind(1)  # each (T, heads, head_dim)
        x = self.out_proj.add_to(x, attend(q, k, qkv[:, 2], batch, by=attention))
        return self.fc2.add_to(x, self.fc1.gelu(self.final_layer_norm(x)))


def turn(qk: Tensor, turns: Tensor) -> Tensor:
    """Rotary position embedding of (T, 2, heads, head_dim), computed in float32, given back in qk's dtype.

    Float32 input is overwritten. Neighbours are the pair that turns together: one complex product.
    """
    pairs = torch.view_as_complex(qk.float().view(*qk.shape[:-1], -1, 2))
    return torch.view_as_real(pairs.mul_(turns)).flatten(-2).to(qk.dtype)


def turn_order(head_dim: int) -> Tensor:
    """fair-esm pairs number i of a head with i + head_dim / 2; here they are neighbours: (head_dim,) int64,
    where each of our numbers stands in fair-esm's head. Scores, sums over a head, stay the same."""
    return torch.arange(head_dim).view(2, -1).T.reshape(-1)


def load_esm2(
    path: Path, device: torch.device, dtype: torch.dtype = torch.float32, attention: str = "auto"
) -> ESM2:
    """Load ESM-2 of any size, in any layout that `read_esm2` knows; ready for inference.

    Each weight goes to its device and dtype on its own, so no second copy of the model is ever in memory.
    Raises `InputError` for weights that are damaged or another model's, and where `choose_attention` does.
    """
    config, state = read_esm2(path)
    with NoWeights():
        model = ESM2(config, choose_attention(attention, device, dtype))
    for name, value in _our_layout(config, state):
        owner, _, leaf = name.rpartition(".")
        if leaf == "inv_freq":  # stays float32: rounding it costs more than all of fp16 does
            model.inv_freq = value.to(device, torch.float32)
        else:
            weight = nn.Parameter(value.to(device, dtype), requires_grad=False)
            setattr(model.get_submodule(owner), leaf, weight)
    if device.type == "cpu" and dtype == torch.float32:
        prepack(model)
    return model.eval()


def _our_layout(config: Esm2Config, state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """fair-esm's names to ours, its separate q, k, v to one product (SDPA scales the scores itself)."""
    order = turn_order(config.embed_dim // config.attention_heads)
    for name in state:
        parts = name.split(".")
        if parts[0] in ("lm_head", "contact_head") or parts[-2] in ("k_proj", "v_proj"):
            continue
        if "rot_emb" in parts:
            if parts[1] == "0":  # every layer has the same
                yield "inv_freq", state[name]
        elif parts[-2] == "q_proj":
            q, k, v = (state[name.replace("q_proj", f"{p}_proj")] for p in "qkv")
            q, k = (x.view(config.attention_heads, len(order), -1)[:, order].reshape(x.shape) for x in (q, k))
            yield name.replace("self_attn.q_proj", "qkv"), torch.cat([q, k, v])
        else:
            yield name.replace("self_attn.out_proj", "out_proj"), state[name]
