"""What the extra `train` brings, asked for before any work is done."""

from importlib.util import find_spec

from virnucpro.errors import InputError


def need(*modules: str) -> None:
    """Raise `InputError` with the way to get it where one of these modules is not installed."""
    for module in modules:
        if find_spec(module) is None:
            raise InputError(
                f"{module} is not installed, and training needs it: pip install 'virnucpro[train]'"
            )
