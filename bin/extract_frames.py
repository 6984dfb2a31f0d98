#!/usr/bin/env python3
"""One file of sequences to windows, open frames and split files in the current folder."""

from pathlib import Path

import click

from virnucpro.cli.entry import run
from virnucpro.cli.options import refused
from virnucpro.defaults import DUPLICATE_IDS
from virnucpro.sequences.extract import extract_frames as extract
from virnucpro.sequences.fasta import Repeats


@click.command(help=__doc__)
@click.option("--sample", required=True)
@click.option("--window-length", type=click.IntRange(min=3), required=True)
@click.option("--split-size", type=click.IntRange(min=1), required=True)
@click.option("--duplicate-ids", type=click.Choice(DUPLICATE_IDS), default="error")
@refused
@click.argument("fasta", type=click.Path(path_type=Path))
def extract_frames(
    sample: str, window_length: int, split_size: int, duplicate_ids: Repeats, fasta: Path
) -> None:
    extract(fasta, Path(), sample, window_length, split_size, duplicate_ids=duplicate_ids)


if __name__ == "__main__":
    run(extract_frames)
