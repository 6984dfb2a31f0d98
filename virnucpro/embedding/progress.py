"""How far all ranks together are: one bar on a terminal, now and then a line in a log."""

import logging
import time
from collections.abc import Callable
from typing import Self

from tqdm import tqdm

log = logging.getLogger(__name__)
_LINE_EVERY = 30.0  # seconds between two lines where there is no terminal


class Progress:
    """Shows `done()` of `total` proteins at each `update`."""

    def __init__(self, total: int, done: Callable[[], int]) -> None:
        self._total, self._done = total, done
        self._bar = tqdm(total=total, initial=done(), unit=" proteins", desc="ESM-2", disable=None)
        self._told = time.monotonic()

    def update(self) -> None:
        """Look how far the ranks are."""
        if not self._bar.disable:
            self._bar.n = self._done()
            self._bar.refresh()
        elif time.monotonic() - self._told > _LINE_EVERY:
            self._told = time.monotonic()
            log.info("ESM-2 v2.0: %s of %s proteins embedded", self._done(), self._total)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.update()
        self._bar.close()
