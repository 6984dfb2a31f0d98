"""Options that the entry points in bin/ share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from virnucpro.defaults import DEVICES, PRECISIONS

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
