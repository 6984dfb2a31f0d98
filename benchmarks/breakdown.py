"""Where the time of a forward pass goes, and how near its matrix products are to the machine's best.

    python -m benchmarks.breakdown [--device cpu] [--shape t30_150M] [--length 117] [--tokens N] [--rounds 5]

One batch of proteins of one length, as full as `--tokens` (default: the plan's budget) allows. `share` is the
part of the pass; products are also given as a share of the best rate at which this machine does products of
the same four sizes alone (the faster of torch's and the prepacked ones), measured in turns with the passes.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.common import (
    SHAPES,
    attention_flops,
    machine,
    product_flops,
    random_proteins,
    table,
    write_checkpoint,
)
from virnucpro.embedding.device import Compute
from virnucpro.embedding.plan import default_budget
from virnucpro.models.attention import Packed
from virnucpro.models.esm2 import load_esm2
from virnucpro.models.linear import Linear

# What an operation of torch, or the kernel it starts, belongs to; the first that is in its name.
PARTS = {
    "products": ("linear", "addmm", "aten::mm"),
    "attention": ("bmm", "softmax", "attention", "attn", "flash"),
    "layer norm": ("layer_norm",),
    "GELU": ("gelu",),
    "rotary, scale": ("mul", "polar", "complex"),
    "residual": ("add",),
    "copies": ("copy", "cat"),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    on_gpu = torch.cuda.is_available()
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if on_gpu else "cpu")
    parser.add_argument("--shape", choices=SHAPES, default="t36_3B" if on_gpu else "t30_150M")
    parser.add_argument("--length", type=int, default=117)
    parser.add_argument("--tokens", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    compute = Compute(options.device, "fp16" if options.device == "cuda" else "fp32")
    with tempfile.TemporaryDirectory() as name:
        weights = write_checkpoint(Path(name) / "esm2.pt", options.shape, compute.dtype)
        model = load_esm2(weights, compute.torch_device, compute.dtype)
    budget = options.tokens or default_budget(compute.torch_device, model.dim)
    sequences = budget // (options.length + 2)
    proteins = random_proteins(sequences, options.length, options.length)
    flat = model.tokenize_flat([protein.encode() for protein in proteins])
    batch = Packed.of_flat(*flat).to(compute.torch_device)
    tokens = len(batch.tokens)
    with torch.inference_mode():
        best = _best_products(model.dim, tokens, compute)
        passes, products = [], []
        for _ in range(options.rounds + 1):
            passes.append(_seconds(lambda: model(batch), compute))
            products.append(sum(min(_seconds(run, compute) for run in ways) for ways in best))
        with profile(activities=list(ProfilerActivity) if on_gpu else [ProfilerActivity.CPU]) as profiled:
            model(batch)
            _wait(compute)
    seconds = float(np.median(passes[1:]))
    layers = SHAPES[options.shape][0]
    flops = tokens * (product_flops(options.shape) + attention_flops(options.shape, options.length + 2))
    spent = _parts(profiled, compute)
    whole = sum(spent.values())
    rows = [[part, f"{time / whole:.1%}"] for part, time in spent.items()]
    print(f"{machine()}; {compute.precision}, {options.shape}, {sequences} x {options.length} aa\n")
    print(table(["part", "share"], rows))
    own = spent["products"] / whole * seconds
    print(
        f"\n{flops / seconds / 1e9:,.0f} GFLOP/s in all; products at "
        f"{layers * float(np.median(products[1:])) / own:.0%} of the machine's best "
        f"({tokens * product_flops(options.shape) / layers / np.median(products[1:]) / 1e9:,.0f} GFLOP/s)"
    )


def _best_products(dim: int, tokens: int, compute: Compute) -> list[list[Callable[[], object]]]:
    """For each of a layer's four products, the ways to do it on its own."""
    best = []
    for rows, columns in ((3 * dim, dim), (dim, dim), (4 * dim, dim), (dim, 4 * dim)):
        x = torch.randn(tokens, columns, device=compute.torch_device, dtype=compute.dtype)
        plain = torch.nn.Linear(columns, rows, device=compute.torch_device, dtype=compute.dtype)
        ways = [lambda x=x, plain=plain: F.linear(x, plain.weight, plain.bias)]
        if compute.device == "cpu":
            packed = Linear(columns, rows)
            packed.prepack()
            ways.append(lambda x=x, packed=packed: packed(x))
        best.append(ways)
    return best


def _seconds(run: Callable[[], object], compute: Compute) -> float:
    began = time.perf_counter()
    run()
    _wait(compute)
    return time.perf_counter() - began


def _wait(compute: Compute) -> None:
    if compute.device == "cuda":
        torch.cuda.synchronize()


def _parts(profiled: profile, compute: Compute) -> dict[str, float]:
    """Time of each of `PARTS` and of the rest."""
    spent = dict.fromkeys([*PARTS, "everything else"], 0.0)
    for row in profiled.key_averages():
        if row.device_type != DeviceType.CPU:
            continue  # a kernel; its time is the operation's that started it
        own = row.self_device_time_total if compute.device == "cuda" else row.self_cpu_time_total
        part = next((part for part, names in PARTS.items() if any(n in row.key for n in names)), None)
        spent[part or "everything else"] += own
    return spent


if __name__ == "__main__":
    main()
