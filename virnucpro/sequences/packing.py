"""Packed files: which packing it is, by content and not by name, and what is inside, bit by bit."""

import bz2
import logging
import lzma
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import IO, Protocol

from isal import igzip_lib

from virnucpro.errors import InputError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

log = logging.getLogger(__name__)
_WRONG = (
    igzip_lib.IsalError,
    *(lzma.LZMAError, zstd.ZstdError, OSError, EOFError, ValueError),
)


class _Unpacker(Protocol):
    """As bz2, lzma, isal and zstd have it."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Packing:
    """A way of packing: its name, what a file begins with, what unpacks one member of it."""

    name: str
    begins: tuple[bytes, ...]
    unpacker: Callable[[], _Unpacker]


_ZSTD_SKIPPED = tuple(
    bytes([first]) + b"\x2a\x4d\x18" for first in range(0x50, 0x60)
)  # a member without data
PACKINGS = (
    Packing("gzip", (b"\x1f\x8b",), partial(igzip_lib.IgzipDecompressor, flag=igzip_lib.DECOMP_GZIP)),
    Packing("bzip2", (b"BZh",), bz2.BZ2Decompressor),
    Packing("xz", (b"\xfd7zXZ\0",), partial(lzma.LZMADecompressor, lzma.FORMAT_XZ)),
    Packing("zstd", (b"\x28\xb5\x2f\xfd", *_ZSTD_SKIPPED), zstd.ZstdDecompressor),
)
LONGEST_MAGIC = 6


def packing_of(start: bytes) -> Packing | None:
    """How what begins so is packed; None where it is not, or in no way known here."""
    return next((packing for packing in PACKINGS if start.startswith(packing.begins)), None)


def unpacked(path: Path, file: IO[bytes], packing: Packing, block: int) -> Iterator[bytes]:
    """What the members of a packed file hold, in blocks of `block` bytes at most; zeros behind a member, and
    what is no member behind the last one, are passed over.

    Raises `InputError` where the file is cut off, and where it is damaged.
    """
    packed = file.read(block)
    while packed and (packed.startswith(packing.begins) or _may_begin(packing, packed)):
        member = packing.unpacker()
        while not member.eof:
            try:
                data = member.decompress(packed, block)
            except _WRONG as error:  # type: ignore[misc] # isal's stub takes its class for an object
                raise InputError(
                    f"{path}: the {packing.name} file is damaged ({error}); copy it here again"
                ) from None
            yield data
            packed = b""
            if not member.eof and member.needs_input and not (packed := file.read(block)):
                raise InputError(
                    f"{path}: the {packing.name} file is cut off: it ends in the middle of its data; copy it "
                    "here again"
                )
        packed = member.unused_data.lstrip(b"\0")
        while len(packed) < LONGEST_MAGIC and (more := file.read(block)):
            packed = (packed + more).lstrip(b"\0")
    if packed:
        _warn_of_bytes_behind(path, packing.name)


def _may_begin(packing: Packing, packed: bytes) -> bool:
    """Whether a file ends in the middle of a member's first bytes."""
    return any(begin.startswith(packed) for begin in packing.begins)


@cache  # a file is read more than once
def _warn_of_bytes_behind(path: Path, packing: str) -> None:
    log.warning(
        "%s: what stands behind the end of its %s data is no %s, and is ignored", path, packing, packing
    )
