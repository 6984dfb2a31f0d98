"""FASTQ, many records at a time: four lines each, of which the qualities are passed over."""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from virnucpro.errors import InputError
from virnucpro.sequences.records import BLANKS, NUCLEOTIDES, Block, block_of, check_header, check_sequence


def fastq_blocks(path: Path, texts: Iterable[bytes]) -> Iterator[Block]:
    """The records of a FASTQ file that holds `texts`. Blank lines at its begin and its end pass.

    Raises `InputError`, naming record and line, for what is not four lines to a record, of which the first
    begins with '@', the third with '+', and the second and fourth are equally long; and for what no sequence
    may hold.
    """
    number, line = 1, 1  # of the record, and the line, that come next
    held: list[bytes] = []
    waiting = 0  # line ends in what is held
    for more in chain(texts, (None,)):
        if more is not None:
            held.append(more)
            waiting += more.count(b"\n")
            if waiting < 4:
                continue
        text = b"".join(held)
        if number == 1 and not text[:1].strip():  # blank lines before the first record
            rest = text.lstrip()
            line += text[: len(text) - len(rest)].count(b"\n")
            text = rest
        lines = text.split(b"\n")
        if more is None:
            while lines and not lines[-1].strip():
                lines.pop()
            whole = len(lines)
        else:
            whole = (len(lines) - 1) // 4 * 4  # the last line may go on
        held = [b"\n".join(lines[whole:])]
        waiting = len(lines) - 1 - whole
        del lines[whole:], text, more
        if not lines:
            continue
        headers = [header[1:].strip() for header in lines[::4]]
        sequences = [sequence.translate(None, BLANKS) for sequence in lines[1::4]]
        block = None
        if _good(lines, sequences):
            block = block_of(number, headers, sequences)
        if block is None:
            _examine(path, number, line, lines)
        assert block
        number, line = number + len(headers), line + whole
        del lines, headers, sequences
        yield block
        del block


def _good(lines: list[bytes], sequences: list[bytes]) -> bool:
    return (
        len(lines) % 4 == 0
        and all(header.startswith(b"@") for header in lines[::4])
        and all(plus.startswith(b"+") for plus in lines[2::4])
        and [len(letters.rstrip(BLANKS)) for letters in lines[1::4]]
        == [len(qualities.rstrip(BLANKS)) for qualities in lines[3::4]]
        and all(sequences)
        and not b"".join(sequences).translate(None, NUCLEOTIDES)
    )


def _examine(path: Path, number: int, line: int, lines: list[bytes]) -> None:
    """Raise `InputError` for the first record that is wrong: number `number` begins at `line`."""
    for place in range(0, len(lines), 4):
        header, *others = lines[place : place + 4]
        if not header.startswith(b"@"):
            raise InputError(
                f"{path}: record {number} (line {line + place}) begins with {_shown(header)}, and not with "
                "'@'; a record of FASTQ is four lines, with the sequence and the qualities on one each"
            )
        _, where = check_header(path, number, line + place, header[1:].strip(), "@")
        if len(others) < 3:
            raise InputError(
                f"{where} is cut off: {len(others) + 1} of its four lines are there; copy the file here again"
            )
        sequence, plus, quality = others
        if not plus.startswith(b"+"):
            raise InputError(
                f"{where} has {_shown(plus)} in line {line + place + 2}, and not '+'; a record of FASTQ is "
                "four lines, with the sequence and the qualities on one each"
            )
        check_sequence(where, sequence.translate(None, BLANKS))
        letters, qualities = len(sequence.rstrip(BLANKS)), len(quality.rstrip(BLANKS))
        if letters != qualities:
            raise InputError(
                f"{where} has {letters} letters and {qualities} qualities; the file is damaged or cut off: "
                "copy it here again"
            )
        number += 1


def _shown(line: bytes) -> str:
    return repr(line[:20].decode(errors="replace"))
