"""How every command ends: one clear line and a fixed exit code, never a traceback for bad input."""

import os
import shlex
import signal
import sys
from types import FrameType
from typing import NoReturn

import click

from virnucpro.errors import FAILURES, explain

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """Somebody wants this process to end."""


def run(command: click.Command) -> NoReturn:
    """Run a click command as a program; what `explain` knows becomes one line on stderr, and so does a Ctrl-C
    or a SIGTERM, with the command that goes on."""
    _open_standard_streams()
    for number in _STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, _stop)
    try:
        code = command(standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    except Stopped as stopped:
        number = signal.Signals(stopped.args[0])
        click.echo(f"Error: stopped by {number.name}{_go_on()}", err=True)
        sys.exit(128 + number)
    except BrokenPipeError:  # whoever read our output has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(128 + signal.SIGPIPE)
    except FAILURES as error:
        if (known := explain(error)) is None:
            raise
        code, words = known
        click.echo(f"Error: {words}", err=True)
        sys.exit(code)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise Stopped(number)


def _go_on() -> str:
    words = sys.argv[1:]
    if "predict" not in words:
        return ""
    again = [word for word in words if word not in ("--force-resume", "--force", "-f", "--resume")]
    return f"; go on with: virnucpro {shlex.join([*again, '--resume'])}"


def _open_standard_streams() -> None:
    """Where stdin, stdout or stderr is closed, as in some cron jobs, let it lead nowhere: else a file of ours
    gets its number, and with it what libraries print."""
    for number, (name, mode) in enumerate({"stdin": "r", "stdout": "w", "stderr": "w"}.items()):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115
