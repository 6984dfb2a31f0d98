"""`virnucpro dataset`: windows to train, validate and test on, from labelled genomes."""

import logging
from pathlib import Path

import click


@click.group()
def dataset() -> None:
    """Make what models are trained and tested on."""


@dataset.command()
@click.argument("table", type=click.Path(path_type=Path))
@click.option(
    "--output",
    "-o",
    required=True,
    type=click.Path(path_type=Path, resolve_path=True),
    help="Folder to make.",
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Where the paths in the table start.  [default: the table's folder]",
)
@click.option(
    "--lengths",
    default="500",
    show_default=True,
    help="Bases of a window: one or several numbers (300,500), or a range (100-3000), log-uniform.",
)
@click.option(
    "--keep-short",
    is_flag=True,
    help="Records shorter than the shortest window are windows as they are, from 100 bases on.",
)
@click.option(
    "--windows",
    default=10_000,
    show_default=True,
    type=click.IntRange(1),
    help="Windows to train on, of each class and each length; a fifth for validation and for the test.",
)
@click.option(
    "--frames",
    default="all",
    show_default=True,
    type=click.Choice(["all", "open", "annotated"]),
    help="Every window, those with an open frame, or the original's rule: frames inside the proteins that a "
    "GenBank file annotates, on the original's grid of windows.",
)
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="Draws everything.")
@click.option(
    "--held-out",
    default=0.15,
    show_default=True,
    type=click.FloatRange(0.01, 0.45),
    help="Share of a class's bases for validation, and again for the test, where the table names no split.",
)
@click.option(
    "--shared-24mers",
    default=3,
    show_default=True,
    type=click.IntRange(1),
    help="Records on different sides that share so many distinct 24-mers are a leak.",
)
@click.option(
    "--on-leak",
    default="fail",
    show_default=True,
    type=click.Choice(["fail", "drop"]),
    help="Fail and name the pairs; or deal groups that share much together, and pass over held-out windows "
    "that are known from the other side.",
)
@click.option(
    "--leave-out",
    multiple=True,
    type=click.Path(path_type=Path),
    help="FASTA or GenBank whose 24-mers no window may hold; several times, if need be.",
)
def build(
    table: Path,
    output: Path,
    data_dir: Path | None,
    lengths: str,
    keep_short: bool,
    windows: int,
    frames: str,
    seed: int,
    held_out: float,
    shared_24mers: int,
    on_leak: str,
    leave_out: tuple[Path, ...],
) -> None:
    """Draw windows from the genomes listed in TABLE, split by group and checked for leaks.

    TABLE is the table of `virnucpro train`; its files may be GenBank (.gb, .gbk, .gbff) beside FASTA.

    Example: virnucpro dataset build genomes.tsv --output windows --lengths 100-3000 --on-leak drop
    """
    from virnucpro.locks import lock, lock_file
    from virnucpro.training.build import Settings, build_dataset
    from virnucpro.training.kinship import Rules

    settings = Settings(
        lengths=lengths,
        keep_short=keep_short,
        windows=windows,
        frames=frames,
        seed=seed,
        held_out=held_out,
        rules=Rules(shared_24mers=shared_24mers, on_leak=on_leak),
    )
    with lock(lock_file(output)):
        manifest = build_dataset(
            table, data_dir or table.parent, output, leave_out, settings, logging.getLogger(__name__).info
        )
    drawn = sum(row["windows"] for row in manifest["counts"])
    click.echo(f"{output}: {drawn:,} windows; {output / 'manifest.json'} says what they are")
