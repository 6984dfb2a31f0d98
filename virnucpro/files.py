"""File habits shared by every step: whole files or none, one rule for names, nothing removed but our own.

A folder is ours when it carries our mark, a file `.virnucpro` that says what the folder is. What is still
being made has a name that ends in `.virnucpro-partial`. Nothing else is ever removed or replaced.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from virnucpro.errors import InputError

MARK = ".virnucpro"
RESULTS, UNFINISHED, SHARDS = "results", "unfinished work", "shards of ESM-2"  # what marks say
_PARTIAL = ".virnucpro-partial"
_HALF_A_MARK = f".{MARK}{_PARTIAL}"
_SUFFIX = re.compile(r"\.(fa|fasta|fna|fas|fq|fastq)(\.(gz|bgz|bz2|xz|zst))?$|\.(bam|cram)$", re.IGNORECASE)
_LONGEST_NAME = 200  # of 255 bytes: `.<sample>_identified_nucleotide.fa.virnucpro-partial` must fit
_UNFIT = re.compile(
    r"^[-#]|[\0-\x1f\x7f$*?]|\s$"
)  # what Nextflow's staging cannot hold, or a shell takes for more
_TAKEN = ("", "pipeline_info", "report.html", "summary.tsv")


def sample_name(path: Path) -> str:
    """The file's name without `.fa(sta)(.gz)` and the like; characters a shell could trip over become `_`.

    The rule of functions/samples.nf as well. Raises `InputError` for a name that no sample, and so no folder
    of the output, can have.

    >>> sample_name(Path("reads/run 7.fasta.gz"))
    'run_7'
    """
    name = re.sub(r"[^A-Za-z0-9._+-]", "_", _SUFFIX.sub("", path.name))
    if _UNFIT.search(path.name):
        shown = path.name.encode("unicode_escape").decode()
        why = "a file name must not begin with - or #, end with a blank, or hold $ * ? or control characters"
        raise InputError(f"{shown!r}: {why}; rename the file, or link to it under another name")
    if name in _TAKEN or name.startswith("."):
        raise InputError(f"{path}: {name!r} cannot name a sample; rename the file")
    if len(name) > _LONGEST_NAME:
        raise InputError(
            f"{path}: its sample name has {len(name)} characters, more than {_LONGEST_NAME}; rename the file"
        )
    return name


def refuse(sample: str, reason: str, path: Path) -> None:
    """Write why a sample drops out of a run, for the report."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps({"sample": sample, "reason": reason}) + "\n", encoding="utf-8")


def file_number(path: Path) -> int:
    """The N of `output_N.fa` and of every file made from it. Raises `InputError` for another name.

    >>> file_number(Path("nucleotide/output_12_DNABERT_S.pt"))
    12
    """
    found = re.match(r"output_(\d+)(?=[_.])", path.name)
    if not found:
        raise InputError(f"{path}: a name like output_1… is needed, to know which files belong together")
    return int(found.group(1))


@contextmanager
def atomic(path: Path, replace_folder: bool = False) -> Iterator[Path]:
    """Give a temporary name beside `path`; on success sync it and rename it, on any failure remove it.

    Works for a file, which replaces one that is there, and for a folder, which replaces none but one that the
    caller knows to be ours (`replace_folder`). Raises `InputError` when the folder cannot be written.
    """
    temporary, old = (path.with_name(f".{path.name}{end}") for end in (_PARTIAL, f".old{_PARTIAL}"))
    try:
        with naming(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_partial(temporary)  # a killed process may have left it
            yield temporary
            _sync(temporary)
            if replace_folder and path.is_dir():
                path.rename(old)
            temporary.replace(path)
    except OSError as error:
        if error.filename == str(temporary):
            error.filename = str(path)
        if isinstance(error, PermissionError):
            raise InputError(f"{error.filename}: cannot be written; choose another output folder") from error
        raise
    finally:
        _remove_partial(temporary)
        if replace_folder:
            _remove_partial(old)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Say in an `OSError` that comes without a file's name, as from a full disk, that it was `path`."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def claim(folder: Path, what: str, **facts: Any) -> None:
    """Make the folder, or take one that is empty, and mark it as ours: `what` it is, and `facts` of it.

    Raises `InputError` for a folder that holds something and is not ours.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if mark(folder).get("virnucpro") != what and any(path.name != _HALF_A_MARK for path in folder.iterdir()):
        if (folder / MARK).exists():
            raise InputError(f"{folder / MARK}: does not say {what!r}; remove that folder, or choose another")
        raise InputError(f"{folder}: holds files that are not virnucpro's; choose another folder")
    set_mark(folder, what, **facts)


def set_mark(folder: Path, what: str, **facts: Any) -> None:
    """Mark a folder that is known to be ours."""
    with atomic(folder / MARK) as temporary:
        temporary.write_text(json.dumps({"virnucpro": what, **facts}) + "\n", encoding="utf-8")


def mark(folder: Path) -> dict[str, Any]:
    """What the folder's mark says; nothing for a folder without one, for a link, and for a damaged mark."""
    if folder.is_symlink():
        return {}
    try:
        said = json.loads((folder / MARK).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def remove_own(folder: Path, what: str) -> None:
    """Remove a folder that is marked as `what`; its mark goes last, so that what a kill leaves is still ours.

    Raises `InputError` for any other folder.
    """
    if mark(folder).get("virnucpro") != what:
        raise InputError(f"{folder}: is not marked as virnucpro's ({what}), so it stays; remove it yourself")
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != MARK:
            path.unlink()
    (folder / MARK).unlink()
    folder.rmdir()


def remove_empty(folder: Path) -> None:
    """Remove the folder and those inside it as far as they are empty, but for what a killed `claim` left."""
    for inner, _, _ in os.walk(folder, topdown=False):
        (Path(inner) / _HALF_A_MARK).unlink(missing_ok=True)
        if not any(Path(inner).iterdir()):
            Path(inner).rmdir()


def _remove_partial(path: Path) -> None:
    assert path.name.endswith(_PARTIAL), "only what is being made"
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """See that the content is on the disk before the name is; else a crash leaves a name without content."""
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file() and not file.is_symlink():
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
