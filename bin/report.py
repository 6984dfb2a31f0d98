#!/usr/bin/env python3
"""Draw report.html and write run_info.json from the samples' summaries and the embedding tasks' facts."""

from pathlib import Path

import click

from virnucpro.calling.report import report as write_report
from virnucpro.cli.entry import run

FILE = click.Path(path_type=Path)


@click.command(help=__doc__)
@click.option("--models", required=True, help="Model set, by name or folder.")
@click.option("--options", required=True, type=FILE, help="JSON with the options of the run.")
@click.argument("facts", nargs=-1, type=FILE)
def report(models: str, options: Path, facts: tuple[Path, ...]) -> None:
    write_report(models, options, facts, Path())


if __name__ == "__main__":
    run(report)
