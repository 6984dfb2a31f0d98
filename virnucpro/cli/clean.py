"""`virnucpro clean`: remove what unfinished runs have left."""

from pathlib import Path

import click


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def clean(folder: Path) -> None:
    """Remove what unfinished runs have left in FOLDER: an output folder, or a --checkpoint_dir.

    Prints what goes, with its size and age. Results stay, and so does all that virnucpro did not make.
    """
    from virnucpro.errors import InputError
    from virnucpro.files import SHARDS, UNFINISHED, mark, remove_empty, remove_own
    from virnucpro.locks import lock
    from virnucpro.pipeline.output import LOCK, Left, unfinished

    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    with lock(folder / LOCK):
        for left in unfinished(folder):
            remove_own(left.folder, UNFINISHED)
            click.echo(f"removed {left}")
        for root in folder.glob(".*.unfinished"):
            remove_empty(root)
    for path in sorted(folder.iterdir()):
        if mark(path).get("virnucpro") == SHARDS:
            with lock(folder / f".{path.name}.lock"):
                left = Left.of(path)
                remove_own(path, SHARDS)
                click.echo(f"removed {left}")
