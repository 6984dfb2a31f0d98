"""From scored frames and bases to one score and one call for each window and each record.

Records are taken in blocks, so that memory is flat but for one score a record: the `fdr` column is known only
when all have been seen.
"""

import tempfile
from array import array
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TextIO

import numpy as np
from numpy.typing import NDArray

from virnucpro.calling.fdr import FalseDiscovery
from virnucpro.calling.inputs import Contig, Inputs
from virnucpro.calling.summary import Summary
from virnucpro.calling.tables import MISSING
from virnucpro.calling.verdict import Evidence, Judge, Verdicts
from virnucpro.calling.viral_ngs import VIRAL_NGS, RollUp
from virnucpro.files import atomic, naming
from virnucpro.sequences.extract import RECORD_COLUMNS
from virnucpro.sequences.fasta import Repeats, write_record

HIGHEST = ("Modified_ID", "Is_Virus", "max_score_0", "max_score_1")
WINDOWS = (
    *("record", "sequence_id", "window", "start", "end"),
    *("frames", "best_frame", "frame_virus", "frame_others"),
    *("composition_score", "evidence", "virus_score", "call"),
)
CONTIGS = (
    *RECORD_COLUMNS,
    *("viral_windows", "evidence", "composition_score", "virus_score", "fdr", "tier", "call"),
)
_BLOCK = 2048  # windows


class Composition(Protocol):
    """A composition model: log-odds virus against all else at even priors, NaN for too few bases."""

    def log_odds(self, sequences: Sequence[str]) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class _Outputs:
    highest: TextIO
    windows: TextIO
    viral_ngs: TextIO
    viral: TextIO
    rows: TextIO  # of the contigs, still without `fdr`


def consensus(
    sample: str,
    fasta: Path,
    records: Path,
    layout: Path,
    results: Path,
    directory: Path,
    composition: Composition,
    judge: Judge,
    notice: str | None = None,
    duplicate_ids: Repeats = "error",
) -> Summary:
    """Write the tables, the viral FASTA and the counts of one sample into `directory`. `notice`: what must be
    known of the model set. `duplicate_ids`: as the frames were taken.

    `prediction_results_highestscore.csv` keeps the original's rule whatever the judge says: virus when the
    best P(virus) of a window is not below its best P(others) over its frames.

    Raises `InputError` when the files do not belong together; then nothing is written.
    """
    summary = Summary(sample, judge.facts(), notice)
    scores = array("d")
    with ExitStack() as stack:
        inputs = stack.enter_context(Inputs(fasta, records, layout, results, duplicate_ids))

        def create(name: str) -> TextIO:
            return stack.enter_context(_writing(directory / name))

        contigs = create(f"{sample}_contigs.tsv")
        stack.enter_context(naming(directory / f"{sample}_contigs.tsv"))
        outputs = _Outputs(
            highest=create("prediction_results_highestscore.csv"),
            windows=create(f"{sample}_windows.tsv"),
            viral_ngs=create(f"{sample}_viral_ngs.tsv"),
            viral=create(f"{sample}_viral.fa"),
            rows=stack.enter_context(
                tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n", dir=directory)
            ),
        )
        _row(outputs.highest, HIGHEST)
        _row(outputs.windows, WINDOWS)
        _row(outputs.viral_ngs, VIRAL_NGS)
        for block in inputs.blocks(_BLOCK):
            scores.extend(_call_block(block, composition, judge, outputs, summary))
        _finish(contigs, outputs.rows, np.frombuffer(scores) if scores else np.empty(0), judge.score_all)
        summary.check()
        create(f"{sample}_mqc.json").write(summary.to_multiqc())
    return summary


def _call_block(
    block: list[Contig], composition: Composition, judge: Judge, outputs: _Outputs, summary: Summary
) -> Sequence[float]:
    """Judge and write some records; gives their scores."""
    windows = [window for contig in block for window in contig.windows]
    spans = np.array([window.end - window.start for window in windows], dtype=np.float64)
    virus, others = (
        np.array([getattr(w, n) for w in windows], dtype=np.float64) for n in ("virus", "others")
    )
    of_windows = Evidence.of_windows(spans, _log_odds(block, composition), virus, others)
    owner = np.repeat(np.arange(len(block)), [len(contig.windows) for contig in block])
    lengths = np.array([len(contig.record.sequence) for contig in block], dtype=np.float64)
    verdicts = judge(of_windows)
    viral = np.bincount(owner[verdicts.call == "virus"], minlength=len(block))
    _write_windows(block, verdicts, outputs, summary)
    final = judge(of_windows.pooled(owner, lengths))
    for contig, viral_windows, *verdict in zip(block, viral.tolist(), *_columns(final), strict=True):
        evidence, composition_score, score, tier, call = verdict
        status = "called" if call != "no_call" else contig.row[3]
        row = [*contig.row[:3], status, *contig.row[4:], str(viral_windows)]
        _row(outputs.rows, [*row, evidence, _text(composition_score), _text(score), tier, call])
        if call == "virus":
            write_record(outputs.viral, contig.record.header, contig.record.sequence)
        summary.add_record(len(contig.record.sequence), status, evidence, call, score)
    return list(final.score.tolist())


def _log_odds(block: list[Contig], composition: Composition) -> NDArray[np.float64]:
    """Of every window, (n,); a long record goes piece by piece."""
    found = [np.empty(0)]
    pieces: list[str] = []
    for contig in block:
        dna = contig.record.dna.upper()
        for window in contig.windows:
            pieces.append(dna[window.start : window.end])
            if len(pieces) == _BLOCK:
                found.append(composition.log_odds(pieces).astype(np.float64))
                pieces = []
    if pieces:
        found.append(composition.log_odds(pieces).astype(np.float64))
    return np.concatenate(found)


def _write_windows(block: list[Contig], verdicts: Verdicts, outputs: _Outputs, summary: Summary) -> None:
    judged = zip(*_columns(verdicts), strict=True)
    for contig in block:
        rollup = RollUp()
        for number, window in enumerate(contig.windows, 1):
            evidence, composition_score, score, _, call = next(judged)
            best = [MISSING] * 4
            if window.frames:
                best = [window.frames, window.best_frame, window.virus_text, window.others_text]
                rollup.add(window.others, window.virus)
                id_ = f"{contig.record.name}_chunk_{number}"
                _row(
                    outputs.highest,
                    [id_, str(window.virus >= window.others), window.others_text, window.virus_text],
                )
            _row(
                outputs.windows,
                [*window.place, *best, _text(composition_score), evidence, _text(score), call],
            )
            summary.add_window(window.frames.count(",") + 1 if window.frames else 0, call)
        if rollup.windows:
            _row(outputs.viral_ngs, [contig.record.id, *map(str, rollup.verdict())])


def _columns(verdicts: Verdicts) -> tuple[list[str], list[float], list[float], list[str], list[str]]:
    """evidence, composition score, score, tier, call."""
    return (
        verdicts.evidence.tolist(),
        verdicts.composition.tolist(),
        verdicts.score.tolist(),
        verdicts.tier.tolist(),
        verdicts.call.tolist(),
    )


def _finish(contigs: TextIO, rows: TextIO, scores: NDArray[np.float64], calibrated: bool) -> None:
    """The table of contigs, now that all scores are known; `fdr` needs calibrated ones."""
    fdr = FalseDiscovery.of(scores) if calibrated else None
    _row(contigs, CONTIGS)
    rows.seek(0)
    for start in range(0, len(scores), _BLOCK):
        block = scores[start : start + _BLOCK]
        shares = fdr(block) if fdr else np.full(len(block), np.nan)
        for share in shares.tolist():
            before, tier, call = next(rows).rsplit("\t", 2)
            contigs.write(f"{before}\t{_text(round(share, 4))}\t{tier}\t{call}")


@contextmanager
def _writing(path: Path) -> Iterator[TextIO]:
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        yield file


def _row(file: TextIO, values: Sequence[str]) -> None:
    file.write("\t".join(values) + "\n")


def _text(value: float) -> str:
    return MISSING if value != value else repr(value)
