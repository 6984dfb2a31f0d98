"""`virnucpro utils`: look before you run."""

from pathlib import Path

import click


@click.group()
def utils() -> None:
    """Look before you run."""


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
    """Read FASTA as predict would and say what is in it, or what is wrong with it."""
    from virnucpro.sequences.fasta import read_fasta

    records = bases = 0
    for record in read_fasta(fasta):
        records += 1
        bases += len(record.sequence)
    click.echo(f"{fasta}: {records} records, {bases} bases, all readable")
