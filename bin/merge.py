#!/usr/bin/env python3
"""Join DNABERT-S and ESM-2 embeddings by id: output_N_merged.pt for every N, in the current folder."""

from pathlib import Path

import click

from virnucpro.cli.entry import run


@click.command(help=__doc__)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def merge(files: tuple[Path, ...]) -> None:
    from virnucpro.calling.merge import merge as merge_all

    merge_all(files, Path())


if __name__ == "__main__":
    run(merge)
