"""`virnucpro models`: list, fetch, make, convert and check model sets."""

from pathlib import Path

import click

from virnucpro.defaults import PRECISIONS

FILE = click.Path(path_type=Path)


@click.group()
def models() -> None:
    """Model sets: what is here, bring one, make one, check one."""


@models.command("list")
def list_sets() -> None:
    """List the model sets that are here, and those that `fetch` can bring.

    Tab-separated: name, bases a window, precisions, bytes, folder or what to do.
    """
    from virnucpro.errors import InputError
    from virnucpro.models.model_set import ModelSet, present_sets, published

    missing = dict(published())
    for folder in present_sets():
        missing.pop(folder.name, None)
        try:
            found = ModelSet.open(folder)
        except InputError as error:
            click.echo(f"{folder.name}\t-\t-\t-\t{error}")
            continue
        size = sum(facts["bytes"] for facts in found.manifest["files"].values())
        precision = ",".join(found.precision)
        click.echo(f"{found.name}\t{found.window_length}\t{precision}\t{size}\t{folder}")
    for name, facts in missing.items():
        precision = ",".join(facts["precision"])
        click.echo(
            f"{name}\t{facts['window_length']}\t{precision}\t-\tnot here: virnucpro models fetch {name}"
        )


@models.command()
@click.argument("name")
@click.option("--esm2", metavar="PATH", help="ESM-2 that you have: fair-esm's .pt, or a Hugging Face folder.")
@click.option("--dnabert-s", metavar="FOLDER", help="DNABERT-S that you have.")
@click.option("--classifier", metavar="PATH|URL", help="The classifier's .pth, where you have it.")
def fetch(name: str, esm2: str | None, dnabert_s: str | None, classifier: str | None) -> None:
    """Bring the published model set NAME, such as virnucpro-500, once and for all runs.

    Each part is taken from what you give, else from fair-esm's or the hub's cache, else downloaded, and
    compared with the checksum that its server states. HF_HOME moves the hub's cache, HF_ENDPOINT names a
    mirror, HF_TOKEN an account; VIRNUCPRO_MODELS is where the set goes.
    """
    from virnucpro.models.fetch import fetch_model_set

    given = {"esm2": esm2, "dnabert_s": dnabert_s, "classifier": classifier}
    found = fetch_model_set(name, {part: value for part, value in given.items() if value})
    click.echo(f"{found.directory}: model set {found.name!r}, whole and checked")


@models.command()
@click.argument("directory", type=FILE)
@click.option(
    "--esm2", required=True, type=FILE, help="fair-esm checkpoint, Hugging Face folder, or safetensors."
)
@click.option(
    "--dnabert-s", required=True, type=FILE, help="Folder with config.json, weights, tokenizer.json."
)
@click.option("--classifier", required=True, type=FILE, help="VirNucPro's .pth, or safetensors.")
@click.option("--composition", type=FILE, help="Composition model.  [default: what comes with virnucpro]")
@click.option(
    "--calibration", type=FILE, help="Calibration of this set.  [default: that of composition alone]"
)
@click.option("--score-all", is_flag=True, help="Let the calibrated score decide by default.")
@click.option(
    "--window-length", type=click.IntRange(3), default=500, show_default=True, help="Bases a window."
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS[1:]),
    multiple=True,
    default=PRECISIONS[1:],
    show_default=True,
    help="What it may run in; may be given again.",
)
def create(
    directory: Path,
    esm2: Path,
    dnabert_s: Path,
    classifier: Path,
    composition: Path | None,
    calibration: Path | None,
    score_all: bool,
    window_length: int,
    precision: tuple[str, ...],
) -> None:
    """Make the model set DIRECTORY of weights you have, with a manifest of sizes and SHA-256.

    All parts become safetensors, checked against each other. A .pth classifier is read through an
    allow-list; no code in any file runs.
    """
    from virnucpro.calling.calibration import Calibration
    from virnucpro.locks import lock, lock_file
    from virnucpro.models.assemble import assemble_model_set
    from virnucpro.models.fetch import local_part

    if calibration:
        Calibration.read(calibration)
    parts = {"esm2": esm2, "dnabert_s": dnabert_s, "classifier": classifier}
    with lock(lock_file(directory)):
        made = assemble_model_set(
            directory,
            esm2=esm2,
            dnabert_s=dnabert_s,
            classifier=classifier,
            window_length=window_length,
            precision=precision,
            composition=composition,
            calibration=calibration,
            score_all=score_all,
            about={"sources": {part: local_part(path).source for part, path in parts.items()}},
        )
    click.echo(f"{made.directory}: model set {made.name!r}, windows of {made.window_length} bases")


@models.command()
@click.argument("part", type=click.Choice(["esm2", "dnabert-s", "classifier"]))
@click.argument("source", type=FILE)
@click.argument("target", type=FILE)
def convert(part: str, source: Path, target: Path) -> None:
    """Write one model's weights as safetensors: no code in them, mapped by all that read them.

    SOURCE is in any published layout. TARGET is a new .safetensors file; for dnabert-s a new folder.
    """
    from virnucpro.errors import InputError
    from virnucpro.locks import lock, lock_file
    from virnucpro.models.classifier import convert_classifier
    from virnucpro.models.dnabert_s import convert_dnabert_s
    from virnucpro.models.esm2_weights import convert_esm2

    if target.exists():
        raise InputError(f"{target}: exists already; choose another name or remove it")
    if part != "dnabert-s" and target.suffix != ".safetensors":
        raise InputError(f"{target}: the name must end in .safetensors")
    converters = {"esm2": convert_esm2, "dnabert-s": convert_dnabert_s, "classifier": convert_classifier}
    with lock(lock_file(target)):
        converters[part](source, target)
    click.echo(f"{target}: {part} of {source}")


@models.command()
@click.argument("name_or_directory")
def verify(name_or_directory: str) -> None:
    """Read every file of a model set and compare its SHA-256 with the manifest."""
    from virnucpro.models.model_set import ModelSet

    found = ModelSet.open(name_or_directory)
    found.verify()
    click.echo(f"{found.directory}: {len(found.manifest['files'])} files, all as in the manifest")
