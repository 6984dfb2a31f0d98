"""The one door to ESM-2 v2.0, under the name users of the reference import."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from virnucpro.embedding.device import Compute, choose, first_gpus
from virnucpro.embedding.engine import embed_proteins
from virnucpro.embedding.esm2_v2 import Esm2
from virnucpro.embedding.facts import StageFacts
from virnucpro.embedding.ranks import Failure
from virnucpro.errors import InputError
from virnucpro.models.checksums import weights_sha256
from virnucpro.models.esm2_weights import fair_esm_download
from virnucpro.models.model_set import ModelSet, models_folder
from virnucpro.pipeline.runtime_config import RuntimeConfig


def run_multi_gpu_inference(
    fasta_files: Sequence[Path],
    output_dir: Path,
    model_config: Mapping[str, Any],
    world_size: int,
    runtime_config: RuntimeConfig | None = None,
    *,
    gpus: Sequence[str | None] | None = None,
    outputs: Sequence[Path] | None = None,
    whole: Callable[[StageFacts], None] = lambda facts: None,
) -> tuple[Path, list[Failure]]:
    """Embed the proteins of all files with ESM-2 v2.0; (path of `embeddings.h5`, numbers of the ranks that
    failed). A `Failure` is such a number, and says more; `ranks.check` makes the error of them.

    `model_config`: `model_type` ('esm2'), `model_name`, `enable_fp16` (default: fp16 on GPU, fp32 on CPU),
    and optionally `weights` (a checkpoint, a Hugging Face folder or safetensors; default: `<model_name>.pt`
    found in the models folder or where fair-esm keeps its downloads) and their `sha256`, `device` (`auto`,
    `cuda`, `cpu`), `precision` (`fp16`, `bf16`, `fp32`; goes before `enable_fp16`) and `attention`.
    `world_size` ranks run, one for each of `gpus` (default: the first that are visible), or that many on CPU.
    `outputs`: the HDF5 file to write instead, or one for each FASTA file, where several may go to the same;
    the first is returned. `whole` is told the facts when all are there. Rank logs are in `output_dir/logs`,
    the shards of an unfinished run in `output_dir/shards`. Raises `InputError` for bad input.
    """
    if model_config["model_type"] != "esm2":
        raise InputError(f"model_type {model_config['model_type']!r}: only 'esm2' runs on v2.0")
    half = model_config.get("enable_fp16")
    precision = model_config.get("precision") or ("auto" if half is None else "fp16" if half else "fp32")
    compute = choose(model_config.get("device", "auto"), precision, half_on_gpu=True)
    weights = Path(model_config.get("weights") or _find_weights(model_config["model_name"]))
    sha256 = model_config.get("sha256") or weights_sha256(weights)
    attention = model_config.get("attention", "auto")
    if world_size < 1 or (gpus is not None and len(gpus) != world_size):
        raise InputError(f"world_size {world_size}: one device a rank is needed, and at least one rank")
    if gpus is None:
        gpus = first_gpus(world_size) if compute.device == "cuda" else [None] * world_size
    outputs = outputs or [output_dir / "embeddings.h5"]
    files_of: dict[Path, list[Path]] = {output: [] for output in outputs}
    of_each = outputs if len(outputs) > 1 else [outputs[0]] * len(fasta_files)
    for output, fasta in zip(of_each, fasta_files, strict=True):
        files_of[output].append(fasta)
    model = Esm2(model_config["model_name"], weights, sha256, compute, attention)
    config = runtime_config or RuntimeConfig()
    _, failures = embed_proteins(files_of, model, gpus, config, output_dir, whole)
    return outputs[0], failures


def model_config_of(models: ModelSet, compute: Compute, attention: str) -> dict[str, Any]:
    """The `model_config` for the ESM-2 of a model set."""
    return {
        "model_type": "esm2",
        "model_name": models.name,
        "enable_fp16": compute.precision == "fp16",
        "weights": models.esm2,
        "sha256": models.sha256(models.esm2),
        "device": compute.device,
        "precision": compute.precision,
        "attention": attention,
    }


def _find_weights(name: str) -> Path:
    candidates = [models_folder() / f"{name}.pt", fair_esm_download(f"{name}.pt")]
    for candidate in candidates:
        if candidate.exists():
            return candidate
    looked = " nor ".join(map(str, candidates))
    raise InputError(f"{name}: neither {looked} exists; give the checkpoint as model_config['weights']")
