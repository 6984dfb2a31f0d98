"""The v2.0 engine under the name users of the reference import."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from virnucpro.embedding.device import choose, first_gpus
from virnucpro.embedding.engine import Esm2, embed_proteins
from virnucpro.errors import InputError
from virnucpro.models.checksums import weights_sha256
from virnucpro.models.esm2_weights import fair_esm_download
from virnucpro.models.model_set import models_folder
from virnucpro.pipeline.runtime_config import RuntimeConfig


def run_multi_gpu_inference(
    fasta_files: Sequence[Path],
    output_dir: Path,
    model_config: Mapping[str, Any],
    world_size: int,
    runtime_config: RuntimeConfig | None = None,
) -> tuple[Path, list[int]]:
    """Embed the proteins of all files with ESM-2 v2.0; (path of `embeddings.h5`, ranks that failed).

    `model_config`: `model_type` ('esm2'), `model_name`, `enable_fp16` (default: fp16 on GPU, fp32 on CPU),
    and optionally `weights` (a checkpoint, a Hugging Face folder or safetensors; default: `<model_name>.pt`
    found in the models folder or where fair-esm keeps its downloads) and `device` (`auto`, `cuda`, `cpu`).
    `world_size` ranks run, one a GPU, or that many on CPU. Rank logs are in `output_dir/logs`. Raises
    `InputError` for bad input.
    """
    if model_config["model_type"] != "esm2":
        raise InputError(f"model_type {model_config['model_type']!r}: only 'esm2' runs on v2.0")
    half = model_config.get("enable_fp16")
    precision = "auto" if half is None else "fp16" if half else "fp32"
    compute = choose(model_config.get("device", "auto"), precision, half_on_gpu=True)
    weights = Path(model_config.get("weights") or _find_weights(model_config["model_name"]))
    model = Esm2(model_config["model_name"], weights, weights_sha256(weights), compute)
    gpus = first_gpus(world_size) if compute.device == "cuda" else [None] * world_size
    output = output_dir / "embeddings.h5"
    config = runtime_config or RuntimeConfig()
    facts, failures = embed_proteins({output: fasta_files}, model, gpus, config, output_dir)
    facts.write(output_dir / "esm2.json")
    return output, [failure.rank for failure in failures]


def _find_weights(name: str) -> Path:
    candidates = [models_folder() / f"{name}.pt", fair_esm_download(f"{name}.pt")]
    for candidate in candidates:
        if candidate.exists():
            return candidate
    looked = " nor ".join(map(str, candidates))
    raise InputError(f"{name}: neither {looked} exists; give the checkpoint as model_config['weights']")
