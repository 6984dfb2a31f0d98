"""What the calls are made from: a FASTA and three tables, read in step with flat memory.

Every row names what it belongs to, and a row that is not the one expected stops the run: nothing shifts
silently.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from math import nan
from pathlib import Path
from types import TracebackType
from typing import Self

from virnucpro.calling.tables import Table
from virnucpro.errors import InputError
from virnucpro.sequences.extract import LAYOUT_COLUMNS, RECORD_COLUMNS, SEAL_COLUMN, STATUSES, Seal
from virnucpro.sequences.fasta import Record, Repeats, read_fasta

RESULTS = ("Sequence_ID", "Prediction", "score1", "score2")


@dataclass(frozen=True, slots=True)
class Window:
    """A window: its row up to `end`, its span (0-based, half-open), its open frames as the layout has them.
    Then the maxima over these frames, as numbers (NaN without a frame) and as the text they came in, and the
    frame with the highest P(virus)."""

    place: list[str]
    start: int
    end: int
    frames: str
    best_frame: str = ""
    virus: float = nan
    others: float = nan
    virus_text: str = ""
    others_text: str = ""


@dataclass(frozen=True, slots=True)
class Contig:
    """An input record, its row among the records (without the seal), and its windows."""

    record: Record
    row: list[str]
    windows: list[Window]


class Inputs:
    """Reads one sample's contigs; raises `InputError` for files that do not belong together."""

    def __init__(
        self, fasta: Path, records: Path, layout: Path, results: Path, duplicate_ids: Repeats = "error"
    ) -> None:
        self._fasta, self._duplicate_ids = fasta, duplicate_ids
        with ExitStack() as stack:
            self._records = stack.enter_context(Table(records, (*RECORD_COLUMNS, SEAL_COLUMN)))
            self._layout = stack.enter_context(Table(layout, LAYOUT_COLUMNS))
            self._results = stack.enter_context(Table(results, RESULTS))
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def blocks(self, windows: int) -> Iterator[list[Contig]]:
        """All contigs in input order, in lists of `windows` windows or a contig more."""
        block: list[Contig] = []
        held = 0
        for record in read_fasta(self._fasta, self._duplicate_ids):
            row = self._record(record)
            block.append(Contig(record, row[:-1], list(self._windows(record, row))))
            held += len(block[-1].windows)
            if held >= windows:
                yield block
                block, held = [], 0
        yield block
        for table in (self._records, self._layout, self._results):
            table.end("the last record of the FASTA")

    def _record(self, record: Record) -> list[str]:
        row = self._records.row(f"record {record.number} ({record.id})")
        _expect(self._records, row[:3], [str(record.number), record.id, str(len(record.sequence))])
        if row[3] not in STATUSES:
            raise InputError(f"{self._records.place}: unknown status {row[3]!r}")
        return row

    def _windows(self, record: Record, row: list[str]) -> Iterator[Window]:
        """After the last window, neither they nor the record nor its own `row` are found to have changed
        since the frames were taken."""
        seal = Seal(record)
        for number in range(1, _count(self._records, row[4]) + 1):
            window = self._layout.row(f"window {number} of record {record.number} ({record.id})")
            _expect(self._layout, window[:3], [str(record.number), record.id, str(number)])
            seal.add("\t".join(window))
            yield self._window(record, number, window)
        if row[-1] != seal.close(row[:-1]):
            records, layout = self._records, self._layout
            raise InputError(
                f"{records.place}: record {record.number} ({record.id}) or its windows are not those "
                f"that were scored: the input has changed since, or {records.path} or "
                f"{layout.path} is damaged; run it again from the start"
            )

    def _window(self, record: Record, number: int, row: list[str]) -> Window:
        *place, frames = row
        start, end = (_count(self._layout, text) for text in place[3:])
        window = Window(place, start - 1, end, frames)
        if not frames:
            return window
        scored = [self._score(f"{record.name}_chunk_{number}{frame}") for frame in frames.split(",")]
        best = max(range(len(scored)), key=lambda k: scored[k][1])
        others = max(scored, key=lambda score: score[0])
        _, virus, _, virus_text = scored[best]
        best_frame = frames.split(",")[best]
        return Window(place, start - 1, end, frames, best_frame, virus, others[0], virus_text, others[2])

    def _score(self, id_: str) -> tuple[float, float, str, str]:
        """P(others) and P(virus) of a frame, as numbers and as text."""
        row = self._results.row(id_)
        _expect(self._results, row[:1], [id_])
        others, virus = (_probability(self._results, text) for text in row[2:])
        _expect(self._results, row[1:2], ["virus" if virus > others else "others"])
        return others, virus, row[2], row[3]


def _expect(table: Table, found: list[str], expected: list[str]) -> None:
    if found != expected:
        raise InputError(
            f"{table.place}: found {' '.join(found)!r} where {' '.join(expected)!r} must stand; "
            "these files do not belong together"
        )


def _count(table: Table, text: str) -> int:
    if not text.isdecimal():
        raise InputError(f"{table.place}: {text!r} is not a count")
    return int(text)


def _probability(table: Table, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise InputError(f"{table.place}: the score {text!r} is not a number from 0 to 1")
    return value
