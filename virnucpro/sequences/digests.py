"""Repeats among millions of ids or sequences, in memory that does not grow with their number."""

import hashlib
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Self

import numpy as np

from virnucpro.files import naming

_PER_PASS = 1 << 20


def digest(data: bytes) -> int:
    """64 bits of BLAKE2b: enough to suspect a repeat; callers compare the data before they believe it."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


class DigestLog:
    """Digests kept in a temporary file, 8 bytes each; `repeated` sorts a part of the range at a time."""

    def __enter__(self) -> Self:
        self._file = tempfile.TemporaryFile()
        self.count = 0
        return self

    def __exit__(self, *_: object) -> None:
        with naming(Path(tempfile.gettempdir())):
            self._file.close()

    def add(self, items: Iterable[bytes]) -> None:
        """Note some items. Raises `OSError` that names the folder for temporary files, where it is full."""
        sums = [hashlib.blake2b(data, digest_size=8).digest() for data in items]
        try:
            self._file.write(b"".join(sums))
        except OSError as error:
            error.filename = tempfile.gettempdir()
            raise
        self.count += len(sums)

    def repeated(self) -> frozenset[int]:
        """Digests that were added more than once."""
        passes = -(-self.count // _PER_PASS)
        found: set[int] = set()
        for this in range(passes):
            mine = np.sort(np.concatenate([d[d % passes == this] for d in self._blocks()]))
            found.update(mine[1:][mine[1:] == mine[:-1]].tolist())
        return frozenset(found)

    def _blocks(self) -> list[np.ndarray]:
        with naming(Path(tempfile.gettempdir())):
            self._file.flush()
        everything = np.memmap(self._file, dtype="<u8", mode="r", shape=(self.count,))
        return [everything[i : i + _PER_PASS] for i in range(0, self.count, _PER_PASS)]
