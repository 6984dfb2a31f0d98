"""ESM-2 on packed batches: the whole forward pass, from residues to one mean vector a protein.

The weights are those of fair-esm's `ESM2` (Lin et al., Science 2023); the pass equals it, without
padding, and without its language-model and contact heads.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from esm.data import Alphabet
from torch import Tensor, nn

from virnucpro.models.attention import Packed, attend
from virnucpro.models.weights import Esm2Config, read_esm2

POOLED_RESIDUES = 1024  # the original averages no more than the first 1,024 residues, and cuts nothing else
_TOKEN_DROPOUT_SCALE = 1 - 0.15 * 0.8  # fair-esm scales embeddings as if 12 % of the tokens were masked
_ALPHABET = Alphabet.from_architecture("ESM-1b")


class ESM2(nn.Module):
    """`forward(batch)` gives (sequences, dim) float32: the mean over each protein's residues."""

    inv_freq: Tensor

    def __init__(self, config: Esm2Config) -> None:
        super().__init__()
        self.config = config
        self.dim = config.embed_dim
        self.embed_tokens = nn.Embedding(len(_ALPHABET), config.embed_dim)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_layers))
        self.emb_layer_norm_after = nn.LayerNorm(config.embed_dim)
        self.register_buffer("inv_freq", torch.empty(config.embed_dim // config.attention_heads // 2))

    def tokenize(self, proteins: Sequence[str]) -> list[list[int]]:
        """Token ids with <cls> before and <eos> after; a letter that ESM-2 does not know becomes <unk>."""
        index, unknown = _ALPHABET.tok_to_idx, _ALPHABET.unk_idx
        start, end = _ALPHABET.cls_idx, _ALPHABET.eos_idx
        return [[start, *(index.get(letter, unknown) for letter in protein), end] for protein in proteins]

    def forward(self, batch: Packed) -> Tensor:
        x = self.embed_tokens(batch.tokens)  # (T, dim)
        if self.config.token_dropout:
            x = x * _TOKEN_DROPOUT_SCALE
        rotary = self._rotary(batch)
        for layer in self.layers:
            x = layer(x, batch, rotary)
        x = self.emb_layer_norm_after(x).float()
        residues = (run[:, 1:-1][:, :POOLED_RESIDUES] for run in batch.split(x))
        return torch.cat([run.mean(dim=1) for run in residues])

    def _rotary(self, batch: Packed) -> tuple[Tensor, Tensor]:
        """cos and sin, each (T, 1, head_dim) float32; the speeds come from the checkpoint, never anew."""
        angles = batch.positions().float()[:, None] * self.inv_freq  # (T, head_dim / 2)
        angles = torch.cat([angles, angles], dim=-1)[:, None]
        return angles.cos(), angles.sin()


class Layer(nn.Module):
    def __init__(self, config: Esm2Config) -> None:
        super().__init__()
        self.heads = config.attention_heads
        self.self_attn_layer_norm = nn.LayerNorm(config.embed_dim)
        self.qkv = nn.Linear(config.embed_dim, 3 * config.embed_dim)
        self.out_proj = nn.Linear(config.embed_dim, config.embed_dim)
        self.final_layer_norm = nn.LayerNorm(config.embed_dim)
        self.fc1 = nn.Linear(config.embed_dim, 4 * config.embed_dim)
        self.fc2 = nn.Linear(4 * config.embed_dim, config.embed_dim)

    def forward(self, x: Tensor, batch: Packed, rotary: tuple[Tensor, Tensor]) -> Tensor:
        qkv = self.qkv(self.self_attn_layer_norm(x))
        q, k, v = qkv.view(len(x), 3, self.heads, -1).unbind(1)  # each (T, heads, head_dim)
        x = x + self.out_proj(attend(rotate(q, *rotary), rotate(k, *rotary), v, batch))
        # torch's fused erf GELU: fair-esm's composed expression is the same function, rounded more often
        x = x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x))))
        return x


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding of (T, heads, head_dim), computed in float32, given back in x's dtype."""
    left, right = x.chunk(2, dim=-1)
    return (x * cos + torch.cat([-right, left], dim=-1) * sin).to(x.dtype)


def load_esm2(path: Path, device: torch.device, dtype: torch.dtype = torch.float32) -> ESM2:
    """Load a fair-esm checkpoint (`.pt`) or its safetensors form, of any size; ready for inference.

    Raises `InputError` for a file that is damaged or holds something else.
    """
    config, state = read_esm2(path)
    with torch.device("meta"):
        model = ESM2(config)
    model.load_state_dict(_packed_layout(state), assign=True)
    speeds = model.inv_freq.float()
    model.to(device, dtype).requires_grad_(False).eval()
    model.inv_freq = speeds.to(device)  # stays float32: rounding it costs more than all of fp16 does
    return model


def _packed_layout(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """fair-esm's names to ours, and its separate q, k, v to one product (SDPA scales the scores itself)."""
    ours: dict[str, Tensor] = {"inv_freq": state["layers.0.self_attn.rot_emb.inv_freq"]}
    for name, value in state.items():
        parts = name.split(".")
        if "rot_emb" in parts or parts[0] in ("lm_head", "contact_head"):
            continue
        if parts[-2] == "q_proj":
            qkv = [state[name.replace("q_proj", f"{p}_proj")] for p in "qkv"]
            ours[name.replace("self_attn.q_proj", "qkv")] = torch.cat(qkv)
        elif parts[-2] not in ("k_proj", "v_proj"):
            ours[name.replace("self_attn.out_proj", "out_proj")] = value
    return ours
