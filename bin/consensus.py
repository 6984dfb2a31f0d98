#!/usr/bin/env python3
"""Call windows and records from the scores of their frames; tables, viral FASTA and counts of one sample."""

from pathlib import Path

import click

from virnucpro.calling.consensus import consensus as call_sample
from virnucpro.cli.entry import run
from virnucpro.cli.options import refused

FILE = click.Path(path_type=Path)


@click.command(help=__doc__)
@click.option("--sample", required=True, help="Name that the output files start with.")
@click.option("--min-score", type=click.FloatRange(0, 1), help="Call virus only from this score on.")
@click.option("--fasta", required=True, type=FILE, help="The input of the sample.")
@click.option("--records", required=True, type=FILE, help="<sample>_records.tsv")
@click.option("--layout", required=True, type=FILE, help="<sample>_layout.tsv")
@refused
@click.argument("results", type=FILE)
def consensus(
    sample: str, min_score: float | None, fasta: Path, records: Path, layout: Path, results: Path
) -> None:
    summary = call_sample(sample, fasta, records, layout, results, Path(), min_score)
    summary.write(Path(f"{sample}_summary.json"))


if __name__ == "__main__":
    run(consensus)
