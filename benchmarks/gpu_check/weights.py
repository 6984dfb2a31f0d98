"""Models of the real classes and sizes with random weights, drawn on the device, kept as files."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models

from benchmarks.common import random_weight, write_checkpoint
from benchmarks.gpu_check.setting import Setting
from virnucpro.models.dnabert_s import DnabertConfig, DnabertS, load_dnabert_s, published_name
from virnucpro.models.esm2 import ESM2, load_esm2
from virnucpro.models.weights import NoWeights, write_safetensors

PUBLISHED_DNABERT_S = DnabertConfig(4096, 768, 12, 12, 3072, 2, 1e-12)
TINY_DNABERT_S = DnabertConfig(300, 48, 2, 6, 64, 2, 1e-12)


def esm2_file(setting: Setting, shape: str) -> Path:
    """A checkpoint whose weights are all half-precision numbers, as the published ones are; made once."""
    path = setting.folder / f"{shape}.pt"
    return path if path.exists() else write_checkpoint(path, shape, torch.float16, setting.device)


def esm2(setting: Setting, shape: str, dtype: torch.dtype = torch.float16, attention: str = "auto") -> ESM2:
    """That checkpoint on the device. Raises `InputError` for a back end that cannot run there."""
    return load_esm2(esm2_file(setting, shape), setting.device, dtype, attention)


def dnabert_s(setting: Setting, dtype: torch.dtype, attention: str = "auto") -> DnabertS:
    """DNABERT-S on the device, of weights that are all half-precision numbers; made once. Raises `InputError`
    for a back end that cannot run there."""
    folder = setting.folder / "dnabert_s"
    if not folder.exists():
        _write_dnabert_s(folder, setting)
    return load_dnabert_s(folder, setting.device, dtype, attention)


def dnabert_config(setting: Setting) -> DnabertConfig:
    """Its sizes."""
    return PUBLISHED_DNABERT_S if setting.full else TINY_DNABERT_S


def _write_dnabert_s(folder: Path, setting: Setting) -> None:
    folder.mkdir()
    config = dnabert_config(setting)
    with NoWeights():
        named = DnabertS(config, Tokenizer(models.BPE())).state_dict()
    random = torch.Generator(setting.device).manual_seed(0)
    state = {
        published_name(name): random_weight(name, value.shape, random).half().cpu()
        for name, value in named.items()
    }
    write_safetensors(folder / "model.safetensors", state)
    Tokenizer(models.BPE()).save(str(folder / "tokenizer.json"))
    sizes = {name: getattr(config, name) for name in config.__slots__}
    (folder / "config.json").write_text(json.dumps(sizes))
