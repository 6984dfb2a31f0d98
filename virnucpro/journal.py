"""What of an unfinished run is whole: every finished file is entered with its size and BLAKE2b.

A line is an entry: BLAKE2b of what follows, then a JSON object with the entry's name and its files. It is
written at once, so a crash leaves it whole or not at all; what is damaged counts as not entered.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from virnucpro.files import naming


class Journal:
    """The journal of what lies under `folder`; several processes may enter at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "journal"
        self._read = 0  # bytes of it that `_entries` stands for
        self._entries: dict[str, dict[str, list[int | str]]] = {}

    def enter(self, name: str, files: Iterable[Path]) -> None:
        """Note that `files`, all under the folder, are whole; they replace what the name stood for."""
        facts = {str(path.relative_to(self.folder)): _facts(path) for path in files}
        entry = json.dumps({"name": name, "files": facts})
        with naming(self.path), self.path.open("ab") as file:
            file.write(f"\n{_sum(entry)} {entry}\n".encode())  # on its own line, even behind one that was cut
            file.flush()
            os.fsync(file.fileno())

    def whole(self, name: str) -> list[Path] | None:
        """The files that were entered under the name; None when they were not, or any of them has changed."""
        self._look()
        if (facts := self._entries.get(name)) is None:
            return None
        known = {self.folder / path: stated for path, stated in facts.items()}
        return list(known) if all(_facts(path) == stated for path, stated in known.items()) else None

    def _look(self) -> None:
        """Read the entries that have come since the last look."""
        if not self.path.exists():
            return
        with naming(self.path), self.path.open("rb") as file:
            file.seek(self._read)
            lines = file.read()
        self._read += len(lines)
        for line in lines.split(b"\n"):
            stated, _, entry = line.decode(errors="replace").partition(" ")
            if entry and stated == _sum(entry):
                content = json.loads(entry)
                self._entries[content["name"]] = content["files"]


def _facts(path: Path) -> list[int | str] | None:
    """Size and BLAKE2b of a file; None when there is none."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            return [size, hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()]
    except FileNotFoundError:
        return None


def _sum(entry: str) -> str:
    return hashlib.blake2b(entry.encode(), digest_size=16).hexdigest()
