"""What goes into the log of a program: our own lines, and of libraries the warnings alone. Some of them tell
of every request, or sum up when the process ends, below the line that says why it did."""

import logging


def log_to(*handlers: logging.Handler, level: int = logging.INFO) -> None:
    """Let the handlers take our lines from `level` on, whatever took them before."""
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(message)s", handlers=handlers, force=True
    )
    logging.getLogger("virnucpro").setLevel(level)
