"""Failures that a person can act on; entry points print them as one line (see `virnucpro.cli.entry`)."""


class InputError(Exception):
    """Wrong input or usage: the message says what is wrong, where, and what to do. Exit code 2."""


class OutOfMemory(Exception):
    """The device ran out of memory; a rerun with a smaller token budget can pass. Exit code 75."""


class RankFailed(RuntimeError):
    """One or more ranks of the ESM-2 stage ended without finishing; the message names them and their logs."""
