"""Ways to make fewer passes over memory that only a card can judge: their speed beside the default, and how
far each is from float32. They are measured here and used nowhere else. Biases are carried by default on a
GPU in half precision; there a variant does without."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.common import interleaved, random_proteins, ratio, worst_distance
from benchmarks.gpu_check.setting import Found, Setting, Skipped, alike, packed, two_digits
from benchmarks.gpu_check.speed import RESIDUES
from benchmarks.gpu_check.weights import esm2
from virnucpro.models.attention import Packed, attend
from virnucpro.models.esm2 import ESM2, Layer, turn
from virnucpro.models.linear import Linear

ROUNDS = 3
Variant = Callable[[ESM2], AbstractContextManager[None]]


@torch.inference_mode()
def variants(setting: Setting) -> Found:
    """Each variant on one batch a length, in turns with the default. One that does not run says why; that is
    no failure."""
    model = esm2(setting, setting.shape)
    budget = setting.budgets[len(setting.budgets) // 2]
    some = packed(model, random_proteins(24)).to(setting.device)
    batches = {residues: alike(model, residues, budget).to(setting.device) for residues in RESIDUES}
    truth = model.in_float32(some).cpu().numpy()
    rows: list[Found] = []
    runs: dict[str, Variant] = {}
    for name, variant in _variants(setting).items():
        try:
            with variant(model):
                found = model(some).cpu().numpy()
                for batch in batches.values():  # torch.compile sees each size before it counts
                    model(batch)
            rows.append({"variant": name, "distance": two_digits(worst_distance(found, truth))})
            runs[name] = variant
        except (RuntimeError, Skipped) as error:  # out of memory and what torch.compile raises are the first
            if name == "default":
                raise
            rows.append(
                {"variant": name, "distance": None, "why not": str(error).strip().splitlines()[0][:200]}
            )
    for residues, batch in batches.items():
        turns = {name: _run(model, variant, batch, setting) for name, variant in runs.items()}
        seconds = interleaved(turns, ROUNDS if setting.full else 1)
        for row in rows:
            if (name := row["variant"]) in runs:
                wall = float(np.median([wall for wall, _ in seconds[name]]))
                row[f"{residues} aa, k tokens/s"] = round(len(batch.tokens) / wall / 1e3, 2)
                row[f"{residues} aa, to default"] = round(ratio(seconds["default"], seconds[name])[1], 3)
    column = f"{RESIDUES[0]} aa, to default"
    best = max((row for row in rows if row["variant"] in runs), key=lambda row: row[column])
    words = f"fastest: {best['variant']}, {best[column]} of the default, {best['distance']} from fp32"
    return {"words": words, "tokens": budget, "rows": rows}


def _run(model: ESM2, variant: Variant, batch: Packed, setting: Setting) -> Callable[[], None]:
    def run() -> None:
        with variant(model):
            model(batch)
        if setting.on_gpu:
            torch.cuda.synchronize()

    return run


def _variants(setting: Setting) -> dict[str, Variant]:
    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        # For a CPU that takes a compiler and long: there the functions run as they stand.
        return torch.compile(function) if setting.on_gpu else function

    @cache
    def others() -> nn.ModuleList:
        with patch.object(ESM2, "carry_biases", lambda model: None):
            model = esm2(setting, setting.shape)
        if not setting.on_gpu:  # there the default carries none
            model.carry_biases()
        return model.layers

    add_norm, gelu, turn_real = compiled(_add_norm), compiled(F.gelu), compiled(_turn_real)

    def turn_without_complex(qk: Tensor, turns: Tensor) -> Tensor:
        return turn_real(qk, torch.view_as_real(turns))

    return {
        "default": lambda model: nullcontext(),
        f"biases {'not ' if setting.on_gpu else ''}carried": lambda model: _layers(model, others()),
        "GELU in the product's epilogue": lambda model: _gelu_by(EpilogueGelu, model),
        "tanh form of GELU": lambda model: _gelu_by(TanhGelu, model),
        "fused add and norm": lambda model: _streamed(model, Stream(add_norm, turn, F.gelu)),
        "torch.compile, no complex numbers": lambda model: _streamed(
            model, Stream(add_norm, turn_without_complex, gelu)
        ),
        "fp16 sums": lambda model: _fp16_sums(setting),
    }


class EpilogueGelu(Linear):
    def gelu(self, x: Tensor) -> Tensor:
        """GELU by the product's own kernel; on CUDA its tanh form."""
        return torch._addmm_activation(self.bias, x, self.weight.t(), use_gelu=True)


class TanhGelu(Linear):
    def gelu(self, x: Tensor) -> Tensor:
        """The tanh form in a kernel of its own, in the dtype of the product."""
        return F.gelu(F.linear(x, self.weight, self.bias), approximate="tanh")


@contextmanager
def _layers(model: ESM2, layers: nn.ModuleList) -> Iterator[None]:
    usual, model.layers = model.layers, layers
    try:
        yield
    finally:
        model.layers = usual


@contextmanager
def _gelu_by(kind: type[Linear], model: ESM2) -> Iterator[None]:
    for layer in model.layers:
        layer.fc1.__class__ = kind
    try:
        yield
    finally:
        for layer in model.layers:
            layer.fc1.__class__ = Linear


@contextmanager
def _fp16_sums(setting: Setting) -> Iterator[None]:
    setting.need_gpu("a setting of cuBLAS")
    torch.backends.cuda.matmul.allow_fp16_accumulation = True
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_fp16_accumulation = False


@dataclass
class Stream:
    """What goes from norm to norm: the residual, and the last product, which is `pending` until the next norm
    adds it in the same kernel; and the functions between the products."""

    add_norm: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
    turn: Callable[[Tensor, Tensor], Tensor]
    gelu: Callable[[Tensor], Tensor]
    pending: Tensor | None = None

    def norm(self, x: Tensor, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
        """The residual, what was pending added, and its norm."""
        if self.pending is None:
            return x, F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
        added, self.pending = self.pending, None
        return self.add_norm(x, added, norm.weight, norm.bias)


class StreamedLayer(Layer):
    stream: Stream

    def forward(self, x: Tensor, batch: Packed, turns: Tensor, attention: str) -> Tensor:
        x, normed = self.stream.norm(x, self.self_attn_layer_norm)
        qkv = self.qkv(normed).view(len(x), 3, self.heads, -1)
        q, k = self.stream.turn(qkv[:, :2], turns).unbind(1)
        self.stream.pending = self.out_proj(attend(q, k, qkv[:, 2], batch, by=attention))
        x, normed = self.stream.norm(x, self.final_layer_norm)
        self.stream.pending = self.fc2(self.stream.gelu(self.fc1(normed)))
        return x


class StreamedNorm(nn.LayerNorm):
    stream: Stream

    def forward(self, x: Tensor) -> Tensor:
        return self.stream.norm(x, self)[1]


@contextmanager
def _streamed(model: ESM2, stream: Stream) -> Iterator[None]:
    usual = [*((layer, Layer) for layer in model.layers), (model.emb_layer_norm_after, nn.LayerNorm)]
    for module, kind in usual:
        module.__class__ = StreamedLayer if kind is Layer else StreamedNorm
        module.stream = stream
    try:
        yield
    finally:
        stream.pending = None
        for module, kind in usual:
            module.__class__ = kind
            del module.stream


def _add_norm(x: Tensor, added: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    x = x + added
    return x, F.layer_norm(x, x.shape[-1:], weight, bias)


def _turn_real(qk: Tensor, turns: Tensor) -> Tensor:
    """`turn` in real numbers: qk (T, 2, heads, head_dim), turns (T, 1, 1, head_dim / 2, 2)."""
    (a, b), (cos, sin) = qk.float().unflatten(-1, (-1, 2)).unbind(-1), turns.unbind(-1)
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2).to(qk.dtype)
