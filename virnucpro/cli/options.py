"""Options that the entry points in bin/ share."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from virnucpro.defaults import DEVICES, PRECISIONS
from virnucpro.errors import InputError
from virnucpro.files import refuse

FILE = click.Path(path_type=Path)


def on_device(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --models, --device, --precision and --threads."""
    for option in (
        click.option("--threads", type=click.IntRange(1), default=1, help="CPU threads."),
        click.option("--precision", type=click.Choice(PRECISIONS), default="auto"),
        click.option("--device", type=click.Choice(DEVICES), default="auto"),
        click.option("--models", type=FILE, required=True, help="Folder of the model set."),
    ):
        command = option(command)
    return command


def refused(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --refused: a command on one --sample then ends well for bad input, and writes its reason there."""

    @click.option(
        "--refused", type=FILE, help="Write there, as JSON, why the sample is refused, and end well."
    )
    @functools.wraps(command)
    def run(*, refused: Path | None, **given: Any) -> None:
        try:
            command(**given)
        except InputError as error:
            if refused is None:
                raise
            refuse(given["sample"], str(error), refused)
            click.echo(f"Error: {error}", err=True)

    return run


class TokenBudget(click.ParamType[int | None]):
    """A positive number of tokens, or `auto` (None)."""

    name = "tokens|auto"

    def convert(
        self, value: str | int | None, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | None:
        """The number, or None."""
        if value is None or isinstance(value, int):
            return value
        if value == "auto":
            return None
        if not value.isdecimal() or int(value) < 1:
            self.fail(f"{value!r} is neither 'auto' nor a positive number", param, ctx)
        return int(value)
