#!/usr/bin/env python3
"""Check that every file of a model set is there and is what its manifest says."""

from pathlib import Path

import click

from virnucpro.cli.entry import run
from virnucpro.models.model_set import ModelSet


@click.command(help=__doc__)
@click.argument("models", type=click.Path(path_type=Path))
def check_models(models: Path) -> None:
    ModelSet.open(models.resolve()).verify()


if __name__ == "__main__":
    run(check_models)
