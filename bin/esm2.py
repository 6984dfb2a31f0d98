#!/usr/bin/env python3
"""Embed protein frames of many files, of any number of samples, with ESM-2 v2.0 on all GPUs of the node."""

import logging
import sys
from pathlib import Path

import click

from virnucpro.cli.entry import run
from virnucpro.cli.options import FILE, TokenBudget, on_device
from virnucpro.defaults import ATTENTION
from virnucpro.embedding.device import choose, visible_gpus
from virnucpro.embedding.plan import default_budget
from virnucpro.embedding.ranks import check
from virnucpro.logs import log_to
from virnucpro.models.esm2_weights import read_esm2_config
from virnucpro.models.model_set import ModelSet
from virnucpro.pipeline.multi_gpu_inference import model_config_of, run_multi_gpu_inference
from virnucpro.pipeline.runtime_config import RuntimeConfig


@click.command(help=__doc__)
@on_device
@click.option("--gpus", default="all", help="Ranks: one a GPU, or that many on CPU.")
@click.option("--attention", type=click.Choice(ATTENTION), default="auto", help="Attention back end.")
@click.option("--token-budget", type=TokenBudget(), default="auto", help="Tokens a batch.")
@click.option(
    "--halved", type=click.IntRange(0), default=0, help="How many times the token budget is halved."
)
@click.option("--rank-timeout", type=click.IntRange(1), help="Seconds without progress of a rank.")
@click.option("--checkpoint-dir", type=FILE, help="Where shards stay for runs with the same proteins.")
@click.argument("inputs", metavar="SAMPLE=FASTA...", nargs=-1, required=True)
def esm2(
    models: Path,
    device: str,
    precision: str,
    threads: int,
    gpus: str,
    attention: str,
    token_budget: int | None,
    halved: int,
    rank_timeout: int | None,
    checkpoint_dir: Path | None,
    inputs: tuple[str, ...],
) -> None:
    log_to(logging.StreamHandler(sys.stderr))
    samples, _, fastas = zip(*(given.partition("=") for given in inputs), strict=True)
    model_set = ModelSet.open(models)
    compute = choose(device, precision, half_on_gpu=True, allowed=model_set.precision)
    world_size = _world_size(compute.device, gpus)
    budget = token_budget or default_budget(compute.torch_device, read_esm2_config(model_set.esm2).embed_dim)
    config = RuntimeConfig(
        enable_checkpointing=checkpoint_dir is not None,
        checkpoint_dir=checkpoint_dir,
        token_budget=max(budget >> halved, 1),
        threads=threads,
        keep_shards=checkpoint_dir is not None,
        rank_timeout=rank_timeout,
    )
    _, failed = run_multi_gpu_inference(
        fasta_files=[Path(fasta) for fasta in fastas],
        output_dir=Path(),
        model_config=model_config_of(model_set, compute, attention),
        world_size=world_size,
        runtime_config=config,
        outputs=[Path(f"{sample}.embeddings.h5") for sample in samples],
        whole=lambda facts: facts.write(Path("esm2.json")),
    )
    check(failed, world_size, "ESM-2 v2.0", Path("logs"))


def _world_size(device: str, gpus: str) -> int:
    if gpus == "all":
        return len(visible_gpus()) if device == "cuda" else 1
    if not gpus.isdecimal() or int(gpus) < 1:
        raise click.BadParameter(f"{gpus!r} is neither 'all' nor a number", param_hint="--gpus")
    return int(gpus)


if __name__ == "__main__":
    run(esm2)
