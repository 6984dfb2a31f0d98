#!/usr/bin/env python3
"""One FASTA file to windows, open frames and split files in the current folder."""

from pathlib import Path

import click

from virnucpro.cli.entry import run
from virnucpro.cli.options import refused
from virnucpro.sequences.extract import extract_frames as extract


@click.command(help=__doc__)
@click.option("--sample", required=True)
@click.option("--window-length", type=click.IntRange(min=3), required=True)
@click.option("--split-size", type=click.IntRange(min=1), required=True)
@refused
@click.argument("fasta", type=click.Path(path_type=Path))
def extract_frames(sample: str, window_length: int, split_size: int, fasta: Path) -> None:
    extract(fasta, Path(), sample, window_length, split_size)


if __name__ == "__main__":
    run(extract_frames)
