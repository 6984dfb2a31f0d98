#!/usr/bin/env python3
"""Embed one file of protein frames with ESM-2, as v1.0 did: fair-esm's model and batches."""

from pathlib import Path

import click

from virnucpro.cli.entry import run
from virnucpro.cli.options import FILE, on_device
from virnucpro.embedding.device import choose
from virnucpro.embedding.esm2_v1 import embed_protein_files
from virnucpro.embedding.per_file import write_facts
from virnucpro.models.model_set import ModelSet
from virnucpro.threads import limit


@click.command(help=__doc__)
@on_device
@click.argument("fasta", type=FILE)
def esm2_v1(models: Path, device: str, precision: str, threads: int, fasta: Path) -> None:
    limit(threads)
    model_set = ModelSet.open(models)
    compute = choose(device, precision, allowed=model_set.precision)
    click.echo(f"ESM-2 v1.0 on {compute.device_name} ({compute.describe()})", err=True)
    embed_protein_files(model_set.esm2, [fasta], compute, write_facts)


if __name__ == "__main__":
    run(esm2_v1)
