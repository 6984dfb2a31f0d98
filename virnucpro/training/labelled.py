"""Read calls and labels for `virnucpro evaluate`, checked, with the place of every mistake."""

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from virnucpro.calling.tables import MISSING
from virnucpro.errors import InputError
from virnucpro.sequences.fasta import Record, read_records
from virnucpro.training.accuracy import Answers

log = logging.getLogger(__name__)
LABELS = ("virus", "others", "control")
_FIELDS = ("label", "class", "group")


@dataclass(frozen=True, slots=True)
class Label:
    """The truth of one record; a control (a shuffled sequence) is neither virus nor anything else."""

    label: str  # of LABELS
    kind: str  # class
    group: str  # genome or family
    length: int | None  # bases, where known


@dataclass(frozen=True, slots=True)
class Call:
    """What a tool says of one record."""

    score: float  # NaN: none
    virus: bool
    length: int | None = None
    open_frame: bool | None = None  # whether any window has a frame without a stop, where known


def read_labels(path: Path) -> dict[str, Label]:
    """Labels by id, from a FASTA of `virnucpro dataset build` or a table `id label class group [length]`.

    In FASTA the header's fields after the id say `label=`, `class=` and `group=`, separated by tabs. An
    empty group makes the record its own. Raises `InputError` with the file and line that is wrong.
    """
    labels: dict[str, Label] = {}
    for where, id, fields in _labels_of_fasta(path) if _is_fasta(path) else _labels_of_table(path):
        if id in labels:
            raise InputError(f"{where}: a second label for {id!r}; each id needs one")
        if fields["label"] not in LABELS:
            raise InputError(f"{where}: label {fields['label']!r} is not one of {', '.join(LABELS)}")
        if not fields["class"]:
            raise InputError(f"{where}: the class is empty; name one, such as 'phage' or 'human'")
        length = _length(where, fields.get("length", ""))
        labels[id] = Label(fields["label"], fields["class"], fields["group"] or id, length)
    if not labels:
        raise InputError(f"{path}: holds no label")
    return labels


def read_calls(paths: Iterable[Path], cut_off: float) -> dict[str, Call]:
    """Calls by id from tables of one tool: `<sample>_contigs.tsv`, or `id score [call]` of any other tool.

    A score `NA` means that there is none. A call is `virus` or anything else; a table without calls is cut
    at `cut_off`. Raises `InputError` with the file and line that is wrong.
    """
    calls: dict[str, Call] = {}
    for path in paths:
        for where, row in _rows(path, (("sequence_id", "virus_score", "call"), ("id", "score"))):
            id = row["sequence_id"] if "sequence_id" in row else row["id"]
            if id in calls:
                raise InputError(f"{where}: a second call of {id!r}; each id needs one")
            score = _number(where, row["virus_score"] if "virus_score" in row else row["score"])
            virus = row["call"] == "virus" if "call" in row else score >= cut_off
            framed = row.get("windows_with_frame")
            calls[id] = Call(
                score,
                virus,
                _length(where, row.get("length", "")),
                None if framed is None else bool(_length(where, framed)),
            )
    return calls


def join(labels: dict[str, Label], calls: dict[str, Call]) -> tuple[Answers, Answers]:
    """Every labelled record with its call: those with a truth, and the controls.

    A labelled record without a row counts as not scored; a row without a label is passed over, and counted in
    the log. Raises `InputError` where nothing fits, or the length of a record is nowhere.
    """
    if not labels.keys() & calls.keys():
        example, other = next(iter(labels)), next(iter(calls), "no row at all")
        raise InputError(
            f"no id of the labels ({example!r}, ...) is among those of the calls ({other!r}, ...); give "
            "calls of the very sequences that are labelled"
        )
    if unknown := len(calls.keys() - labels.keys()):
        log.warning("%d calls are of sequences without a label, and are passed over", unknown)
    if absent := len(labels.keys() - calls.keys()):
        log.warning("%d labelled sequences have no row among the calls, and count as not scored", absent)
    nothing = Call(float("nan"), False)
    true = {id: label for id, label in labels.items() if label.label != "control"}
    control = {id: label for id, label in labels.items() if label.label == "control"}
    truth, controls = (_answers(part, [calls.get(id, nothing) for id in part]) for part in (true, control))
    return truth, controls


def open_frame_rule(labels: dict[str, Label], calls: dict[str, Call]) -> dict[str, Call] | None:
    """The calls of no model at all: virus where any frame is open, nothing where none is; None where the
    calls do not tell."""
    if any(call.open_frame is None for id, call in calls.items() if id in labels):
        return None
    return {
        id: Call(1.0 if call.open_frame else float("nan"), bool(call.open_frame), call.length)
        for id, call in calls.items()
    }


def _answers(labels: dict[str, Label], calls: Sequence[Call]) -> Answers:
    lengths = []
    for (id, label), call in zip(labels.items(), calls, strict=True):
        length = label.length or call.length
        if length is None:
            raise InputError(
                f"the length of {id!r} is neither among the labels nor the calls; add a column 'length' to "
                "the labels"
            )
        lengths.append(length)
    return Answers(
        np.array([label.label == "virus" for label in labels.values()], dtype=bool),
        np.array([label.kind for label in labels.values()], dtype=np.str_),
        np.array([label.group for label in labels.values()], dtype=np.str_),
        np.array(lengths, dtype=np.int64),
        np.array([call.score for call in calls], dtype=np.float64),
        np.array([call.virus for call in calls], dtype=bool),
    )


def _is_fasta(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(2)[:1] == b">" or path.name.endswith(".gz")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def _labels_of_fasta(path: Path) -> Iterator[tuple[str, str, dict[str, str]]]:
    for record in read_records(path):
        fields = header_fields(record)
        if missing := [name for name in _FIELDS if name not in fields]:
            raise InputError(
                f"{path}, record {record.number}: the header of {record.id!r} has no {missing[0]}=; fields "
                "like label=virus, class=phage, group=... are needed after the id, separated by tabs"
            )
        yield f"{path}, record {record.number}", record.id, {**fields, "length": str(len(record.sequence))}


def header_fields(record: Record) -> dict[str, str]:
    """The tab-separated `name=value` fields that follow the id in a header."""
    return dict(field.split("=", 1) for field in record.header.split("\t")[1:] if "=" in field)


def _labels_of_table(path: Path) -> Iterator[tuple[str, str, dict[str, str]]]:
    for where, row in _rows(path, (("id", *_FIELDS),)):
        yield where, row["id"], row


def _rows(path: Path, headers: Sequence[Sequence[str]]) -> Iterator[tuple[str, dict[str, str]]]:
    """(place, row by column) of a tab-separated table whose columns hold all of one of the `headers`."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text; a tab-separated table is needed") from None
    lines = text.removesuffix("\n").split("\n")
    columns = lines[0].rstrip("\r").split("\t")
    if not any(set(header) <= set(columns) for header in headers):
        wanted = " or ".join(" ".join(header) for header in headers)
        raise InputError(f"{path}, line 1: the columns {wanted} are needed, separated by tabs")
    for number, line in enumerate(lines[1:], 2):
        fields = line.rstrip("\r").split("\t")
        if len(fields) != len(columns):
            raise InputError(f"{path}, line {number}: {len(fields)} columns, expected {len(columns)}")
        yield f"{path}, line {number}", dict(zip(columns, fields, strict=True))


def _number(where: str, text: str) -> float:
    if text in ("", MISSING):
        return float("nan")
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not math.isfinite(number):
        raise InputError(f"{where}: the score {text!r} is no number; where there is none, write {MISSING}")
    return number


def _length(where: str, text: str) -> int | None:
    if text in ("", MISSING):
        return None
    if not text.isdecimal():
        raise InputError(f"{where}: {text!r} is no count; a whole number is needed")
    return int(text)
