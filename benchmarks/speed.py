"""ESM-2 side by side with its peers: one table, every engine in the same run, rounds interleaved.

    python -m benchmarks.speed [--device cpu] [--shapes t6_8M t12_35M] [--rounds 5] [--threads 2]

Two kinds of input on CPU: `mixed`, 48 proteins of 60 to 170 residues, and `alike`, as many of one length to
within four residues, as a batch of a large sorted file has them. On a GPU 2,000 proteins of 50 and of 170
residues. A cell says how many times faster than fair-esm with v1.0's batches an engine is: the median over
the rounds of the ratio within a round (lowest to highest), of CPU time on CPU and of wall time on a GPU, and
there also the tokens a second and the share of the card's dense peak that the model's own operations are.
The last column is the worst relative L2 distance of an embedding to fair-esm's in fp32.
"""

import argparse
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.common import (
    SHAPES,
    Seconds,
    attention_flops,
    data_sheet_peak,
    interleaved,
    line,
    machine,
    product_flops,
    product_rate,
    random_proteins,
    ratio,
    table,
    worst_distance,
    write_checkpoint,
)
from benchmarks.peers import BASE, Engine, available
from virnucpro.embedding.device import Compute

CPU_INPUTS = {"mixed": (48, 60, 170), "alike": (48, 113, 117)}
GPU_INPUTS = {"50 aa": (2_000, 50, 50), "170 aa": (2_000, 170, 170)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    on_gpu = torch.cuda.is_available()
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if on_gpu else "cpu")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    on_gpu = options.device == "cuda"
    compute = Compute(options.device, "fp16" if on_gpu else "fp32")
    shapes = options.shapes or (
        ["t33_650M", "t36_3B"] if on_gpu else ["t6_8M", "t12_35M", "t30_150M", "thin3B"]
    )
    print(f"{machine()}; {compute.precision}, {options.threads} threads, {options.rounds} rounds")
    if on_gpu:
        rate = product_rate(compute.torch_device, compute.dtype)
        peak = data_sheet_peak(torch.cuda.get_device_name(0))
        print(f"products measured at {rate:.0f} TFLOP/s; data sheet {peak or 'unknown'}")
    inputs = GPU_INPUTS if on_gpu else CPU_INPUTS
    print("\n" + table(["shape", "engine", *inputs, "distance"], []), flush=True)
    for shape in shapes:
        for row in _shape(shape, compute, inputs, options.rounds):
            print(line([shape, *row]), flush=True)


def _shape(
    shape: str, compute: Compute, inputs: Mapping[str, tuple[int, int, int]], rounds: int
) -> list[list[str]]:
    with tempfile.TemporaryDirectory() as folder:
        half = torch.float16 if compute.precision == "fp16" else torch.float32
        weights = write_checkpoint(Path(folder) / "esm2.pt", shape, half)
        engines = {name: make(weights, compute) for name, make in available(compute.device).items()}
        few = random_proteins(24)
        truth = available(compute.device)[BASE](weights, Compute(compute.device, "fp32"))(few)
    rows = {name: [name] for name in engines}
    for number, shortest, longest in inputs.values():
        proteins = random_proteins(number, shortest, longest)
        seconds = interleaved({name: _run(engine, proteins) for name, engine in engines.items()}, rounds)
        for name in engines:
            rows[name].append(_cell(seconds[BASE], seconds[name], shape, proteins, compute.device))
    for name, engine in engines.items():
        rows[name].append(f"{worst_distance(engine(few), truth):.1e}")
    return list(rows.values())


def _run(engine: Engine, proteins: list[str]) -> Callable[[], npt.NDArray[np.float32]]:
    return lambda: engine(proteins)


def _cell(base: Seconds, own: Seconds, shape: str, proteins: list[str], device: str) -> str:
    lowest, median, highest = ratio(base, own, which=0 if device == "cuda" else 1)
    cell = f"{median:.2f} ({lowest:.2f} to {highest:.2f})"
    if device == "cpu":
        return cell
    lengths = [len(protein) + 2 for protein in proteins]
    flops = sum(n * (product_flops(shape) + attention_flops(shape, n)) for n in lengths)
    wall = float(np.median([wall for wall, _ in own]))
    peak = data_sheet_peak(torch.cuda.get_device_name(0))
    share = f", {flops / wall / peak / 1e12:.0%} of the data sheet" if peak else ""
    return f"{cell}, {sum(lengths) / wall / 1e3:.1f} k tokens/s, {flops / wall / 1e12:.0f} TFLOP/s{share}"


if __name__ == "__main__":
    main()
