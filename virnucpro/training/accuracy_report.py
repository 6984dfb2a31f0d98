"""An evaluation as files: tables for programs (TSV), one page for people (Markdown)."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from virnucpro.calling.tables import MISSING
from virnucpro.files import atomic
from virnucpro.training.accuracy import MEASURES, Estimate, Evaluation, OfClass, length_bins, reliability_of

_NAMES = {"precision": "precision", "recall": "recall", "f1": "F1", "mcc": "MCC"}
_NAMES |= {"auroc": "AUROC", "auprc": "AUPRC"}
_OF_CLASS = ("called", "called_of_scored", "auroc", "auroc_scored")
_READING = """\
Values in brackets are 95 % intervals from a bootstrap over genomes (groups) within their class; a class of
one group has none, and 0 to 0 says that none was seen, not that there is none. *all*: every record counts,
one without a call as not viral and ranked lowest; *scored*: only records with a score. *Called viral* is the
recall of a viral class and the false-positive rate of any other. AUROC of a class is against all records of
the other label. The calibration error (ECE) weighs both labels evenly, and each class within its label."""


def write_tables(folder: Path, evaluations: Sequence[Evaluation], edges: Sequence[int]) -> None:
    """Write `overall.tsv`, `classes.tsv`, `calibration.tsv` and `evaluation.md` into the folder."""
    _write(
        folder / "overall.tsv",
        ["tool", "length", "counted", "records", "viral", "groups", *_with_interval(MEASURES)],
        (
            [one.tool, row.length, row.counted, row.records, row.viral, row.groups]
            + [value for name in MEASURES for value in _numbers(row.estimates[name])]
            for one in evaluations
            for row in one.overall
        ),
    )
    _write(
        folder / "classes.tsv",
        ["tool", "class", "label", "length", "records", "groups", "scored", *_with_interval(_OF_CLASS)],
        (
            [one.tool, row.kind, label, row.length, row.records, row.groups, row.scored]
            + [value for name in _OF_CLASS for value in _numbers(getattr(row, name))]
            for one in evaluations
            for rows, control in ((one.classes, False), (one.controls, True))
            for row in rows
            for label in ("control" if control else "virus" if row.viral else "others",)
        ),
    )
    _write(
        folder / "calibration.tsv",
        ["tool", "length", "bin", "weight", "mean_score", "viral"],
        (
            [one.tool, length, number, *values]
            for one in evaluations
            for length, which in length_bins(one.answers.length, edges).items()
            if (curve := reliability_of(one.answers[which])) is not None
            for number, values in enumerate(curve.tolist(), 1)
        ),
    )
    with atomic(folder / "evaluation.md") as temporary:
        temporary.write_text(markdown(evaluations), encoding="utf-8")


def markdown(evaluations: Sequence[Evaluation]) -> str:
    """The whole evaluation as Markdown that reads as plain text too."""
    first = evaluations[0]
    parts = [f"# Evaluation\n\n{len(first.answers):,} labelled records. {_READING}"]
    header = ["tool", "length", "counted", "records", "viral", *_NAMES.values(), "ECE"]
    rows = [
        [one.tool, row.length, row.counted, f"{row.records:,}", f"{row.viral:,}"]
        + [interval(row.estimates[name], 3) for name in _NAMES]
        + [interval(Estimate(one.calibration_error[row.length]), 3)]
        for row_of_all in zip(*(one.overall for one in evaluations), strict=True)
        for one, row in zip(evaluations, row_of_all, strict=True)
    ]
    parts.append(f"## Both labels together\n\n{table(header, rows)}")
    parts.append(f"## By class\n\n{_by_class(evaluations, [one.classes for one in evaluations])}")
    if first.controls:
        of_controls = _by_class(evaluations, [one.controls for one in evaluations], auroc=False)
        parts.append(f"## Shuffled sequences, which no one should call viral\n\n{of_controls}")
    return "\n\n".join(parts) + "\n"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table with its columns in line."""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(header))]
    padded = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    ]
    return "\n".join([padded[0], "| " + " | ".join("-" * width for width in widths) + " |", *padded[1:]])


def _by_class(
    evaluations: Sequence[Evaluation], rows_of: Sequence[Sequence[OfClass]], auroc: bool = True
) -> str:
    header = ["class", "length", "records", "groups"]
    for one in evaluations:
        header += [f"{one.tool}: called viral", *([f"{one.tool}: AUROC"] if auroc else [])]
    rows = []
    for of_all in zip(*rows_of, strict=True):
        row = of_all[0]
        cells = [f"{row.kind}{' (viral)' * row.viral}", row.length, f"{row.records:,}", f"{row.groups:,}"]
        for of_one in of_all:
            cells += [percent(of_one.called), *([interval(of_one.auroc, 2)] if auroc else [])]
        rows.append(cells)
    return table(header, rows)


def _with_interval(names: Iterable[str]) -> list[str]:
    return [f"{name}{end}" for name in names for end in ("", "_low", "_high")]


def _numbers(estimate: Estimate) -> list[float]:
    return [estimate.value, estimate.low, estimate.high]


def interval(estimate: Estimate, digits: int) -> str:
    """The value and its interval, a dash where it is not defined."""
    if math.isnan(estimate.value):
        return "–"
    if math.isnan(estimate.low):
        return f"{estimate.value:.{digits}f}"
    return f"{estimate.value:.{digits}f} ({estimate.low:.2f}–{estimate.high:.2f})"


def percent(estimate: Estimate) -> str:
    """The same for a share."""
    if math.isnan(estimate.value):
        return "–"
    if math.isnan(estimate.low):
        return f"{estimate.value:.0%}"
    return f"{estimate.value:.0%} ({estimate.low * 100:.0f}–{estimate.high * 100:.0f})"


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8") as out:
        out.write("\t".join(header) + "\n")
        for row in rows:
            out.write("\t".join(map(_cell, row)) + "\n")


def _cell(value: object) -> str:
    if isinstance(value, float):
        return MISSING if math.isnan(value) else f"{value:.6g}"
    return str(value)
