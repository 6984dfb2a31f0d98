"""Weight files in, checked: nothing here runs code from a file, and every failure names the file."""

import json
import pickle
import re
import zipfile
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from virnucpro.errors import InputError
from virnucpro.files import atomic

_FAIRSEQ_PREFIX = re.compile(r"^(encoder\.sentence_encoder\.|encoder\.)")


@dataclass(frozen=True, slots=True)
class Esm2Config:
    """What fixes an ESM-2 model's shape; fair-esm's own names."""

    num_layers: int
    embed_dim: int
    attention_heads: int
    token_dropout: bool


def read_esm2_config(path: Path) -> Esm2Config:
    """The shape alone; a safetensors file is not read beyond its header."""
    if path.suffix == ".safetensors":
        with _open_safetensors(path) as file:
            return _config_in(path, file.metadata())
    return read_esm2(path)[0]


def read_esm2(path: Path) -> tuple[Esm2Config, dict[str, Tensor]]:
    """Config and state (fair-esm's names) from a fair-esm `.pt` checkpoint or `.safetensors`."""
    if path.suffix == ".safetensors":
        state, metadata = read_safetensors(path)
        return _config_in(path, metadata), state
    checkpoint = read_torch(path, allowed=[Namespace], mmap=True)
    try:
        sizes = checkpoint["cfg"]["model"]
        config = Esm2Config(
            sizes.encoder_layers, sizes.encoder_embed_dim, sizes.encoder_attention_heads, sizes.token_dropout
        )
        return config, {_FAIRSEQ_PREFIX.sub("", name): value for name, value in checkpoint["model"].items()}
    except (KeyError, TypeError, AttributeError):
        raise InputError(f"{path}: not a fair-esm ESM-2 checkpoint") from None


def write_esm2(path: Path, config: Esm2Config, state: Mapping[str, Tensor]) -> None:
    """Write fair-esm's state as safetensors, sizes in the metadata, without the two heads."""
    heads = ("lm_head.", "contact_head.")
    kept = {name: value.contiguous() for name, value in state.items() if not name.startswith(heads)}
    write_safetensors(path, kept, {"esm2": json.dumps(asdict(config))})


def write_safetensors(path: Path, state: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors as safetensors, whole or not at all."""
    with atomic(path) as temporary:
        # Bytes first: the library's own file writer makes files that only their owner can read.
        temporary.write_bytes(save(state, metadata))


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file."""
    with _open_safetensors(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


@contextmanager
def _open_safetensors(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except SafetensorError as error:
        raise InputError(f"{path}: damaged, or not a safetensors file ({error})") from None


def _config_in(path: Path, metadata: Mapping[str, str] | None) -> Esm2Config:
    try:
        return Esm2Config(**json.loads((metadata or {})["esm2"]))
    except (KeyError, TypeError, json.JSONDecodeError):
        raise InputError(f"{path}: no ESM-2 sizes in its metadata; is it another model's file?") from None


def read_torch(path: Path, allowed: Sequence[Any] = (), mmap: bool = False) -> Any:
    """`torch.load` with `weights_only=True`: tensors, plain containers, and the classes of `allowed`.

    Nothing in the file is run. With `mmap`, tensors stay on disk until they are used, shared by all processes
    that read them. Raises `InputError` for a file that is missing, damaged, or names anything else.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path}: cannot be read: cut off, or not a file of torch 1.6 or later")
    try:
        with torch.serialization.safe_globals(list(allowed)):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        if named := re.search(r"GLOBAL (\S+)", str(error)):
            raise InputError(f"{path}: refused: it names {named[1]}; nothing in it was run") from None
        raise InputError(f"{path}: cannot be read safely; nothing in it was run") from None
    except (RuntimeError, OSError) as error:
        raise InputError(f"{path}: cannot be read: damaged ({str(error).splitlines()[0]})") from None
