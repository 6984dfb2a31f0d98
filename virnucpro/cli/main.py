"""`virnucpro`: the command group. Commands load their libraries only when they run, so help is instant."""

import logging
import sys
from pathlib import Path

import click

from virnucpro import __version__
from virnucpro.cli.clean import clean
from virnucpro.cli.compare import compare
from virnucpro.cli.dataset import dataset
from virnucpro.cli.entry import run
from virnucpro.cli.evaluate import evaluate
from virnucpro.cli.models import models
from virnucpro.cli.predict import predict
from virnucpro.cli.train import train
from virnucpro.cli.utils import utils
from virnucpro.logs import log_to


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="virnucpro")
@click.option("--quiet", "-q", is_flag=True, help="Only warnings and errors in the log.")
@click.option("--log-file", "-l", type=click.Path(path_type=Path), help="Write the log there too.")
def cli(quiet: bool, log_file: Path | None) -> None:
    """Tell viral sequences from everything else in a metagenome."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if log_file:
        try:
            handlers.append(logging.FileHandler(log_file, encoding="utf-8", errors="backslashreplace"))
        except OSError as error:
            raise click.BadParameter(f"{log_file}: {error.strerror}", param_hint="--log-file") from None
    log_to(*handlers, level=logging.WARNING if quiet else logging.INFO)


cli.add_command(predict)
cli.add_command(dataset)
cli.add_command(train)
cli.add_command(models)
cli.add_command(compare)
cli.add_command(evaluate)
cli.add_command(clean)
cli.add_command(utils)


def main() -> None:
    """The console script: `cli`, with failures as one line and a fixed exit code."""
    run(cli)
