"""Failures that a person can act on: one line and one exit code for each, said in one place."""

import errno
import os
import shutil
import sys
from pathlib import Path


class InputError(Exception):
    """Wrong input or usage: the message says what is wrong, where, and what to do."""


class OutOfMemory(Exception):
    """The device ran out of memory; a rerun with a smaller token budget can pass."""


class Busy(Exception):
    """Another run holds what this one needs; the message says who. The same command can pass later."""


class MachineError(Exception):
    """The machine failed, not the input: a full disk, no memory, a mount that is gone."""


class RankFailed(RuntimeError):
    """One or more ranks of a stage ended without finishing; the message names them and their logs."""


EXIT_CODES: dict[type[Exception], int] = {
    InputError: 2,
    MachineError: 74,  # EX_IOERR
    OutOfMemory: 75,  # EX_TEMPFAIL: Nextflow tries again, with a smaller token budget
    Busy: 75,
    RankFailed: 1,
}

# Everything that `explain` may know, to be caught.
FAILURES: tuple[type[Exception], ...] = (*EXIT_CODES, OSError, MemoryError, RuntimeError)

_GO_ON = "then go on with --resume (Nextflow: -resume)"
_GONE = f"its disk or network mount does not answer; see to it, {_GO_ON}"
_FULL = f"no space is left there; free some, {_GO_ON}"
_OF_THE_MACHINE = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: f"your quota there is used up; free some, {_GO_ON}",
    errno.EROFS: "that file system is read-only; choose another folder",
    errno.ENAMETOOLONG: "the name is too long for its file system; choose a shorter one",
    errno.EFBIG: "that file system takes no file of this size; choose another folder",
    errno.EMFILE: "too many open files; raise the limit (ulimit -n)",
    errno.ENOMEM: f"no memory is left; free some, {_GO_ON}",
    **dict.fromkeys(
        (errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ENODEV, errno.EHOSTDOWN, errno.EREMOTEIO), _GONE
    ),
}


def explain(error: Exception) -> tuple[int, str] | None:
    """The exit code and the line for a failure that is no fault of the program; None for one that is."""
    for kind, code in EXIT_CODES.items():
        if isinstance(error, kind):
            return code, str(error)
    torch = sys.modules.get("torch")
    if torch and isinstance(error, torch.OutOfMemoryError):
        return EXIT_CODES[OutOfMemory], f"out of GPU memory: {str(error).splitlines()[0]}"
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    ):
        words = str(error).splitlines()[-1:]
        return EXIT_CODES[MachineError], f"no memory is left ({''.join(words)}); free some, {_GO_ON}"
    if isinstance(error, OSError):
        return EXIT_CODES[MachineError], _of_the_disk(error)
    return None


def _of_the_disk(error: OSError) -> str:
    where = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    number = error.errno
    if number is None and where and not _room(Path(where)):
        number = errno.ENOSPC  # numpy says only how many of its numbers it wrote
    cause = _OF_THE_MACHINE.get(number or 0) or error.strerror or str(error)
    return f"{where}: {cause}" if where else cause


def _room(path: Path) -> int:
    """Bytes free where `path` would be."""
    there = next((folder for folder in path.absolute().parents if folder.is_dir()), Path("/"))
    return shutil.disk_usage(there).free // 4096
