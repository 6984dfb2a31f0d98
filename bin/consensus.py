#!/usr/bin/env python3
"""Call windows and records from bases and frame scores; tables, viral FASTA and counts of one sample."""

from pathlib import Path

import click

from virnucpro.calling.consensus import consensus as call_sample
from virnucpro.calling.verdict import Judge
from virnucpro.cli.entry import run
from virnucpro.cli.options import refused
from virnucpro.defaults import DUPLICATE_IDS, PRESETS
from virnucpro.models.composition import load_composition
from virnucpro.models.model_set import ModelSet
from virnucpro.sequences.fasta import Repeats

FILE = click.Path(path_type=Path)


@click.command(help=__doc__)
@click.option("--sample", required=True, help="Name that the output files start with.")
@click.option("--models", required=True, help="Model set, by name or folder.")
@click.option("--preset", type=click.Choice(PRESETS), help="Cut-offs of the model set's calibration.")
@click.option("--min-score", type=click.FloatRange(0, 1), help="One cut-off, in place of a preset's.")
@click.option("--score-all/--no-score-all", default=None, help="Let the calibrated score decide, or frames.")
@click.option("--fasta", required=True, type=FILE, help="The input of the sample.")
@click.option("--records", required=True, type=FILE, help="<sample>_records.tsv")
@click.option("--layout", required=True, type=FILE, help="<sample>_layout.tsv")
@click.option("--duplicate-ids", type=click.Choice(DUPLICATE_IDS), default="error")
@refused
@click.argument("results", type=FILE)
def consensus(
    sample: str,
    models: str,
    preset: str | None,
    min_score: float | None,
    score_all: bool | None,
    fasta: Path,
    records: Path,
    layout: Path,
    duplicate_ids: Repeats,
    results: Path,
) -> None:
    opened = ModelSet.open(models)
    judge = Judge.of(opened, score_all, preset, min_score)
    composition = load_composition(opened.composition)
    summary = call_sample(
        sample, fasta, records, layout, results, Path(), composition, judge, opened.notice, duplicate_ids
    )
    summary.write(Path(f"{sample}_summary.json"))


if __name__ == "__main__":
    run(consensus)
