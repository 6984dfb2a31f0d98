"""What a file must be: its SHA-256, or Git's id for it, which is what a Git server states."""

import hashlib
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
