"""How every command ends: one clear line and a fixed exit code, never a traceback for bad input."""

import sys

import click

from virnucpro.errors import InputError, OutOfMemory, RankFailed

EXIT_CODES: dict[type[Exception], int] = {
    InputError: 2,
    OutOfMemory: 75,  # EX_TEMPFAIL: Nextflow tries again with a smaller token budget
    RankFailed: 1,
}


def run(command: click.Command) -> None:
    """Run a click command as a program; the failures of `EXIT_CODES` become one message on stderr."""
    try:
        code = command(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    except tuple(EXIT_CODES) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(EXIT_CODES[type(error)])
