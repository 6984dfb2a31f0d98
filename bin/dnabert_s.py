#!/usr/bin/env python3
"""Embed files of nucleotide frames with DNABERT-S (v1.0), each with its result beside it."""

from pathlib import Path

import click

from virnucpro.cli.entry import run
from virnucpro.cli.options import FILE, on_device
from virnucpro.defaults import ATTENTION
from virnucpro.embedding.device import choose
from virnucpro.embedding.dnabert import embed_nucleotide_files
from virnucpro.embedding.per_file import write_facts
from virnucpro.models.model_set import ModelSet
from virnucpro.threads import limit


@click.command(help=__doc__)
@on_device
@click.option("--attention", type=click.Choice(ATTENTION), default="auto", help="Attention back end.")
@click.argument("fastas", metavar="FASTA...", nargs=-1, required=True, type=FILE)
def dnabert_s(
    models: Path, device: str, precision: str, threads: int, attention: str, fastas: tuple[Path, ...]
) -> None:
    limit(threads)
    model_set = ModelSet.open(models)
    compute = choose(device, precision, allowed=model_set.precision)
    click.echo(f"DNABERT-S v1.0 on {compute.device_name} ({compute.describe()})", err=True)
    embed_nucleotide_files(model_set.dnabert_s, fastas, compute, write_facts, attention=attention)


if __name__ == "__main__":
    run(dnabert_s)
