"""Files of sequences as text in blocks, whatever their packing and line ends."""

import logging
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import IO

from virnucpro.errors import InputError
from virnucpro.files import naming

log = logging.getLogger(__name__)
BLOCK = 1 << 17  # bytes read at a time: what comes of a block stays in a core's own cache
GZIP = b"\x1f\x8b"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def check_file(path: Path) -> None:
    """Raise `InputError` where there is no regular file, with words for what is there instead."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder; a FASTA file is needed")
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if not path.is_file():
        raise InputError(
            f"{path}: is a pipe or a device; a regular file is needed, as it is read more than once: write "
            "it to one first"
        )


def text_blocks(path: Path) -> Iterator[bytes]:
    """The file in blocks of about `BLOCK` bytes: unpacked, every line end LF, no byte order mark.

    Raises `InputError` for a missing or unreadable file, a pipe, and a cut or damaged gzip.
    """
    held, first = b"", True
    for block in _blocks(path):
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


def _blocks(path: Path) -> Iterator[bytes]:
    try:
        check_file(path)
        with naming(path), path.open("rb") as file:
            packed = file.read(2) == GZIP
            file.seek(0)
            yield from _unpacked(path, file) if packed else iter(lambda: file.read(BLOCK), b"")
    except PermissionError:
        raise InputError(f"{path}: may not be read; check its permissions") from None
    except (EOFError, zlib.error) as error:
        raise InputError(
            f"{path}: the gzip file is cut off or damaged ({error}); copy it here again"
        ) from None


def _unpacked(path: Path, file: IO[bytes]) -> Iterator[bytes]:
    """What the members of a gzip file hold, in blocks of `BLOCK` bytes at most; zeros behind a member, and
    what is no member behind the last one, are passed over."""
    packed = file.read(BLOCK)
    while GZIP.startswith(packed[:2]) and packed:
        member = zlib.decompressobj(wbits=31)  # gzip, its sum compared
        while not member.eof:
            yield member.decompress(packed, BLOCK)
            packed = member.unconsumed_tail
            if not packed and not member.eof and not (packed := file.read(BLOCK)):
                raise EOFError("it ends too early")
        packed = member.unused_data.lstrip(b"\0")
        while len(packed) < 2 and (more := file.read(BLOCK)):
            packed = (packed + more).lstrip(b"\0")
    if packed:
        _warn_of_bytes_behind(path)


@cache  # a file is read more than once
def _warn_of_bytes_behind(path: Path) -> None:
    log.warning("%s: what stands behind the end of its gzip data is no gzip, and is ignored", path)
