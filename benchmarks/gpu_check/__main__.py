"""Everything that a GPU card must show once, in one command:

    python -m benchmarks.gpu_check [--device cuda] [--shape 3b] [--steps machine attention ...]

Each step prints one line of JSON as it ends; a table of all follows, then those of the steps that measured
something. Exits 1 when a step failed. One that cannot run on the device is skipped and says why. No network:
weights are random, drawn on the device; they and all results go to a temporary folder (TMPDIR), which takes
6 GB for the 3B shape. On a CPU, `--device cpu --shape tiny` runs all that needs no GPU.
"""

import argparse
import gc
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from benchmarks.common import machine, table
from benchmarks.gpu_check import engine, exactness, limits, speed, variants, whole
from benchmarks.gpu_check.machine import describe
from benchmarks.gpu_check.setting import Found, Setting, Skipped
from virnucpro.embedding.device import choose
from virnucpro.errors import InputError

Step = Callable[[Setting], Found]
STEPS: Mapping[str, Step] = {
    "machine": describe,
    "attention": exactness.attention,
    "esm2_exact": exactness.esm2_exact,
    "dnabert_s_exact": exactness.dnabert_s_exact,
    "no_wait": exactness.no_wait,
    "out_of_memory": limits.out_of_memory,
    "not_finite": limits.not_finite,
    "esm2_speed": speed.esm2_speed,
    "dnabert_s_speed": speed.dnabert_s_speed,
    "variants": variants.variants,
    "kernels": speed.kernels,
    "engine": engine.engine,
    "leases": whole.leases,
    "demo": whole.demo,
    "tests": whole.tests,
}
SHAPES = {"tiny": "tiny", "650m": "t33_650M", "3b": "t36_3B"}


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or 1 when a step failed, or 2 for a device that is not there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--shape", choices=SHAPES, help="of ESM-2  [default: 3b, tiny on a CPU]")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS), metavar="STEP")
    options = parser.parse_args(arguments)
    try:
        device = choose(options.device, "fp32").torch_device
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    shape = SHAPES[options.shape or ("3b" if device.type == "cuda" else "tiny")]
    if shape == "tiny" and device.type == "cpu":
        torch.set_num_threads(1)  # more would only wait for each other, at products that small
    with tempfile.TemporaryDirectory(prefix="virnucpro-gpu-check-") as folder:
        return run({name: STEPS[name] for name in options.steps}, Setting(device, shape, Path(folder)))


def run(steps: Mapping[str, Step], setting: Setting) -> int:
    """Run steps one after another, whatever becomes of each; 0, or 1 when one failed."""
    results = {}
    for name, step in steps.items():
        began = time.monotonic()
        result, found = _outcome(step, setting)
        seconds = round(time.monotonic() - began, 1)
        results[name] = (result, seconds, found)
        print(json.dumps({"step": name, "result": result, "seconds": seconds, **found}), flush=True)
        gc.collect()
        if setting.on_gpu:
            torch.cuda.empty_cache()
    total = sum(seconds for _, seconds, _ in results.values())
    print(f"\n{machine()}; {setting.device.type}, {setting.shape}, {total:.0f} s\n")
    rows = [
        [name, result, seconds, found["words"].replace("\n", " ")[:200]]
        for name, (result, seconds, found) in results.items()
    ]
    print(table(["step", "result", "seconds", "what"], rows))
    for name, (_, _, found) in results.items():
        if measured := found.get("rows"):
            columns = list(dict.fromkeys(column for row in measured for column in row))
            print(f"\n{name}\n\n{table(columns, [[_cell(row.get(c)) for c in columns] for row in measured])}")
    return int(any(result == "failed" for result, _, _ in results.values()))


def _outcome(step: Step, setting: Setting) -> tuple[str, Found]:
    try:
        return "passed", step(setting)
    except Skipped as reason:
        return "skipped", {"words": str(reason)}
    except Exception as error:  # whatever an unknown card does to a step is what is to be found out
        traceback.print_exc()
        return "failed", {"words": f"{type(error).__name__}: {error}"[:1000]}


def _cell(value: object) -> object:
    return "" if value is None else value


if __name__ == "__main__":
    sys.exit(main())
