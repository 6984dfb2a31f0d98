"""`virnucpro train`: from a dataset to a composition model, to encoders, to a whole model set."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from virnucpro.defaults import DEVICES
from virnucpro.training.settings import Settings

FILE = click.Path(path_type=Path)
log = logging.getLogger(__name__)


@click.group()
def train() -> None:
    """Train on a dataset that `virnucpro dataset build` has made: a folder with windows of three splits.

    What is written holds the best epoch by the validation split. The same dataset, options and machine give
    the same bytes. These commands need the extra `train`: pip install 'virnucpro[train]'.
    """


def training(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add DATASET, and what all of them share."""
    for decorate in (
        click.option("--resume", is_flag=True, help="Go on where a stopped training of the same kind was."),
        click.option(
            "--device", type=click.Choice(DEVICES), default="auto", help="auto: a GPU where there is one."
        ),
        click.option("--threads", default=1, show_default=True, type=click.IntRange(1), help="CPU threads."),
        click.option(
            "--seed", default=1, show_default=True, type=click.IntRange(0), help="Draws everything."
        ),
        click.option(
            "--window-length", type=click.IntRange(30), help="Bases a window.  [default: 500, or --encoders']"
        ),
        click.option(
            "--composition-epochs",
            default=Settings.composition_epochs,
            show_default=True,
            type=click.IntRange(1),
            help="Passes of the composition model.",
        ),
        click.argument("dataset", type=FILE),
    ):
        command = decorate(command)
    return command


def on_frames(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what decides how much the encoders learn."""
    for name, default, text in (
        ("--epochs", Settings.epochs, "Passes of both small encoders with a classifier, end to end."),
        ("--masked-epochs", Settings.masked_epochs, "Passes of the small ESM-2 with residues masked."),
        ("--frames", Settings.frames, "Most open frames to train encoders and classifier on."),
    ):
        command = click.option(name, default=default, show_default=True, type=click.IntRange(1), help=text)(
            command
        )
    return command


@train.command()
@training
@click.option("--output", "-o", required=True, type=FILE, help="The model, a new .safetensors file.")
def composition(dataset: Path, output: Path, resume: bool, **options: Any) -> None:
    """Train the composition model alone: a window's bases in, the log-odds of a virus out."""
    from virnucpro.training.steps import composition_file

    composition_file(dataset, output, _settings(options), resume, log.info)
    click.echo(f"{output}: a composition model")


@train.command()
@training
@on_frames
@click.option("--output", "-o", required=True, type=FILE, help="Folder for dnabert_s and esm2.safetensors.")
def encoders(dataset: Path, output: Path, resume: bool, **options: Any) -> None:
    """Train a small ESM-2 on masked residues, then it and a small DNABERT-S to tell viral frames.

    They are of the published classes and layouts; `virnucpro models create` takes both.
    """
    from virnucpro.training.extras import need

    need("accelerate", "matplotlib", "transformers")
    from virnucpro.training.steps import encoders_folder

    encoders_folder(dataset, output, _settings(options), resume, log.info)
    click.echo(f"{output}: dnabert_s and esm2.safetensors, with {output / 'training_curves.png'}")


@train.command("set")
@training
@on_frames
@click.option("--output", "-o", required=True, type=FILE, help="Folder of the new model set.")
@click.option(
    "--encoders",
    "base",
    metavar="MODEL_SET",
    help="Take ESM-2 and DNABERT-S, frozen, from this model set (name or folder).  [default: small new ones]",
)
@click.option(
    "--features",
    type=FILE,
    help="Folder with train, validation and test, each of the output_N_merged.pt that a run with these "
    "encoders made of the dataset.  [default: made here]",
)
@click.option("--replace", is_flag=True, help="Replace a model set of the same name that is there.")
@click.option("--demonstration", is_flag=True, help="Say in the set that it is not for findings.")
def model_set(
    dataset: Path,
    output: Path,
    base: str | None,
    features: Path | None,
    replace: bool,
    demonstration: bool,
    resume: bool,
    **options: Any,
) -> None:
    """Train everything that a run needs, calibrate and measure it, and write the model set with its card.

    Example: virnucpro train set my_dataset --encoders virnucpro-500 --output my_set
    """
    from virnucpro.locks import lock, lock_file
    from virnucpro.training.extras import need

    need("accelerate", "matplotlib", "sklearn", "transformers")
    from virnucpro.training.train_set import Inputs, train_set

    if features is not None and base is None:
        raise click.UsageError("--features are of the encoders that --encoders names")
    with lock(lock_file(output)):
        train_set(
            Inputs(dataset, base, features),
            output,
            _settings(options, base),
            log.info,
            resume=resume,
            replace=replace,
            demonstration=demonstration,
        )
    click.echo(f"{output}: model set {output.name!r}; {output / 'MODEL_CARD.md'} says how well it does")


def _settings(options: dict[str, Any], base: str | None = None) -> Settings:
    from virnucpro.embedding.device import choose
    from virnucpro.models.model_set import ModelSet

    length = options["window_length"] or (ModelSet.open(base) if base else Settings()).window_length
    device = choose(options["device"], "auto").device
    return Settings(**{**options, "window_length": length, "device": device})
