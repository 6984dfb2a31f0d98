"""HDF5 files, written so that a full disk is an error like any other."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py


@contextmanager
def create(path: Path) -> Iterator[h5py.File]:
    """A new HDF5 file, of the version from which on its structure has checksums. Raises `OSError` where the
    disk takes no more."""
    with _Disk(path, "w+") as disk:
        try:
            with h5py.File(disk, "w", libver="v110") as file:
                yield file
        finally:
            disk.check()


class _Disk(io.FileIO):
    """What HDF5 writes to. Where a write fails late, HDF5 says nothing, or crashes the process when it ends:
    so it is never told, and `check` raises the first failure once it is done."""

    _failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        left = memoryview(data).cast("B")
        whole = len(left)
        try:
            while left and not self._failure:
                left = left[super().write(left) :]
        except OSError as error:
            self._failure = error
        return whole

    def check(self) -> None:
        """Raise what went wrong."""
        if self._failure:
            raise self._failure
