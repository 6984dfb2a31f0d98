"""ESM-2 weights in every layout they are published in, given back under fair-esm's names.

fair-esm's `.pt`, a Hugging Face folder, or our `.safetensors`: fair-esm's names, sizes in the metadata, no
heads. Differences between the layouts end in this file.
"""

import json
import re
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

import torch
from esm.model.esm2 import ESM2
from torch import Tensor

from virnucpro.errors import InputError
from virnucpro.models.weights import (
    NoWeights,
    check_weights,
    is_dense,
    read_config,
    read_folder,
    read_metadata,
    read_safetensors,
    read_torch,
    whole_number,
    write_safetensors,
)

_FAIRSEQ_PREFIX = re.compile(r"^(encoder\.sentence_encoder\.|encoder\.)")
_HEADS = ("lm_head.", "contact_head.")  # language model and contacts, in fair-esm's files
_IN_LAYER = {
    "attention.self.query": "self_attn.q_proj",
    "attention.self.key": "self_attn.k_proj",
    "attention.self.value": "self_attn.v_proj",
    "attention.output.dense": "self_attn.out_proj",
    "attention.LayerNorm": "self_attn_layer_norm",
    "LayerNorm": "final_layer_norm",
    "intermediate.dense": "fc1",
    "output.dense": "fc2",
}
_KINDS = {"gamma": "weight", "beta": "bias"}  # how transformers 5 writes a layer norm
_OUTSIDE = {
    "embeddings.word_embeddings.weight": "embed_tokens.weight",
    "encoder.emb_layer_norm_after.weight": "emb_layer_norm_after.weight",
    "encoder.emb_layer_norm_after.bias": "emb_layer_norm_after.bias",
}


@dataclass(frozen=True, slots=True)
class Esm2Config:
    """What fixes an ESM-2 model's shape; fair-esm's own names."""

    num_layers: int
    embed_dim: int
    attention_heads: int
    token_dropout: bool

    @property
    def head_dim(self) -> int:
        return self.embed_dim // self.attention_heads


def read_esm2_config(path: Path) -> Esm2Config:
    """The shape alone, as little as possible read. Raises as `read_esm2`."""
    if path.is_dir():
        return _hugging_face_config(path)
    if path.suffix == ".safetensors":
        return _config_in(path, read_metadata(path))
    return read_esm2(path)[0]


def read_esm2(path: Path) -> tuple[Esm2Config, dict[str, Tensor]]:
    """Config and state (fair-esm's names, no heads) from a fair-esm `.pt`, a Hugging Face folder, or
    `.safetensors`.

    Raises `InputError` for what is missing, damaged, or no ESM-2.
    """
    if path.is_dir():
        config = _hugging_face_config(path)
        state = _from_hugging_face(config, read_folder(path))
    elif path.suffix == ".safetensors":
        state, metadata = read_safetensors(path)
        config = _config_in(path, metadata)
    else:
        config, state = _from_fair_esm(path)
    _check(path, config, state)
    return config, state


def _from_fair_esm(path: Path) -> tuple[Esm2Config, dict[str, Tensor]]:
    checkpoint = read_torch(path, allowed=[Namespace], mmap=True)
    try:
        sizes = checkpoint["cfg"]["model"]
        config = Esm2Config(
            sizes.encoder_layers, sizes.encoder_embed_dim, sizes.encoder_attention_heads, sizes.token_dropout
        )
        state = {_FAIRSEQ_PREFIX.sub("", name): value for name, value in checkpoint["model"].items()}
    except (KeyError, IndexError, TypeError, AttributeError):
        raise InputError(f"{path}: not a fair-esm ESM-2 checkpoint") from None
    _check_sizes(path, config)
    return config, {name: value for name, value in state.items() if not name.startswith(_HEADS)}


def _check_sizes(path: Path, config: Esm2Config) -> None:
    layers, dim, heads = config.num_layers, config.embed_dim, config.attention_heads
    possible = all(map(whole_number, (layers, dim, heads))) and dim % (2 * heads) == 0
    if not possible or not isinstance(config.token_dropout, bool):
        raise InputError(f"{path}: states sizes that no ESM-2 has ({' '.join(repr(config).split()):.200})")


def _check(path: Path, config: Esm2Config, state: Mapping[str, object]) -> None:
    """Compare names and shapes with those of fair-esm's own model, heads left out."""
    if config.num_layers > len(state):
        raise InputError(f"{path}: states {config.num_layers} layers and holds fewer tensors")
    with NoWeights():
        model = ESM2(*astuple(config)[:3], "ESM-1b", config.token_dropout)
    wanted = {name: value.shape for name, value in model.state_dict().items() if not name.startswith(_HEADS)}
    for name, value in state.items():
        shape = wanted.pop(name, None)
        if not is_dense(value) or not value.is_floating_point() or value.shape != shape:
            raise InputError(f"{path}: {name} does not belong into an ESM-2 of the size that the file states")
    if wanted:
        raise InputError(f"{path}: {next(iter(wanted))} is missing")


def write_esm2(path: Path, config: Esm2Config, state: Mapping[str, Tensor]) -> None:
    """Write fair-esm's state as safetensors, sizes in the metadata.

    A weight whose values are all half-precision numbers is stored as such: a checkpoint that was published
    in half precision and a float32 copy of it become the same file.
    """
    kept = {name: _smallest(value).contiguous() for name, value in state.items()}
    write_safetensors(path, kept, {"esm2": json.dumps(asdict(config))})


def _smallest(value: Tensor) -> Tensor:
    half = value.half()
    return half if torch.equal(half.to(value.dtype), value) else value


def convert_esm2(source: Path, target: Path) -> None:
    """Write the ESM-2 in `source`, in any layout, as our safetensors. Raises as `read_esm2`."""
    config, state = read_esm2(source)
    check_weights(source)
    write_esm2(target, config, state)


def fair_esm_download(file: str) -> Path:
    """Where fair-esm leaves a checkpoint that it has downloaded."""
    return Path(torch.hub.get_dir()) / "checkpoints" / file


def rotary_speeds(head_dim: int) -> Tensor:
    """(head_dim / 2,) float32: radians a position, as every fair-esm checkpoint holds them, rounded to half
    precision. The Hugging Face files hold none, or others; a model trained with the rounded ones differs
    with those by more than half precision costs."""
    exact = 1.0 / 10_000 ** (torch.arange(0, head_dim, 2).float() / head_dim)
    return exact.half().float()


def _config_in(path: Path, metadata: Mapping[str, str]) -> Esm2Config:
    try:
        config = Esm2Config(**json.loads(metadata["esm2"]))
    except (KeyError, TypeError, ValueError, RecursionError):
        raise InputError(f"{path}: no ESM-2 sizes in its metadata; is it another model's file?") from None
    _check_sizes(path, config)
    return config


def _hugging_face_config(folder: Path) -> Esm2Config:
    path = folder / "config.json"
    published = read_config(path)
    shape = {
        "model_type": ("esm", "esm"),
        "position_embedding_type": ("absolute", "rotary"),  # ESM-1b's configuration states none
        "layer_norm_eps": (1e-5, 1e-5),
    }
    for key, (default, needed) in shape.items():
        if (stated := published.get(key, default)) != needed:
            raise InputError(f"{path}: not an ESM-2 ({key} is {stated!r:.50}, not {needed!r})")
    try:
        config = Esm2Config(
            published["num_hidden_layers"],
            published["hidden_size"],
            published["num_attention_heads"],
            published["token_dropout"],
        )
    except KeyError as error:
        raise InputError(f"{path}: not an ESM-2 ({error} is missing)") from None
    _check_sizes(path, config)
    return config


def _from_hugging_face(config: Esm2Config, published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    state = {}
    for name, value in published.items():
        name = name.removeprefix("esm.")
        if name in _OUTSIDE:
            state[_OUTSIDE[name]] = value
        elif found := re.fullmatch(r"encoder\.layer\.(\d+)\.(.+)\.(\w+)", name):
            layer, part, kind = found.groups()
            if part in _IN_LAYER:
                state[f"layers.{layer}.{_IN_LAYER[part]}.{_KINDS.get(kind, kind)}"] = value
    for layer in range(min(config.num_layers, len(published))):
        speeds = rotary_speeds(config.head_dim)
        state[f"layers.{layer}.self_attn.rot_emb.inv_freq"] = speeds
    return state
