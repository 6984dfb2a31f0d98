"""`virnucpro train`: from labelled FASTA files to a whole model set."""

import logging
from pathlib import Path

import click


@click.command()
@click.argument("table", type=click.Path(path_type=Path))
@click.option(
    "--output", "-o", required=True, type=click.Path(path_type=Path), help="Folder of the new model set."
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Where the paths in the table start.  [default: the table's folder]",
)
@click.option(
    "--encoders",
    metavar="MODEL_SET",
    help="Take ESM-2 and DNABERT-S, frozen, from this model set (name or folder).  "
    "[default: small new ones, trained together with the classifier]",
)
@click.option(
    "--window-length", default=500, show_default=True, type=click.IntRange(30), help="Bases of a window."
)
@click.option(
    "--fragments",
    default=2500,
    show_default=True,
    type=click.IntRange(10),
    help="Training fragments of each class; a fifth of it for validation.",
)
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="Draws everything.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1), help="CPU threads.")
def train(
    table: Path,
    output: Path,
    data_dir: Path | None,
    encoders: str | None,
    window_length: int,
    fragments: int,
    seed: int,
    threads: int,
) -> None:
    """Train a classifier on the sequences listed in TABLE and write a model set with its model card.

    TABLE is tab-separated: label (virus or others), class, fasta (a file or folder), group (what never
    crosses from training to test: 'record', 'file', or a regular expression searched in the header), split
    (train, validation, test, or empty to draw), leave_out (groups to keep out, separated by commas).

    Example: virnucpro train genomes.tsv --data-dir genomes --output my_model_set
    """
    from virnucpro.locks import lock, lock_file
    from virnucpro.training.train import Settings, train_model_set

    settings = Settings(
        window_length=window_length, fragments_per_class=fragments, seed=seed, threads=threads
    )
    log = logging.getLogger(__name__).info
    with lock(lock_file(output)):
        train_model_set(table, data_dir or table.parent, output, encoders, settings, log)
    click.echo(f"{output}: model set {output.name!r}; {output / 'MODEL_CARD.md'} says how well it does")
