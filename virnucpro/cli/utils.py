"""`virnucpro utils`: small tools beside a run."""

import tempfile
from pathlib import Path

import click


@click.group()
def utils() -> None:
    """Small tools beside a run."""


@utils.command()
def list_devices() -> None:
    """List the GPUs that this process may use, as --gpus takes them."""
    import torch

    from virnucpro.embedding.device import visible_gpus

    for number, id in enumerate(visible_gpus() if torch.cuda.is_available() else []):
        memory = torch.cuda.get_device_properties(number).total_memory / 2**30
        click.echo(f"{id}\t{torch.cuda.get_device_name(number)}\t{memory:.0f} GiB")
    if not torch.cuda.is_available():
        click.echo("no GPU is visible; --device cpu runs everywhere")


@utils.command()
@click.argument("fasta", type=click.Path(path_type=Path))
def validate(fasta: Path) -> None:
    """Read a file as predict would and say what is in it, or what is wrong with it."""
    from virnucpro.pipeline.stream import AtRest
    from virnucpro.sequences.fasta import read_fasta

    given = AtRest(fasta, Path(tempfile.gettempdir()))
    records = bases = 0
    for record in read_fasta(given.path):
        records += 1
        bases += len(record.sequence)
    click.echo(f"{fasta}: {records} records, {bases} bases, all readable")


@utils.command()
@click.argument("fasta", type=click.Path(path_type=Path))
@click.option("--output", "-o", required=True, type=click.Path(path_type=Path), help="FASTA to write.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="Draws everything.")
def shuffle(fasta: Path, output: Path, seed: int) -> None:
    """Write each sequence of FASTA twice, its bases shuffled and its dinucleotides, as controls.

    Both keep the composition and lose all else, so a tool that calls them viral goes by composition alone.
    `virnucpro evaluate` takes the file under --controls.
    """
    from virnucpro.training.shuffle import write_controls

    click.echo(f"{output}: {write_controls(fasta, output, seed)} shuffled sequences")
