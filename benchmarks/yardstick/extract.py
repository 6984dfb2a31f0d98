"""Extraction a window at a time: the yardstick of `virnucpro.sequences.extract`, of the same files."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from benchmarks.yardstick.fasta import read_fasta
from benchmarks.yardstick.frames import open_frames
from virnucpro.defaults import SPLIT_SIZE
from virnucpro.files import atomic, naming, remove_empty
from virnucpro.sequences.extract import LAYOUT_COLUMNS, RECORD_COLUMNS, SEAL_COLUMN, Seal
from virnucpro.sequences.fasta import Record, write_record
from virnucpro.sequences.frames import Frame


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
    fasta: Path,
    output: Path,
    sample: str,
    window_length: int,
    split_size: int = SPLIT_SIZE,
    tables: Path | None = None,
) -> None:
    """What `virnucpro.sequences.extract.extract_frames` does, in one process."""
    tables = tables or output
    with ExitStack() as stack:

        def create(path: Path) -> IO[str]:
            return stack.enter_context(_text(stack.enter_context(atomic(path))))

        chunked = create(output / f"{sample}_chunked{window_length}.fa")
        all_nucleotide = create(output / f"{sample}_identified_nucleotide.fa")
        all_protein = create(output / f"{sample}_identified_protein.faa")
        records = create(tables / f"{sample}_records.tsv")
        layout = create(tables / f"{sample}_layout.tsv")
        split = _SplitFiles(stack, output, split_size)
        print(*RECORD_COLUMNS, SEAL_COLUMN, sep="\t", file=records)
        print(*LAYOUT_COLUMNS, sep="\t", file=layout)

        for record in read_fasta(fasta):
            cut = record_windows(record, window_length)
            seal = Seal(record)
            for window in cut:
                chunk_id = f"{record.id}_chunk_{window.number}"
                write_record(chunked, chunk_id, window.bases)
                for frame in window.frames:
                    nucleotide, protein = split.next()
                    for out in (all_nucleotide, nucleotide):
                        write_record(out, chunk_id + frame.name, frame.nucleotide, width=None)
                    for out in (all_protein, protein):
                        write_record(out, chunk_id + frame.name, frame.protein, width=None)
                names = ",".join(frame.name for frame in window.frames)
                place = (record.number, record.id, window.number, window.start + 1, window.end, names)
                line = "\t".join(map(str, place))
                seal.add(line)
                layout.write(f"{line}\n")
            with_frame = sum(bool(window.frames) for window in cut)
            facts = (
                record.number,
                record.id,
                len(record.sequence),
                status(record, cut),
                len(cut),
                with_frame,
            )
            row = [*map(str, facts)]
            print(*row, seal.close(row), sep="\t", file=records)
        split.close()


def _has_codon(window: str) -> bool:
    """Whether three unambiguous bases stand in a row; then one frame at least has a codon to read."""
    return any(set(window[i : i + 3]) <= set("ACGT") for i in range(len(window) - 2))


def windows(length: int, size: int) -> list[tuple[int, int]]:
    """Cut `length` bases into windows of `size`: 0-based, half-open spans that overlap evenly.

    The rule, its short last window included, is the original's: the overlap is shared among n windows
    although only n - 1 of them can be moved, so what rounding leaves over shortens the last one. The
    published classifiers were trained on windows cut this way.

    >>> windows(480, 500)
    [(0, 480)]
    >>> windows(1200, 500)
    [(0, 500), (399, 899), (798, 1200)]
    """
    if length < 1 or size < 1:
        raise ValueError(f"a window of {size} bases over {length} bases")
    count = -(-length // size)
    surplus = count * size - length
    low = surplus // count
    steps_of_one_more = surplus - low * (count - 1)
    spans = []
    shift = 0
    for i in range(count):
        start = i * size - shift
        spans.append((start, min(start + size, length)))
        shift += low + (i < steps_of_one_more)
    return spans


@contextmanager
def _text(path: Path) -> Iterator[IO[str]]:
    with naming(path), path.open("w", encoding="utf-8", newline="\n") as file:
        yield file


class _SplitFiles:
    """The pairs `nucleotide/output_N.fa` and `protein/output_N.fa`, `size` records each, the last pair open.

    All get their names when `stack` is closed.
    """

    def __init__(self, stack: ExitStack, folder: Path, size: int) -> None:
        self._stack, self._folder, self._size = stack, folder, size
        for kind in ("nucleotide", "protein"):
            stack.callback(remove_empty, folder / kind)
        self._written = 0
        self._pair = stack.enter_context(ExitStack())
        self._files = self._open()

    def next(self) -> tuple[IO[str], IO[str]]:
        """The files the next record belongs to, nucleotide and protein."""
        if self._written and self._written % self._size == 0:
            self.close()
            self._files = self._open()
        self._written += 1
        return self._files

    def close(self) -> None:
        """Write out the last pair; before its files get their names."""
        self._pair.close()

    def _open(self) -> tuple[IO[str], IO[str]]:
        name = f"output_{self._written // self._size + 1}.fa"

        def create(kind: str) -> IO[str]:
            temporary = self._stack.enter_context(atomic(self._folder / kind / name))
            return self._pair.enter_context(_text(temporary))

        return create("nucleotide"), create("protein")
