"""`virnucpro models`: make and check model sets."""

from pathlib import Path

import click

FILE = click.Path(path_type=Path)


@click.group()
def models() -> None:
    """Make a model set from weights you have, or check one."""


@models.command()
@click.argument("directory", type=FILE)
@click.option("--esm2", required=True, type=FILE, help="fair-esm checkpoint (.pt) or safetensors.")
@click.option(
    "--dnabert-s", required=True, type=FILE, help="Folder with config.json, weights, tokenizer.json."
)
@click.option("--classifier", required=True, type=FILE, help="VirNucPro's .pth, or safetensors.")
@click.option(
    "--window-length", type=click.IntRange(3), default=500, show_default=True, help="Bases a window."
)
def create(directory: Path, esm2: Path, dnabert_s: Path, classifier: Path, window_length: int) -> None:
    """Copy weights into the new folder DIRECTORY, with a manifest of sizes and SHA-256.

    The weights are loaded once, so that what does not fit together is found now. A .pth classifier is read
    through an allow-list, no code in it runs, and stored as safetensors.
    """
    from virnucpro.models.assemble import assemble_model_set

    made = assemble_model_set(directory, esm2, dnabert_s, classifier, window_length)
    click.echo(f"{made.directory}: model set {made.name!r}, windows of {made.window_length} bases")


@models.command()
@click.argument("name_or_directory")
def verify(name_or_directory: str) -> None:
    """Read every file of a model set and compare its SHA-256 with the manifest."""
    from virnucpro.models.model_set import ModelSet

    found = ModelSet.open(name_or_directory)
    found.verify()
    click.echo(f"{found.directory}: {len(found.manifest['files'])} files, all as in the manifest")
