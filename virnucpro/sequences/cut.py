"""Records in, the lines of all files of an extraction out: many records at a time, long ones in parts."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from virnucpro.sequences.fasta import LINE_WIDTH
from virnucpro.sequences.frames import Frames, frames_of_windows
from virnucpro.sequences.records import Block, Record
from virnucpro.sequences.windows import Spans, spans

PART = 1 << 19  # letters: a record with more is cut up, so that memory stays flat
_RNA_TO_DNA = bytes.maketrans(b"Uu", b"Tt")


class Seal:
    """Stands for a record's header and letters, the lines of its windows in the layout, and its row among the
    records: who reads them later knows that nothing has changed since."""

    def __init__(self, record: Record) -> None:
        self._digest = hashlib.blake2b(digest_size=16)
        self.add(record.header)
        self.add(record.sequence)

    def add(self, lines: str) -> None:
        """One more window, or several, with line feeds between them."""
        self._digest.update(lines.encode(errors="surrogateescape"))
        self._digest.update(b"\n")

    def close(self, row: Iterable[str]) -> str:
        """32 hexadecimal digits for all that, and the record's row."""
        self.add("\t".join(row))
        return self._digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Part:
    """Windows in a row of one record, number `record`, and its letters from the first one's start on."""

    record: int
    id: str
    name: str
    letters: bytes
    windows: Spans


@dataclass(frozen=True, slots=True)
class Lines:
    """What goes into each file: those of the windows, of the frames' nucleotides and proteins (two lines a
    frame), the layout, and the records (nothing of a part of one). How many `frames` there are, how many
    windows have one, and whether any window has a codon."""

    chunked: str
    nucleotide: str
    protein: str
    layout: str
    records: str
    frames: int
    with_frame: int
    has_codon: bool


class LongRecord:
    """A record that is cut in parts; what is known of those that were cut."""

    def __init__(self, record: Record, windows: int) -> None:
        self._facts, self._windows = (record.number, record.id, len(record.sequence)), windows
        self._seal = Seal(record)
        self._left, self._with_frame, self._has_codon = windows, 0, False

    def add(self, part: Lines) -> str:
        """The next part's lines; after the last, the record's own line."""
        self._left -= part.layout.count("\n")
        self._seal.add(part.layout[:-1])
        self._with_frame += part.with_frame
        self._has_codon |= part.has_codon
        if self._left:
            return ""
        row = _row(*self._facts, self._windows, self._with_frame, self._has_codon)
        return f"{row}\t{self._seal.close([row])}\n"


def jobs(blocks: Iterable[Block], size: int) -> Iterator[tuple[LongRecord | None, Block | Part]]:
    """What to call `lines_of` for: records in a row, and parts of long records, each with its record."""
    for block in blocks:
        start = 0
        for place in [place for place, letters in enumerate(block.sequences) if len(letters) > PART]:
            if place > start:
                yield None, block.between(start, place)
            start = place + 1
            yield from _parts(block, place, size)
        if start < len(block.ids):
            yield None, block.between(start, len(block.ids)) if start else block
        del block


def _parts(block: Block, place: int, size: int) -> Iterator[tuple[LongRecord, Part]]:
    number, id, letters = block.first + place, block.ids[place], block.sequences[place]
    name = block.names[place]
    all_windows = spans(np.array([len(letters)]), size)
    count = len(all_windows.start)
    record = LongRecord(Record(number, id, block.headers[place], letters.decode()), count)
    step = max(PART // size, 1)
    for first in range(0, count, step):
        windows = Spans(*(column[first : first + step] for column in all_windows))
        yield record, Part(number, id, name, letters[windows.start[0] : windows.end[-1]], windows)


def lines_of(job: Block | Part, size: int) -> Lines:
    """The lines of records with windows of `size`, or of a part of one."""
    if isinstance(job, Part):
        before = -int(job.windows.start[0])
        ids, stems, letters = [job.id], [job.name], job.letters
        windows, first_number = job.windows, job.record
    else:
        lengths = np.array([*map(len, job.sequences)])
        windows = spans(lengths, size)
        before = (np.cumsum(lengths) - lengths)[windows.owner]
        ids, stems = job.ids, job.names
        letters, first_number = b"".join(job.sequences), job.first
    rna = b"U" in letters or b"u" in letters
    dna = letters.translate(_RNA_TO_DNA) if rna else letters
    start, end = windows.start + before, windows.end + before
    found = frames_of_windows(dna, start, end)
    owner, number = windows.owner.tolist(), windows.number.tolist()
    names = [f"{stems[record]}_chunk_{window}" for record, window in zip(owner, number, strict=True)]
    with_frame = np.zeros(len(names), np.int64)
    with_frame[found.window] = 1
    nucleotide = "".join(
        [
            f">{names[window]}{name}\n{bases}\n"
            for window, name, bases in zip(found.window, found.name, found.nucleotide, strict=True)
        ]
    )
    protein = "".join(
        [
            f">{names[window]}{name}\n{residues}\n"
            for window, name, residues in zip(found.window, found.name, found.protein, strict=True)
        ]
    )
    layout = [
        f"{first_number + record}\t{ids[record]}\t{window}\t{begin}\t{stop}\t{frames}"
        for record, window, begin, stop, frames in zip(
            owner,
            number,
            (windows.start + 1).tolist(),
            windows.end.tolist(),
            _names(found, len(names)),
            strict=True,
        )
    ]
    return Lines(
        _wrapped(names, dna.decode(), start.tolist(), end.tolist()),
        nucleotide,
        protein,
        "".join([f"{line}\n" for line in layout]),
        _records(job, windows, layout, with_frame, found) if isinstance(job, Block) else "",
        len(found.window),
        int(with_frame.sum()),
        bool(found.has_codon.any()),
    )


def _names(found: Frames, windows: int) -> list[str]:
    """The names of each window's frames."""
    names = [""] * windows
    for window, name in zip(found.window, found.name, strict=True):
        names[window] = f"{names[window]},{name}" if names[window] else name
    return names


def _wrapped(names: list[str], dna: str, start: list[int], end: list[int]) -> str:
    lines = []
    for name, a, b in zip(names, start, end, strict=True):
        window = dna[a:b]
        lines.append(f">{name}")
        lines += [window[place : place + LINE_WIDTH] for place in range(0, b - a, LINE_WIDTH)]
    lines.append("")
    return "\n".join(lines)


def _records(
    block: Block, windows: Spans, layout: list[str], with_frame: NDArray[np.int64], found: Frames
) -> str:
    """Each record's own line. Its seal is taken at once, which is faster than bit by bit."""
    records = len(block.ids)
    frames = np.bincount(windows.owner, with_frame, records).astype(int).tolist()
    codons = np.bincount(windows.owner, found.has_codon, records).tolist()
    ends = np.searchsorted(windows.owner, np.arange(records), side="right").tolist()
    begin, lines = 0, []
    rows = zip(block.ids, block.headers, block.sequences, ends, frames, codons, strict=True)
    for number, (id, header, letters, end, frame_count, has_codon) in enumerate(rows, block.first):
        row = _row(number, id, len(letters), end - begin, frame_count, has_codon)
        sealed = f"{header}\n{letters.decode()}\n{chr(10).join(layout[begin:end])}\n{row}\n".encode()
        lines.append(f"{row}\t{hashlib.blake2b(sealed, digest_size=16).hexdigest()}\n")
        begin = end
    return "".join(lines)


def _row(number: int, id: str, length: int, windows: int, with_frame: int, has_codon: bool) -> str:
    """What the records' table says of one, but for its seal."""
    if with_frame:
        status = "called"
    elif length < 3:
        status = "too_short"
    else:
        status = "no_open_frame" if has_codon else "ambiguous"
    return f"{number}\t{id}\t{length}\t{status}\t{windows}\t{with_frame}"
