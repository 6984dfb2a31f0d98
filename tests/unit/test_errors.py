"""Every failure is one line with its cause and what to do, and has one exit code."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from virnucpro.errors import Busy, InputError, MachineError, OutOfMemory, RankFailed, explain
from virnucpro.files import naming


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (InputError("in.fa: wrong"), 2, "in.fa: wrong"),
        (MachineError("rank 0: no space"), 74, "rank 0: no space"),
        (OutOfMemory("rank 0"), 75, "rank 0"),
        (Busy("out: another run"), 75, "out: another run"),
        (RankFailed("rank 1"), 1, "rank 1"),
        (OSError(errno.ENOSPC, "x", "/d/f"), 74, "/d/f: no space is left there; free some, then go on with"),
        (OSError(errno.EDQUOT, "x", "/d/f"), 74, "/d/f: your quota there is used up"),
        (OSError(errno.EROFS, "x", "/d/f"), 74, "/d/f: that file system is read-only; choose another"),
        (OSError(errno.ENAMETOOLONG, "x", "/d/f"), 74, "/d/f: the name is too long"),
        (OSError(errno.ESTALE, "x", "/d/f"), 74, "/d/f: its disk or network mount does not answer"),
        (OSError(errno.EIO, "x", "/d/f"), 74, "/d/f: its disk or network mount does not answer"),
        (OSError(errno.ENOTCONN, "x", b"/d/f"), 74, "/d/f: its disk or network mount does not answer"),
        (OSError(errno.EMFILE, "x", "/d/f"), 74, "too many open files"),
        (OSError(errno.ELOOP, "Too many links", "/d/f"), 74, "/d/f: Too many links"),
        (MemoryError(), 74, "no memory is left"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried\nmore"),
            75,
            "out of GPU memory: CUDA out of memory",
        ),
    ],
)
def test_known_failures(error: Exception, code: int, words: str) -> None:
    known = explain(error)
    assert known is not None and known[0] == code and words in known[1] and "\n" not in known[1]


@pytest.mark.parametrize("error", [ValueError("x"), RuntimeError("x"), KeyError("x")])
def test_a_fault_of_the_program_keeps_its_traceback(error: Exception) -> None:
    assert explain(error) is None


def test_no_memory_in_numpy_and_torch() -> None:
    for allocate in (lambda: np.ones(1 << 48), lambda: torch.ones(1 << 48)):
        with pytest.raises((MemoryError, RuntimeError)) as caught:
            allocate()
        known = explain(caught.value)
        assert known is not None and known[0] == 74 and "no memory is left" in known[1], caught.value


def test_a_file_is_named_where_the_system_names_none(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught, naming(tmp_path / "f"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.filename == str(tmp_path / "f")
    with pytest.raises(OSError) as caught, naming(tmp_path / "g"), naming(tmp_path / "f"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.filename == str(tmp_path / "f"), "the inner name is the nearer one"


@pytest.mark.parametrize("closed", ["2>&-", "2>&- 1>&-", "0<&- 1>&- 2>&-"])
@pytest.mark.parametrize("command", ["utils validate {fasta}", "utils validate {nowhere}"])
def test_closed_standard_streams(tmp_path: Path, closed: str, command: str) -> None:
    """As some cron jobs start programs: the exit code is right, and no file gets the messages."""
    fasta = tmp_path / "in.fa"
    fasta.write_text(">a\nACGT\n")
    words = command.format(fasta=fasta, nowhere=tmp_path / "no.fa")
    done = subprocess.run(["bash", "-c", f"{sys.executable} -m virnucpro {words} {closed}"])
    assert done.returncode == (0 if "in.fa" in words else 2)
    assert fasta.read_text() == ">a\nACGT\n"


def test_a_reader_that_has_read_enough() -> None:
    """`virnucpro models list | head -0` ends without a word."""
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{sys.executable} -m virnucpro models list | true"],
        capture_output=True,
        text=True,
    )
    assert done.stderr == "" and done.returncode in (0, 1, 141)
