#!/usr/bin/env python3
"""Embed protein frames of many files, of any number of samples, with ESM-2 v2.0 on all GPUs of the node."""

import logging
import sys
from pathlib import Path

import click

from virnucpro.cli.entry import run
from virnucpro.cli.options import FILE, TokenBudget, on_device
from virnucpro.defaults import ATTENTION
from virnucpro.embedding.device import choose, first_gpus, visible_gpus
from virnucpro.embedding.engine import Esm2, embed_proteins
from virnucpro.embedding.plan import default_budget
from virnucpro.embedding.ranks import check
from virnucpro.models.esm2_weights import read_esm2_config
from virnucpro.models.model_set import ModelSet
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
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    outputs: dict[Path, list[Path]] = {}
    for sample, _, fasta in (given.partition("=") for given in inputs):
        outputs.setdefault(Path(f"{sample}.embeddings.h5"), []).append(Path(fasta))
    model_set = ModelSet.open(models)
    compute = choose(device, precision, half_on_gpu=True, allowed=model_set.precision)
    model = Esm2(model_set.name, model_set.esm2, model_set.sha256(model_set.esm2), compute, attention)
    ranks = _ranks(compute.device, gpus)
    budget = token_budget or default_budget(compute.torch_device, read_esm2_config(model_set.esm2).embed_dim)
    config = RuntimeConfig(
        enable_checkpointing=checkpoint_dir is not None,
        checkpoint_dir=checkpoint_dir,
        token_budget=max(budget >> halved, 1),
        threads=threads,
        keep_shards=checkpoint_dir is not None,
        rank_timeout=rank_timeout,
    )
    facts, failures = embed_proteins(outputs, model, ranks, config, Path())
    check(failures, len(ranks), "ESM-2 v2.0")
    facts.write(Path("esm2.json"))


def _ranks(device: str, gpus: str) -> list[str | None]:
    if gpus != "all" and not (gpus.isdecimal() and int(gpus) > 0):
        raise click.BadParameter(f"{gpus!r} is neither 'all' nor a number", param_hint="--gpus")
    if device == "cpu":
        return [None] * (1 if gpus == "all" else int(gpus))
    return list(visible_gpus() if gpus == "all" else first_gpus(int(gpus)))


if __name__ == "__main__":
    run(esm2)
