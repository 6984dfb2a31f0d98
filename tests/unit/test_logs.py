"""The log is ours."""

import io
import logging

from virnucpro.logs import log_to


def test_of_libraries_only_warnings() -> None:
    root, before = logging.getLogger(), logging.getLogger().handlers[:]
    said = io.StringIO()
    try:
        log_to(logging.StreamHandler(said))
        logging.getLogger("torch._subclasses.fake_tensor").info("cache_misses: 0")
        logging.getLogger("huggingface_hub").warning("a slow hub")
        logging.getLogger("virnucpro.embedding.engine").info("ours")
        log_to(logging.StreamHandler(said), level=logging.WARNING)
        logging.getLogger("virnucpro.embedding.engine").info("too much for --quiet")
    finally:
        root.handlers[:] = before
        logging.getLogger("virnucpro").setLevel(logging.NOTSET)
    assert [line.split(maxsplit=2)[2] for line in said.getvalue().splitlines()] == ["a slow hub", "ours"]
