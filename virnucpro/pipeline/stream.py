"""Input that can be read once, as from a pipe: kept as a file, since a run reads its input more than once."""

import os
import shutil
import tempfile
from pathlib import Path

from virnucpro.errors import InputError
from virnucpro.files import atomic, naming

STDIN = Path("-")
_NAMELESS = ("/dev/", "/proc/")


def is_stream(path: Path) -> bool:
    """Whether it is standard input (`-`), a pipe, or what a shell makes of `<(...)`."""
    return path == STDIN or path.is_fifo() or path.is_socket()


def sample_file(path: Path) -> Path:
    """What names the sample: the path itself, `stdin` for a stream without a name of its own."""
    nameless = path == STDIN or str(path.absolute()).startswith(_NAMELESS)
    return Path("stdin") if nameless and is_stream(path) else path


class AtRest:
    """Input that can be read again: the file itself, or, of a stream, a copy, which has no name, and is gone
    with this object or its process, until a run keeps it."""

    def __init__(self, path: Path, folder: Path) -> None:
        """A copy lies on the disk of `folder`, which need not be there. Raises `InputError` where it cannot
        be written, and where standard input is a terminal."""
        self.path = self._given = path
        if not is_stream(path):
            return
        if path == STDIN and os.isatty(0):
            raise InputError("-: standard input is a terminal; give a file, or pipe sequences in")
        place = next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())
        try:
            self._copy = tempfile.TemporaryFile(dir=place)  # noqa: SIM115
            with naming(place), open(0 if path == STDIN else path, "rb", closefd=path != STDIN) as stream:
                shutil.copyfileobj(stream, self._copy, 1 << 20)
                self._copy.flush()
        except PermissionError as error:
            why = f"{error.filename or place}: cannot be read or written ({error.strerror})"
            raise InputError(f"{why}; choose another --output-dir") from None
        self.path = Path(f"/dev/fd/{self._copy.fileno()}")

    def kept_in(self, work: Path) -> Path:
        """The file's place during a run: a copy lies in the run's folder, where --resume needs it too."""
        if self.path == self._given:
            return self.path
        kept = work / "input" / sample_file(self._given).name
        if not kept.exists():
            with atomic(kept) as temporary:
                shutil.copyfile(self.path, temporary)
        return kept
