#!/usr/bin/env python3
"""Draw report.html and write run_info.json and summary.tsv from what the tasks of a run say."""

from pathlib import Path

import click

from virnucpro.calling.report import report as write_report
from virnucpro.cli.entry import run

FILE = click.Path(path_type=Path)


@click.command(help=__doc__)
@click.option("--models", required=True, help="Model set, by name or folder.")
@click.option("--options", required=True, type=FILE, help="JSON with the options of the run.")
@click.option("--samples", type=FILE, help="All samples of the run, a name a line.")
@click.option("--failed", type=FILE, help="Write there, a line a sample, which failed and why.")
@click.argument("facts", nargs=-1, type=FILE)
def report(
    models: str, options: Path, samples: Path | None, failed: Path | None, facts: tuple[Path, ...]
) -> None:
    names = samples.read_text().split() if samples else []
    reasons = write_report(models, options, facts, Path(), names)
    if failed and reasons:
        failed.write_text("".join(f"{name}: {reason}\n" for name, reason in reasons.items()))


if __name__ == "__main__":
    run(report)
