"""Read tab-separated tables row by row, checked, with the place of every row for messages."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from virnucpro.errors import InputError

MISSING = "NA"  # what an empty field of our tables says


class Table:
    """A table that is read once, from top to bottom; fields are text, exactly as they stand.

    Lines end at a line feed only and quotes mean nothing, so any id that fits in a FASTA header fits here.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        """Raises `InputError` when the file is missing or its header is not `columns`."""
        self.path = path
        self.columns = tuple(columns)
        self.line = 1
        try:
            # Damaged text becomes a row that does not fit, which is reported with its place.
            self._file = path.open(encoding="utf-8", errors="surrogateescape", newline="\n")
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error
        header = self._file.readline().rstrip("\n")
        if header.split("\t") != list(self.columns):
            self._file.close()
            raise InputError(
                f"{path}, line 1: expected the columns {' '.join(self.columns)}, found {header!r}"
            )
        self._rows = self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def row(self, wanted: str) -> list[str]:
        """The next row; `InputError` naming what is `wanted` when the table has ended."""
        fields = next(self._rows, None)
        if fields is None:
            raise InputError(f"{self.path}: ends after line {self.line}, but {wanted} is still to come")
        return fields

    def end(self, after: str) -> None:
        """Raises `InputError` when rows are left over."""
        fields = next(self._rows, None)
        if fields is not None:
            raise InputError(f"{self.place}: a row of {fields[0]!r} too many, after {after}")

    @property
    def place(self) -> str:
        return f"{self.path}, line {self.line}"

    def _read(self) -> Iterator[list[str]]:
        for line in self._file:
            self.line += 1
            fields = line.rstrip("\n").split("\t")
            if len(fields) != len(self.columns):
                raise InputError(f"{self.place}: {len(fields)} columns, expected {len(self.columns)}")
            yield fields
