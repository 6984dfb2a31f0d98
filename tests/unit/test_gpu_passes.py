"""What a pass costs a GPU, counted without one: passes over memory, kernels, and whether the host waits.

Tensors on the meta device have a shape and no content. They take every branch that a GPU's would, and
nothing can be asked of them. A ledger writes down each operation: what torch is told to do, not what a kernel
makes of it.
"""

import sys
from collections import Counter
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from virnucpro.models import esm2
from virnucpro.models.attention import _BACK_ENDS, Packed
from virnucpro.models.dnabert_s import DnabertConfig, DnabertS, alibi_slopes
from virnucpro.models.esm2 import ESM2
from virnucpro.models.esm2_weights import Esm2Config

META = torch.device("meta")
PRODUCTS = {"addmm", "addmm_", "mm", "bmm", "baddbmm"}
ASKING = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "unique_consecutive"}
SHORT, LONG, MIXED = [52] * 315, [172] * 95, list(range(172, 60, -1))
DIM, HEADS = 2560, 40


class Ledger(TorchDispatchMode):
    """Calls and bytes of each operation on the device, and where the host waited for it or worked instead."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.waits: list[str] = []
        self.on_host: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        name = func._schema.name.removeprefix("aten::")
        given, made = (
            [x for x in tree_leaves(these) if isinstance(x, Tensor)] for these in ((args, kwargs), out)
        )
        devices = {x.device.type for x in given + made}
        only_looks = not func._schema.is_mutable and any(r.alias_info for r in func._schema.returns)
        if name in ASKING or (len(devices) > 1 and "copy" in name and not kwargs.get("non_blocking")):
            self.waits.append(name)
        elif "meta" not in devices:
            self.on_host.append(name)
        elif not only_looks and not name.startswith(("empty", "new_empty")):
            self.calls[name] += 1
            self.bytes[name] += sum(map(_touched, given + made))
        return out


def _touched(x: Tensor) -> int:
    """Bytes of memory behind a tensor; what is expanded is there once."""
    return x.element_size() * prod(n for n, stride in zip(x.shape, x.stride(), strict=True) if stride)


def ledger(model: nn.Module, lengths: list[int]) -> Ledger:
    batch = Packed.of_flat(np.full(sum(lengths), 5), np.array(lengths))
    with torch.no_grad(), Ledger() as found:
        model(batch.to(META, non_blocking=True))
    return found


def esm2_3b(layers: int, by: str, dtype: torch.dtype = torch.float16, carried: bool = True) -> ESM2:
    """As `load_esm2` leaves it on a GPU."""
    with META:
        model = ESM2(Esm2Config(layers, DIM, HEADS, True), by).to(dtype).requires_grad_(False)
    model.inv_freq = model.inv_freq.float()
    if carried:
        model.carry_biases()
    return model


def dnabert_s(layers: int, by: str, dtype: torch.dtype = torch.float16) -> DnabertS:
    """As `load_dnabert_s` leaves it there."""
    with META:
        config = DnabertConfig(4096, 768, layers, 12, 3072, 2, 1e-12)
        model = DnabertS(config, Tokenizer(models.BPE()), by).to(dtype).requires_grad_(False)
    model.slopes = alibi_slopes(12).to(META)
    return model


def a_layer(make: Callable[[int], ESM2 | DnabertS], lengths: list[int]) -> tuple[float, int]:
    """Rows of the model's width that one layer moves for a token outside its products, and its kernels."""
    one, two = ledger(make(1), lengths), ledger(make(2), lengths)
    moved, calls = two.bytes - one.bytes, two.calls - one.calls
    outside = sum(n for name, n in moved.items() if name not in PRODUCTS)
    return outside / sum(lengths) / (make(1).dim * 2), sum(calls.values())


FLASH_ATTN = """
import torch

def flash_attn_varlen_func(q, k, v, starts, _, longest, __, alibi_slopes=None):
    return torch.ops.aten._flash_attention_forward(
        q, k, v, starts, starts, longest, longest, 0.0, False, False, alibi_slopes=alibi_slopes
    )[0]
"""


@pytest.fixture(autouse=True)
def kernels_of_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that meta tensors have no way to. flash-attn, which is not installed here, is stood in for by
    torch's kernel, the same but for its name; and SDPA, which on this device is taken apart into its steps,
    by the kernel that a GPU takes, with or without a bias. Shapes alone matter."""

    def one_kernel(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        bias = None if attn_mask is None else attn_mask.expand(*q.shape[:-1], k.shape[2])
        out: Tensor = torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, bias, False)[0]
        return out

    (tmp_path / "flash_attn.py").write_text(FLASH_ATTN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "flash_attn", raising=False)
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", one_kernel)


@pytest.mark.parametrize(
    ("by", "lengths"),
    [*((by, n) for by in ("varlen", "flash") for n in (SHORT, LONG, MIXED)), ("sdpa", LONG)],
)
def test_an_esm2_layer_in_half_precision(by: str, lengths: list[int]) -> None:
    """Norms 4 rows, rotary 4, attention 4, GELU 8; the rest are its tables. `sdpa` for a run of lengths."""
    rows, kernels = a_layer(lambda n: esm2_3b(n, by), lengths)
    assert rows <= 20.5 and kernels <= 9


def test_an_esm2_layer_in_bfloat16() -> None:
    """There is no complex bfloat16: the rotary embedding goes by way of float32."""
    rows, kernels = a_layer(lambda n: esm2_3b(n, "varlen", torch.bfloat16), SHORT)
    assert 22 < rows <= 37 and kernels <= 11


def by_way_of_float32(qk: Tensor, turns: Tensor) -> Tensor:
    pairs = torch.view_as_complex(qk.float().view(*qk.shape[:-1], -1, 2))
    return torch.view_as_real(pairs.mul_(turns)).flatten(-2).to(qk.dtype)


def test_passes_that_are_too_many_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bounds above hold nothing unless they can be broken."""
    rows, _ = a_layer(lambda n: esm2_3b(n, "varlen", carried=False), SHORT)
    assert 26 < rows < 27, "each residual added in a kernel of its own"
    monkeypatch.setattr(esm2, "turn", by_way_of_float32)
    rows, kernels = a_layer(lambda n: esm2_3b(n, "varlen"), SHORT)
    assert 36 < rows < 37 and kernels == 11


@pytest.mark.parametrize("by", ["flash", "sdpa"])
def test_a_dnabert_s_layer_in_half_precision(by: str) -> None:
    """Of the rows, 20 are the gated unit's: 8 for GELU, 12 for its product with the other half."""
    rows, kernels = a_layer(lambda n: dnabert_s(n, by), SHORT)
    assert rows <= 34.5 and kernels <= 11


@pytest.mark.parametrize("lengths", [SHORT, MIXED], ids=["alike", "mixed"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize(
    ("make", "by"),
    [*((esm2_3b, by) for by in _BACK_ENDS), *((dnabert_s, by) for by in _BACK_ENDS if by != "varlen")],
)
def test_no_pass_waits(
    make: Callable[..., nn.Module], by: str, dtype: torch.dtype, lengths: list[int]
) -> None:
    """Nothing is asked of the device, copied while it waits, or computed beside it."""
    found = ledger(make(2, by, dtype), lengths[:40])
    assert sum(found.calls.values()) > 20 and found.waits == found.on_host == []


def test_waits_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger() as found:
        torch.ones(3).to(META)
    assert found.waits == ["_to_copy"] and found.on_host == ["ones"]
    monkeypatch.setattr(esm2.ESM2, "_turns", lambda self, positions: positions.nonzero())
    with pytest.raises(RuntimeError, match="nonzero"):
        ledger(esm2_3b(1, "varlen"), SHORT)
