"""File habits shared by every step: whole files or none, one rule for names."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from virnucpro.errors import InputError

_FASTA_SUFFIX = re.compile(r"\.(fa|fasta|fna|fas)(\.gz)?$", re.IGNORECASE)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; rename it on success, remove it on any failure.

    Works for a file and for a folder. Raises `InputError` when the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(temporary)  # a killed process may have left it
        yield temporary
        if path.is_dir():
            shutil.rmtree(path)
        temporary.rename(path)
    except PermissionError as error:
        raise InputError(f"{error.filename}: cannot be written; choose another output folder") from error
    finally:
        _remove(temporary)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sample_name(path: Path) -> str:
    """The file's name without `.fa(sta)(.gz)`; characters a shell could trip over become `_`.

    >>> sample_name(Path("reads/run 7.fasta.gz"))
    'run_7'
    """
    return re.sub(r"[^A-Za-z0-9._+-]", "_", _FASTA_SUFFIX.sub("", path.name))


def file_number(path: Path) -> int:
    """The N of `output_N.fa` and of every file made from it. Raises `InputError` for another name.

    >>> file_number(Path("nucleotide/output_12_DNABERT_S.pt"))
    12
    """
    found = re.match(r"output_(\d+)(?=[_.])", path.name)
    if not found:
        raise InputError(f"{path}: a name like output_1… is needed, to know which files belong together")
    return int(found.group(1))
