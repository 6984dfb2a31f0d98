"""What a file must be: its SHA-256, or Git's id for it, which is what a Git server states; the CRC-32 that
torch writes beside all that is in its files."""

import hashlib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from virnucpro.errors import InputError


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def git_blob(path: Path) -> str:
    """The id that Git gives a file's content: SHA-1 of its size and bytes, in hexadecimal."""
    with path.open("rb") as file:
        blob = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
        return hashlib.file_digest(file, lambda: blob).hexdigest()


def matches(path: Path, stated: str) -> bool:
    """Whether a file is what a server states: 64 digits are a SHA-256, 40 a Git blob id."""
    return stated == (git_blob(path) if len(stated) == 40 else file_sha256(path))


def weights_sha256(path: Path) -> str:
    """SHA-256 of a weight file; of a folder of them, that of its files' names and sums."""
    if path.is_file():
        return file_sha256(path)
    if not path.is_dir():
        raise InputError(f"{path}: no such file")
    lines = [f"{file_sha256(file)}  {file.name}\n" for file in sorted(path.iterdir()) if file.is_file()]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@contextmanager
def torch_file(path: Path) -> Iterator[zipfile.ZipFile]:
    """A file of `torch.save` as the zip archive that it is; reading it compares every sum.

    Raises `InputError` for one that is missing, and for whatever `zipfile` raises in the block.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise zipfile.BadZipFile("compressed, as torch writes nothing")
            yield archive
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, ValueError, OverflowError) as error:
        raise InputError(
            f"{path}: cannot be read: damaged, cut off, or not a file of torch 1.6 or later "
            f"({first_line(error)}); make or copy it again"
        ) from None


def check_torch_file(path: Path, tensors: bool = True) -> None:
    """Compare all that is in a file of `torch.save`, or all but the numbers in `tensors`, with the CRC-32
    beside it, which torch writes and never looks at. Raises `InputError`."""
    with torch_file(path) as archive:
        for entry in archive.infolist():
            with archive.open(entry) as content:
                while (tensors or "/data/" not in entry.filename) and content.read(1 << 20):
                    pass


def first_line(error: Exception) -> str:
    """What an error says, in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
