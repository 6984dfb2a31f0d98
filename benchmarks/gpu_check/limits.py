"""What happens beyond the device's memory, and beyond what half precision can hold."""

from pathlib import Path

import numpy as np
import torch
from esm.data import Alphabet

from benchmarks.common import embeddings, random_proteins, worst_distance, write_fasta
from benchmarks.gpu_check.engine import embed
from benchmarks.gpu_check.setting import BOUNDS, Found, Setting, packed, require, two_digits
from benchmarks.gpu_check.weights import esm2, esm2_file
from virnucpro.embedding.runner import Forward
from virnucpro.errors import EXIT_CODES, OutOfMemory, explain
from virnucpro.models.attention import Packed
from virnucpro.models.esm2 import load_esm2


@torch.inference_mode()
def out_of_memory(setting: Setting) -> Found:
    """The allocator is given half of what a batch takes: it is halved, rows stay right; where one sequence
    does not fit, the failure is the one that Nextflow tries again."""
    setting.need_gpu("torch limits the memory of GPUs alone")
    model = esm2(setting, setting.small)
    batch = packed(model, sorted(random_proteins(800 if setting.full else 20_000), key=len))
    long = packed(model, random_proteins(1, 50_000, 50_000))
    torch.cuda.empty_cache()
    weights = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    whole = model(batch.to(setting.device)).cpu()
    peak = torch.cuda.max_memory_allocated()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(setting.device).total_memory
    try:
        torch.cuda.set_per_process_memory_fraction((weights + peak) / 2 / total)
        forward: Forward[Packed] = Forward(model, setting.device, limit=1 << 31)
        parts = forward(batch).cpu()
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(torch.cuda.memory_reserved() / total)
        code = _exit_code(Forward(model, setting.device, limit=1 << 31), long)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    distance = two_digits(worst_distance(parts.numpy(), whole.numpy()))
    require(forward.limit < len(batch.tokens), f"{peak - weights} bytes did fit into half of that")
    require(distance <= BOUNDS[torch.float16], f"rows of the halves are {distance} away")
    require(code == EXIT_CODES[OutOfMemory], f"one sequence that does not fit ends with {code}")
    words = f"{len(batch.tokens)} tokens made {forward.limit}"
    return {"words": words, "distance": distance, "exit code for one sequence": code}


def _exit_code(forward: Forward[Packed], batch: Packed) -> int | None:
    """What a run ends with where a batch finds no memory."""
    try:
        forward(batch)
    except OutOfMemory as error:
        known = explain(error)
        return known[0] if known else None
    return None


def not_finite(setting: Setting) -> Found:
    """Weights that overflow for one letter, and in half precision alone: through the whole engine, proteins
    with that letter come out as float32 has them, all others as half precision does."""
    proteins = random_proteins(60, 20, 90)
    planted = _plant(esm2_file(setting, setting.small), setting.folder / "planted.pt", "W")
    fasta = write_fasta(setting.folder / "planted.fa", proteins)
    output, _ = embed(setting, "planted", planted, fasta)
    model = load_esm2(planted, setting.device)
    with torch.inference_mode():
        alone = [model(packed(model, [protein]).to(setting.device)).cpu().numpy() for protein in proteins]
    again = np.array(["W" in protein for protein in proteins])
    found, truth = embeddings(output), np.concatenate(alone)
    worst = two_digits(worst_distance(found[again], truth[again]))
    others = two_digits(worst_distance(found[~again], truth[~again]))
    require(worst <= BOUNDS[torch.float32], f"rows that overflowed are {worst} away from float32")
    require(
        BOUNDS[torch.float32] < others <= BOUNDS[torch.float16],
        f"rows that did not overflow are {others} away from float32",
    )
    return {"words": f"{again.sum()} of {len(again)} rows again: {worst} from fp32, the others {others}"}


def _plant(weights: Path, target: Path, letter: str) -> Path:
    """A number in the first layer's feed-forward that only a half-precision pass cannot hold, and only where
    the letter stands; what follows multiplies it by 0, which leaves 0 of a number and NaN of infinity."""
    checkpoint = torch.load(weights, weights_only=False)
    token = Alphabet.from_architecture("ESM-1b").get_idx(letter)
    state = checkpoint["model"]
    state["embed_tokens.weight"][token, 0] = 1_000.0  # next to 1: the norm makes it the root of the width
    state["layers.0.final_layer_norm.weight"][0], state["layers.0.final_layer_norm.bias"][0] = 1.0, 0.0
    state["layers.0.fc1.weight"][0, 0] = 14_000.0  # by 5.5 in the tiny model, and no more than 4.6 elsewhere
    state["layers.0.fc2.weight"][:, 0] = 0.0
    torch.save(checkpoint, target)
    return target
