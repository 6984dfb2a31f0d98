"""ESM-2 v2.0 whole: ranks on the device, by number and by UUID."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import embeddings, random_proteins, worst_distance, write_fasta
from benchmarks.gpu_check.setting import BOUNDS, Found, Setting, packed, require, two_digits
from benchmarks.gpu_check.weights import esm2, esm2_file
from virnucpro.embedding.device import visible_gpus
from virnucpro.pipeline.multi_gpu_inference import run_multi_gpu_inference
from virnucpro.pipeline.runtime_config import RuntimeConfig


def engine(setting: Setting) -> Found:
    """One rank, by the card's number and by its UUID, and two ranks where there are two cards (always on a
    CPU); their rows are those of the model alone."""
    proteins = random_proteins(4_000 if setting.full else 60)
    fasta = write_fasta(setting.folder / "output_1.fa", proteins)
    weights = esm2_file(setting, setting.shape)
    every = slice(None, None, 30 if setting.full else 1)
    truth = _alone(setting, proteins[every])
    torch.cuda.empty_cache()  # the ranks need room for the model too
    tokens = sum(len(protein) + 2 for protein in proteins)
    rows = []
    for name, gpus, ranks in _ways(setting):
        with _visible(gpus):
            output, seconds = embed(setting, name, weights, fasta, ranks)
        distance = two_digits(worst_distance(embeddings(output)[every], truth))
        require(distance <= BOUNDS[torch.float16], f"{name}: rows are {distance} away from the model's own")
        rows.append({"ranks": name, "k tokens/s": round(tokens / seconds / 1e3, 2), "distance": distance})
    return {
        "words": ", ".join(f"{row['ranks']}: {row['k tokens/s']} k tokens/s" for row in rows),
        "rows": rows,
    }


def embed(setting: Setting, name: str, weights: Path, fasta: Path, ranks: int = 1) -> tuple[Path, float]:
    """Embed a file in half precision; `embeddings.h5`, and the seconds that the slowest rank computed for."""
    folder = setting.folder / name
    config = {
        "model_type": "esm2",
        "model_name": weights.stem,
        "weights": weights,
        "sha256": "0" * 64,  # not part of what is tried
        "device": setting.device.type,
        "enable_fp16": True,
    }
    threads = len(os.sched_getaffinity(0)) if setting.full else ranks
    output, failed = run_multi_gpu_inference([fasta], folder, config, ranks, RuntimeConfig(threads=threads))
    logs = [(folder / "logs" / f"rank_{rank}.log").read_text() for rank in range(ranks)]
    require(not failed, f"ranks {failed} failed: {' '.join(log[-300:] for log in logs)}")
    seconds = [float(found[1]) for log in logs if (found := re.search(r"done in ([\d.]+) s", log))]
    require(len(seconds) == ranks, f"{len(seconds)} of {ranks} ranks had work")
    return output, max(*seconds, 0.1)


def _ways(setting: Setting) -> list[tuple[str, str | None, int]]:
    """What each run is called, the value of CUDA_VISIBLE_DEVICES (None: as it is), the number of ranks."""
    if not setting.on_gpu:
        return [("two", None, 2)]
    number, uuid = card_names()
    ways: list[tuple[str, str | None, int]] = [(f"one on {number}", number, 1)]
    if uuid != number:
        ways.append(("one by UUID", uuid, 1))
    if torch.cuda.device_count() > 1:
        ways.append(("two", None, 2))
    return ways


def card_names() -> tuple[str, str]:
    """The first visible card as it is listed, and by its UUID; a part of a card has one name."""
    listed, card = visible_gpus()[0], torch.cuda.get_device_properties(0)
    return listed, listed if "MIG" in listed + card.name else f"GPU-{card.uuid}"


@contextmanager
def _visible(gpus: str | None) -> Iterator[None]:
    usual = os.environ.get("CUDA_VISIBLE_DEVICES")
    if gpus is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus
    try:
        yield
    finally:
        if usual is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = usual
        elif gpus is not None:
            del os.environ["CUDA_VISIBLE_DEVICES"]


@torch.inference_mode()
def _alone(setting: Setting, proteins: list[str]) -> np.ndarray:
    """By the model in this process, eight at a time."""
    model = esm2(setting, setting.shape)
    packs = [packed(model, proteins[at : at + 8]) for at in range(0, len(proteins), 8)]
    return np.concatenate([model(pack.to(setting.device)).cpu().numpy() for pack in packs])
