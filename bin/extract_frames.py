#!/usr/bin/env python3
"""EXTRACT_FRAMES: one FASTA file to windows, open frames and split files in the current folder."""

from pathlib import Path

import click

from virnucpro.cli.entry import run
from virnucpro.sequences.extract import extract_frames


@click.command()
@click.option("--sample", required=True)
@click.option("--window-length", type=click.IntRange(min=3), required=True)
@click.option("--split-size", type=click.IntRange(min=1), required=True)
@click.argument("fasta", type=click.Path(path_type=Path))
def main(sample: str, window_length: int, split_size: int, fasta: Path) -> None:
    extract_frames(fasta, Path(), sample, window_length, split_size)


if __name__ == "__main__":
    run(main)
