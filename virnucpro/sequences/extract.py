"""FASTA to windows to open frames, in one streaming pass; writes every file the later steps read."""

import multiprocessing
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import IO

from virnucpro.defaults import SPLIT_SIZE
from virnucpro.errors import MachineError
from virnucpro.files import atomic, naming, remove_empty
from virnucpro.sequences.cut import Lines, LongRecord, Part, jobs, lines_of
from virnucpro.sequences.cut import Seal as Seal
from virnucpro.sequences.fasta import Repeats, read_blocks
from virnucpro.sequences.records import Block
from virnucpro.threads import end_with_parent

RECORD_COLUMNS = ("record", "sequence_id", "length", "status", "windows", "windows_with_frame")
SEAL_COLUMN = "seal"  # the last one of `<sample>_records.tsv`
LAYOUT_COLUMNS = ("record", "sequence_id", "window", "start", "end", "frames")
_ALONE = 16  # blocks or parts that one process cuts before others are started
STATUSES = ("called", "no_open_frame", "too_short", "ambiguous")


def extract_frames(
    fasta: Path,
    output: Path,
    sample: str,
    window_length: int,
    split_size: int = SPLIT_SIZE,
    tables: Path | None = None,
    threads: int = 1,
    duplicate_ids: Repeats = "error",
) -> None:
    """Write one sample's windows, frames and split files into the folder `output`, two tables into `tables`.

    `nucleotide/output_N.fa` and `protein/output_N.fa` hold the same ids in the same order, `split_size`
    a file; `output_1.fa` is always there, empty when no frame is open. The tables `<sample>_records.tsv`
    and `<sample>_layout.tsv` (in `output` where no folder is given) list every record and every window.
    `duplicate_ids`: as `read_fasta` has it. `threads`: of the CPU; with several, other processes cut large
    inputs. Raises `InputError` for bad input; no file stays behind then.
    """
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

        for long, lines in _in_order(
            jobs(read_blocks(fasta, duplicate_ids), window_length), window_length, threads
        ):
            chunked.write(lines.chunked)
            all_nucleotide.write(lines.nucleotide)
            all_protein.write(lines.protein)
            split.write(lines)
            layout.write(lines.layout)
            records.write(long.add(lines) if long else lines.records)
        split.close()


def _in_order(
    work: Iterator[tuple[LongRecord | None, Block | Part]], size: int, threads: int
) -> Iterator[tuple[LongRecord | None, Lines]]:
    """The lines of each, in order; those of the first few are made here, where processes would not pay."""
    for long, job in islice(work, _ALONE) if threads > 1 else work:
        yield long, lines_of(job, size)
    if (following := next(work, None)) is None:
        return
    context = multiprocessing.get_context("spawn")
    waiting: deque[tuple[LongRecord | None, Future[Lines]]] = deque()
    with ProcessPoolExecutor(threads, context, initializer=end_with_parent) as pool:
        try:
            for long, job in chain([following], work):
                waiting.append((long, pool.submit(lines_of, job, size)))
                if len(waiting) > 2 * threads:
                    long, lines = waiting.popleft()
                    yield long, lines.result()
            for long, lines in waiting:
                yield long, lines.result()
        except BrokenProcessPool:
            raise MachineError(
                "a process that cuts sequences was killed, perhaps for its memory; try again with --threads 1"
            ) from None


def _split(text: str, lines: int) -> tuple[str, str]:
    """The first lines of a text, and what follows them."""
    *head, rest = text.split("\n", lines)
    return "\n".join([*head, ""]), rest


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

    def write(self, lines: Lines) -> None:
        """The next frames, into the files that they belong to."""
        texts, left = [lines.nucleotide, lines.protein], lines.frames
        while left:
            if self._written and self._written % self._size == 0:
                self.close()
                self._files = self._open()
            now = min(left, self._size - self._written % self._size)
            for place, file in enumerate(self._files):
                text, texts[place] = _split(texts[place], 2 * now) if now < left else (texts[place], "")
                file.write(text)
            self._written += now
            left -= now

    def close(self) -> None:
        """Write out the last pair; before its files get their names."""
        self._pair.close()

    def _open(self) -> tuple[IO[str], IO[str]]:
        name = f"output_{self._written // self._size + 1}.fa"

        def create(kind: str) -> IO[str]:
            temporary = self._stack.enter_context(atomic(self._folder / kind / name))
            return self._pair.enter_context(_text(temporary))

        return create("nucleotide"), create("protein")
