"""Files of sequences as text in blocks, whatever their packing and line ends."""

from collections.abc import Generator, Iterator
from pathlib import Path

from virnucpro.errors import InputError
from virnucpro.files import naming
from virnucpro.sequences.packing import LONGEST_MAGIC, packing_of, unpacked

BLOCK = 1 << 17  # bytes read at a time: what comes of a block stays in a core's own cache
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def check_file(path: Path) -> None:
    """Raise `InputError` where there is no regular file, with words for what is there instead."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder; a file of sequences is needed")
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if not path.is_file():
        raise InputError(
            f"{path}: is a pipe or a device; a regular file is needed, as it is read more than once: write "
            "it to one first"
        )


def text_blocks(path: Path) -> Generator[bytes]:
    """The file in blocks of about `BLOCK` bytes: unpacked, every line end LF, no byte order mark.

    Raises `InputError` for a missing or unreadable file, a pipe, and a packed file that is cut off or
    damaged.
    """
    held, first = b"", True
    for block in blocks(path):
        block, held = held + block, b""
        if first and len(block) < len(_BYTE_ORDER_MARK):
            held = block
            continue
        if first:
            block, first = block.removeprefix(_BYTE_ORDER_MARK), False
        if b"\r" in block:
            if block.endswith(b"\r"):  # its LF may come with the next block
                block, held = block[:-1], b"\r"
            block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        yield block
    yield held.replace(b"\r", b"\n")


def blocks(path: Path) -> Iterator[bytes]:
    """The file in blocks of at most `BLOCK` bytes, unpacked. Raises `InputError` as `text_blocks` does."""
    try:
        check_file(path)
        with naming(path), path.open("rb") as file:
            packing = packing_of(file.read(LONGEST_MAGIC))
            file.seek(0)
            yield from (
                unpacked(path, file, packing, BLOCK) if packing else iter(lambda: file.read(BLOCK), b"")
            )
    except PermissionError:
        raise InputError(f"{path}: may not be read; check its permissions") from None
