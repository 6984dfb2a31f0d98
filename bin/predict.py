#!/usr/bin/env python3
"""Score merged embeddings with the classifier of a model set: prediction_results.txt."""

from pathlib import Path

import click

from virnucpro.cli.entry import run
from virnucpro.threads import limit


@click.command(help=__doc__)
@click.option("--models", required=True, help="Model set, by name or folder.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(min=1), help="CPU threads.")
@click.argument("merged", nargs=-1, required=True, type=click.Path(path_type=Path))
def predict(models: str, threads: int, merged: tuple[Path, ...]) -> None:
    from virnucpro.calling.predict import predict as predict_all
    from virnucpro.models.model_set import ModelSet

    limit(threads)
    predict_all(merged, ModelSet.open(models).classifier, Path("prediction_results.txt"))


if __name__ == "__main__":
    run(predict)
