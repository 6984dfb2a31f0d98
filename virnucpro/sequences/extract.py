"""FASTA to windows to open frames, in one streaming pass; writes every file the later steps read."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from virnucpro.defaults import SPLIT_SIZE
from virnucpro.files import atomic
from virnucpro.sequences.fasta import Record, read_fasta, write_record
from virnucpro.sequences.frames import Frame, open_frames
from virnucpro.sequences.windows import windows

RECORD_COLUMNS = ("record", "sequence_id", "length", "status", "windows", "windows_with_frame")
LAYOUT_COLUMNS = ("record", "sequence_id", "window", "start", "end", "frames")
STATUSES = ("called", "no_open_frame", "too_short", "ambiguous")


@dataclass(frozen=True, slots=True)
class Window:
    """Window `number` (from 1) of a record: 0-based half-open span, bases, open frames."""

    number: int
    start: int
    end: int
    bases: str
    frames: list[Frame]


def record_windows(record: Record, size: int) -> list[Window]:
    """Cut one record and translate each window."""
    dna = record.dna
    return [
        Window(k, start, end, dna[start:end], open_frames(dna[start:end]))
        for k, (start, end) in enumerate(windows(len(dna), size), 1)
    ]


def status(record: Record, cut: list[Window]) -> str:
    """What becomes of a record: one of `STATUSES`."""
    if any(window.frames for window in cut):
        return "called"
    if len(record.sequence) < 3:
        return "too_short"
    return "no_open_frame" if any(_has_codon(window.bases.upper()) for window in cut) else "ambiguous"


def extract_frames(
    fasta: Path, output: Path, sample: str, window_length: int, split_size: int = SPLIT_SIZE
) -> None:
    """Write one sample's windows, frames, split files and the two tables into the folder `output`.

    `nucleotide/output_N.fa` and `protein/output_N.fa` hold the same ids in the same order, `split_size`
    a file; `output_1.fa` is always there, empty when no frame is open. The tables `<sample>_records.tsv`
    and `<sample>_layout.tsv` list every record and every window. Raises `InputError` for bad input;
    nothing stays behind then.
    """
    with ExitStack() as stack:

        def create(name: str) -> IO[str]:
            temporary = stack.enter_context(atomic(output / name))
            return stack.enter_context(temporary.open("w", encoding="utf-8", newline="\n"))

        chunked = create(f"{sample}_chunked{window_length}.fa")
        all_nucleotide = create(f"{sample}_identified_nucleotide.fa")
        all_protein = create(f"{sample}_identified_protein.faa")
        records = create(f"{sample}_records.tsv")
        layout = create(f"{sample}_layout.tsv")
        nucleotide = stack.enter_context(
            _SplitFiles(stack.enter_context(atomic(output / "nucleotide")), split_size)
        )
        protein = stack.enter_context(
            _SplitFiles(stack.enter_context(atomic(output / "protein")), split_size)
        )
        print(*RECORD_COLUMNS, sep="\t", file=records)
        print(*LAYOUT_COLUMNS, sep="\t", file=layout)

        for record in read_fasta(fasta):
            cut = record_windows(record, window_length)
            for window in cut:
                chunk_id = f"{record.id}_chunk_{window.number}"
                write_record(chunked, chunk_id, window.bases)
                for frame in window.frames:
                    for out in (all_nucleotide, nucleotide.next()):
                        write_record(out, chunk_id + frame.name, frame.nucleotide, width=None)
                    for out in (all_protein, protein.next()):
                        write_record(out, chunk_id + frame.name, frame.protein, width=None)
                names = ",".join(frame.name for frame in window.frames)
                print(
                    record.number,
                    record.id,
                    window.number,
                    window.start + 1,
                    window.end,
                    names,
                    sep="\t",
                    file=layout,
                )
            with_frame = sum(bool(window.frames) for window in cut)
            print(
                record.number, record.id, len(record.sequence), status(record, cut), len(cut), with_frame,
                sep="\t", file=records,
            )  # fmt: skip


def _has_codon(window: str) -> bool:
    """Whether three unambiguous bases stand in a row; then one frame at least has a codon to read."""
    return any(set(window[i : i + 3]) <= set("ACGT") for i in range(len(window) - 2))


class _SplitFiles:
    """`output_1.fa`, `output_2.fa`, … in a folder, `size` records each."""

    def __init__(self, folder: Path, size: int) -> None:
        folder.mkdir()
        self._folder, self._size = folder, size
        self._written = 0
        self._file = self._open()

    def next(self) -> IO[str]:
        """The file the next record belongs to."""
        if self._written and self._written % self._size == 0:
            self._file.close()
            self._file = self._open()
        self._written += 1
        return self._file

    def _open(self) -> IO[str]:
        name = f"output_{self._written // self._size + 1}.fa"
        return (self._folder / name).open("w", encoding="utf-8", newline="\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
