"""From scored frames to calls for windows and records, in one pass with flat memory.

Four files are read in step: the FASTA, its records, their windows, and the scores of their frames. Every
row names what it belongs to, and a row that is not the one expected stops the run: nothing shifts silently.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TextIO

from virnucpro.calling.rollup import RollUp, Tier, call
from virnucpro.calling.summary import Summary
from virnucpro.calling.tables import MISSING, Table
from virnucpro.errors import InputError
from virnucpro.files import atomic
from virnucpro.sequences.extract import LAYOUT_COLUMNS, RECORD_COLUMNS, SEAL_COLUMN, STATUSES, Seal
from virnucpro.sequences.fasta import Record, read_fasta, write_record

RESULTS = ("Sequence_ID", "Prediction", "score1", "score2")

HIGHEST = ("Modified_ID", "Is_Virus", "max_score_0", "max_score_1")
WINDOWS = (
    *("record", "sequence_id", "window", "start", "end"),
    *("frames", "best_frame", "virus_score", "others_score", "call"),
)
CONTIGS = (*RECORD_COLUMNS, "viral_windows", "virus_score", "call", *Tier._fields)


class Score(NamedTuple):
    """One frame: its two scores as numbers, and as the text they came in."""

    frame: str
    others: float
    virus: float
    others_text: str
    virus_text: str


@dataclass(frozen=True)
class _Outputs:
    highest: TextIO
    windows: TextIO
    contigs: TextIO
    viral: TextIO


class _Inputs:
    """The three tables that go in step with the FASTA, each row checked against what must come next."""

    def __init__(self, records: Table, layout: Table, results: Table) -> None:
        self.records, self.layout, self.results = records, layout, results

    def record(self, record: Record) -> list[str]:
        row = self.records.row(f"record {record.number} ({record.id})")
        _expect(self.records, row[:3], [str(record.number), record.id, str(len(record.sequence))])
        if row[3] not in STATUSES:
            raise InputError(f"{self.records.place}: unknown status {row[3]!r}")
        return row

    def windows(self, record: Record, row: list[str]) -> Iterator[list[str]]:
        """The rows of a record's windows; after the last, neither they nor the record nor its own `row` are
        found to have changed since the frames were taken."""
        seal = Seal(record)
        for number in range(1, _count(self.records, row[4]) + 1):
            window = self.layout.row(f"window {number} of record {record.number} ({record.id})")
            _expect(self.layout, window[:3], [str(record.number), record.id, str(number)])
            seal.add("\t".join(window))
            yield window
        if row[-1] != seal.close(row[:-1]):
            raise InputError(
                f"{self.records.place}: record {record.number} ({record.id}) or its windows are not those "
                f"that were scored: the input has changed since, or {self.records.path} or "
                f"{self.layout.path} is damaged; run it again from the start"
            )

    def score(self, record: Record, window: int, frame: str) -> Score:
        id_ = f"{record.id}_chunk_{window}{frame}"
        row = self.results.row(id_)
        _expect(self.results, row[:1], [id_])
        others, virus = (_probability(self.results, text) for text in row[2:])
        _expect(self.results, row[1:2], ["virus" if virus > others else "others"])
        return Score(frame, others, virus, row[2], row[3])

    def end(self) -> None:
        for table in (self.records, self.layout, self.results):
            table.end("the last record of the FASTA")


def consensus(
    sample: str,
    fasta: Path,
    records: Path,
    layout: Path,
    results: Path,
    directory: Path,
    min_score: float | None = None,
) -> Summary:
    """Write the tables, the viral FASTA and the counts of one sample into `directory`.

    A window is viral when its best P(virus) is not below its best P(others) over its frames (a tie is
    virus); a record when half its scored windows are. With `min_score`, both must reach it as well;
    `prediction_results_highestscore.csv` keeps the plain rule.

    Raises `InputError` when the files do not belong together; then nothing is written.
    """
    summary = Summary(sample, min_score)
    with ExitStack() as stack:
        inputs = _Inputs(
            stack.enter_context(Table(records, (*RECORD_COLUMNS, SEAL_COLUMN))),
            stack.enter_context(Table(layout, LAYOUT_COLUMNS)),
            stack.enter_context(Table(results, RESULTS)),
        )

        def create(name: str) -> TextIO:
            return stack.enter_context(_writing(directory / name))

        outputs = _Outputs(
            highest=create("prediction_results_highestscore.csv"),
            windows=create(f"{sample}_windows.tsv"),
            contigs=create(f"{sample}_contigs.tsv"),
            viral=create(f"{sample}_viral.fa"),
        )
        _row(outputs.highest, HIGHEST)
        _row(outputs.windows, WINDOWS)
        _row(outputs.contigs, CONTIGS)
        for record in read_fasta(fasta):
            _call_record(record, inputs, outputs, summary)
        inputs.end()
        summary.check()
        create(f"{sample}_mqc.json").write(summary.to_multiqc())
    return summary


def _call_record(record: Record, inputs: _Inputs, outputs: _Outputs, summary: Summary) -> None:
    row = inputs.record(record)
    rollup = RollUp()
    for number, window in enumerate(inputs.windows(record, row), 1):
        _call_window(record, number, window, inputs, outputs, summary, rollup)
    verdict = rollup.call(summary.min_score)
    score = rollup.virus_score if rollup.windows else None
    tier = map(str, rollup.tier()) if rollup.windows else [MISSING] * len(Tier._fields)
    _row(outputs.contigs, [*row[:-1], str(rollup.viral_windows), _text(score), verdict, *tier])
    if verdict == "virus":
        write_record(outputs.viral, record.header, record.sequence)
    summary.add_record(len(record.sequence), row[3], verdict, score)


def _call_window(
    record: Record,
    number: int,
    row: list[str],
    inputs: _Inputs,
    outputs: _Outputs,
    summary: Summary,
    rollup: RollUp,
) -> None:
    *place, frames = row
    scored = [inputs.score(record, number, frame) for frame in frames.split(",") if frame]
    if not scored:
        _row(outputs.windows, [*place, *[MISSING] * 4, "no_call"])
        summary.add_window(0, "no_call")
        return
    best = max(scored, key=lambda score: score.virus)
    others = max(scored, key=lambda score: score.others)
    wins = best.virus >= others.others
    verdict = call(wins, best.virus, summary.min_score)
    _row(outputs.highest, [f"{record.id}_chunk_{number}", str(wins), others.others_text, best.virus_text])
    _row(outputs.windows, [*place, frames, best.frame, best.virus_text, others.others_text, verdict])
    rollup.add(others.others, best.virus, verdict == "virus")
    summary.add_window(len(scored), verdict)


@contextmanager
def _writing(path: Path) -> Iterator[TextIO]:
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        yield file


def _row(file: TextIO, values: tuple[str, ...] | list[str]) -> None:
    file.write("\t".join(values) + "\n")


def _text(value: float | None) -> str:
    return MISSING if value is None else repr(value)


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
