"""ESM-2 on packed batches: the whole forward pass, from residues to one mean vector a protein.

The weights are those of fair-esm's `ESM2` (Lin et al., Science 2023); the pass equals it, without
padding, and without its language-model and contact heads.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from esm.data import Alphabet
from torch import Tensor, nn

from virnucpro.errors import InputError
from virnucpro.models.attention import HALF, Packed, attend, choose_attention
from virnucpro.models.esm2_weights import Esm2Config, read_esm2
from virnucpro.models.linear import Linear, carry_bias, prepack
from virnucpro.models.weights import NoWeights

POOLED_RESIDUES = 1024  # the original averages no more than the first 1,024 residues, and cuts nothing else
_LINE = 64  # half-precision numbers in a line of a GPU's memory
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
        self.register_buffer("inv_freq", torch.empty(config.head_dim // 2))

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
        return self._forward(batch, self.attention, lambda part: part)

    def in_float32(self, batch: Packed) -> Tensor:
        """What a float32 model with these weights gives, whatever their precision; no more than one layer is
        held in float32 at a time.

        That is the checkpoint's own float32 result where its weights are half-precision numbers, as the
        published ones are; others were rounded when they were loaded, which an overflow in the pass is not.
        """
        attention = choose_attention("auto", self.inv_freq.device, torch.float32, self.config.head_dim)
        return self._forward(batch, attention, _as_float32)

    def _forward(self, batch: Packed, attention: str, part: Callable[[nn.Module], nn.Module]) -> Tensor:
        x = part(self.embed_tokens)(batch.tokens)  # (T, dim)
        if self.config.token_dropout:
            x = x * _TOKEN_DROPOUT_SCALE
        turns = self._turns(batch.positions)
        for layer in self.layers:
            x = part(layer)(x, batch, turns, attention)
        x = part(self.emb_layer_norm_after)(x).float()
        residues = (run[:, 1:-1][:, :POOLED_RESIDUES] for run in batch.split(x))
        return torch.cat([run.mean(dim=1) for run in residues])

    def carry_biases(self) -> None:
        """Let every product that adds to the residual do so in place, for good: a head more, of which every
        token's value is the same, and a few hidden numbers more bring its bias along. For inference."""
        for layer in self.layers:
            assert isinstance(layer, Layer)
            carry_bias(layer.qkv, layer.out_proj, self.config.head_dim, parts=3)
            carry_bias(layer.fc1, layer.fc2, _LINE)
            layer.heads += 1
            torch.cuda.empty_cache()  # no other layer's weights fit where these were

    def _turns(self, positions: Tensor) -> Tensor:
        """(T, 1, 1, head_dim / 2) complex64: how far each position turns each pair of a head's numbers; the
        speeds come from the checkpoint, never anew, and are not rounded."""
        angles = positions.float()[:, None] * self.inv_freq
        return torch.polar(torch.ones_like(angles), angles)[:, None, None]


def _as_float32(part: nn.Module) -> nn.Module:
    """The part itself, or a copy where it is something else."""
    return part if next(part.parameters()).dtype == torch.float32 else deepcopy(part).float()


class Layer(nn.Module):
    """Rows of `qkv` for q and k stand in the order of `turn_order`. The input may be overwritten."""

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
    """Rotary position embedding of (T, 2, heads, head_dim), in place, computed in float32 and rounded once.

    Neighbours are the pair that turns together: one complex product. With the complex64 turns it is complex64
    for half-precision pairs too: on CPU by way of copies, on a GPU pair by pair in one kernel. There is no
    complex bfloat16: such input goes by way of float32, and another tensor is given back.
    """
    if qk.dtype == torch.bfloat16:
        return turn(qk.float(), turns).to(qk.dtype)
    torch.view_as_complex(qk.view(*qk.shape[:-1], -1, 2)).mul_(turns)
    return qk


def turn_order(head_dim: int) -> Tensor:
    """fair-esm pairs number i of a head with i + head_dim / 2; here they are neighbours: (head_dim,) int64,
    where each of our numbers stands in fair-esm's head. Scores, sums over a head, stay the same."""
    return torch.arange(head_dim).view(2, -1).T.reshape(-1)


def load_esm2(
    path: Path, device: torch.device, dtype: torch.dtype = torch.float32, attention: str = "auto"
) -> ESM2:
    """Load ESM-2 of any size, in any layout that `read_esm2` knows; ready for inference.

    Each weight goes to its device and dtype on its own, so no second copy of the model is ever in memory.
    Raises `InputError` for weights that are damaged, another model's, or no numbers of half precision where
    that is asked for, and where `choose_attention` does.
    """
    config, state = read_esm2(path)
    with NoWeights():
        model = ESM2(config, choose_attention(attention, device, dtype, config.head_dim))
    for name, value in _our_layout(config, state):
        owner, _, leaf = name.rpartition(".")
        if leaf == "inv_freq":  # stays float32: rounding it costs more than all of fp16 does
            model.inv_freq = value.to(device, torch.float32)
        else:
            weight = nn.Parameter(value.to(device, dtype), requires_grad=False)
            if dtype in HALF and not torch.stack(torch.aminmax(weight)).isfinite().all():
                raise InputError(f"{path}: {name} holds what is no number in {dtype}; use --precision fp32")
            setattr(model.get_submodule(owner), leaf, weight)
    if device.type == "cpu" and dtype == torch.float32:
        prepack(model)
    elif device.type == "cuda" and dtype in HALF:
        model.carry_biases()
    return model.eval()


def trainable_esm2(path: Path) -> ESM2:
    """ESM-2 in any layout that `read_esm2` knows, in float32 on the CPU, its weights to be trained on."""
    config, state = read_esm2(path)
    model = ESM2(config)
    model.load_state_dict({name: value.float() for name, value in _our_layout(config, state)})
    return model


def _our_layout(config: Esm2Config, state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """fair-esm's names to ours, its separate q, k, v to one product (SDPA scales the scores itself)."""
    order = turn_order(config.head_dim)
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
