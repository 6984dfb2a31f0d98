#!/usr/bin/env python3
"""Write v1.0's output_N_ESM.pt from embeddings.h5, for the files whose ids it holds."""

from pathlib import Path

import click

from virnucpro.cli.entry import run
from virnucpro.cli.options import FILE
from virnucpro.embedding.h5_to_pt import h5_to_pt as convert


@click.command(help=__doc__)
@click.argument("embeddings", type=FILE)
@click.argument("nucleotide_features", nargs=-1, required=True, type=FILE)
def h5_to_pt(embeddings: Path, nucleotide_features: tuple[Path, ...]) -> None:
    convert(embeddings, Path(), nucleotide_features)


if __name__ == "__main__":
    run(h5_to_pt)
