"""Whole files or none; names that can be; nothing removed but our own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from virnucpro import files
from virnucpro.errors import InputError
from virnucpro.files import atomic, claim, mark, remove_empty, remove_own, sample_name


def test_files_that_differ_in_their_ending_do_not_share_a_temporary_name(tmp_path: Path) -> None:
    """P46."""
    with atomic(tmp_path / "a.pt") as first, atomic(tmp_path / "a.h5") as second:
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "a.pt").read_text() == "first" and (tmp_path / "a.h5").read_text() == "second"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("before")
    with pytest.raises(ValueError, match="half way"), atomic(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise ValueError("half way")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "before"


def test_content_is_on_the_disk_before_its_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power failure right after the rename must not leave a whole name on nothing."""
    synced: list[tuple[int, bool]] = []
    monkeypatch.setattr(
        files.os, "fsync", lambda fd: synced.append((os.fstat(fd).st_ino, (tmp_path / "a").exists()))
    )
    with atomic(tmp_path / "a") as temporary:
        temporary.write_text("content")
    assert synced == [((tmp_path / "a").stat().st_ino, False)]
    with atomic(tmp_path / "folder") as temporary:
        (temporary / "inner").mkdir(parents=True)
        (temporary / "inner" / "b").write_text("content")
    assert synced[1:] == [((tmp_path / "folder" / "inner" / "b").stat().st_ino, True)]


def test_a_folder_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine").write_text("precious")
    with pytest.raises(OSError, match="not empty"), atomic(tmp_path / "set") as temporary:
        temporary.mkdir()
    assert (tmp_path / "set" / "mine").read_text() == "precious"
    with atomic(tmp_path / "set", replace_folder=True) as temporary:
        temporary.mkdir()
    assert [path.name for path in tmp_path.iterdir()] == ["set"] and not any((tmp_path / "set").iterdir())


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "a").symlink_to(tmp_path / "precious")
    (tmp_path / ".b.virnucpro-partial").symlink_to(tmp_path / "precious")
    for name in ("a", "b"):
        with atomic(tmp_path / name) as temporary:
            temporary.write_text("ours")
    assert (tmp_path / "precious").read_text() == "mine"
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text() == "ours"


def test_only_what_is_marked_is_removed(tmp_path: Path) -> None:
    ours, theirs, link = tmp_path / "ours", tmp_path / "theirs", tmp_path / "link"
    claim(ours, "work", sample="s")
    assert mark(ours) == {"virnucpro": "work", "sample": "s"}
    (ours / "inner").mkdir()
    (ours / "inner" / "file").write_text("x")
    (ours / "out").symlink_to(theirs)
    theirs.mkdir()
    (theirs / "mine").write_text("precious")
    link.symlink_to(ours)
    with pytest.raises(InputError, match="holds files that are not virnucpro's"):
        claim(theirs, "work")
    for folder, what in ((theirs, "work"), (ours, "results"), (link, "work"), (tmp_path / "nowhere", "work")):
        with pytest.raises(InputError, match="is not marked as virnucpro's"):
            remove_own(folder, what)
    assert (ours / "inner" / "file").exists()
    claim(ours, "work")
    remove_own(ours, "work")
    assert not ours.exists() and (theirs / "mine").read_text() == "precious"


@pytest.mark.parametrize("said", ["", "{", "[]", '"virnucpro"', "\udcff"])
def test_a_damaged_mark_is_none(tmp_path: Path, said: str) -> None:
    (tmp_path / ".virnucpro").write_bytes(said.encode(errors="surrogateescape"))
    assert mark(tmp_path) == {}
    with pytest.raises(InputError, match=r"/\.virnucpro: does not say 'work'; remove that folder"):
        claim(tmp_path, "work")


def test_what_a_kill_leaves_of_a_removal_is_still_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim(tmp_path / "ours", "work")
    for name in "abc":
        (tmp_path / "ours" / name).write_text("x")
    real, left = Path.unlink, 2

    def unlink(path: Path, missing_ok: bool = False) -> None:
        nonlocal left
        if path.parent.name == "ours" and not (left := left - 1):
            raise KeyboardInterrupt
        real(path, missing_ok)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "unlink", unlink)
        remove_own(tmp_path / "ours", "work")
    assert len(list((tmp_path / "ours").iterdir())) == 3
    remove_own(tmp_path / "ours", "work")
    assert not (tmp_path / "ours").exists()


KILLED_CLAIM = """
import os, signal, sys
from pathlib import Path
from virnucpro import files
files._sync = lambda _: os.kill(os.getpid(), signal.SIGKILL)  # where the mark is not yet in its place
files.claim(Path(sys.argv[1]) / "ours" / "folder", "work")
"""


def test_what_a_kill_leaves_of_a_claim_is_taken_or_goes(tmp_path: Path) -> None:
    """Else a checkpoint folder would be refused for ever, or an attempt's stay beside the results."""

    def killed() -> None:
        done = subprocess.run([sys.executable, "-c", KILLED_CLAIM, tmp_path], cwd=Path(__file__).parents[2])
        assert done.returncode == -signal.SIGKILL and any((tmp_path / "ours" / "folder").iterdir())

    killed()
    claim(tmp_path / "ours" / "folder", "work")
    assert mark(tmp_path / "ours" / "folder") == {"virnucpro": "work"}
    remove_own(tmp_path / "ours" / "folder", "work")
    killed()
    remove_empty(tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def test_empty_folders_go_and_no_file_does(tmp_path: Path) -> None:
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "a" / "d").mkdir()
    (tmp_path / "a" / "d" / "file").write_text("x")
    remove_empty(tmp_path / "a")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "d", "file"]


NAMES = {
    "reads.fa": "reads",
    "run 7.FASTA.gz": "run_7",
    "a.b.fna": "a.b",
    "x.fas": "x",
    "a.fastq.gz": "a",
    "a.FQ.bz2": "a",
    "a.fasta.xz": "a",
    "a.fq.zst": "a",
    "a.bam": "a",
    "a.fa.cram": "a.fa",
    "a.zst": "a.zst",
    "odd[1].fa.txt": "odd_1_.fa.txt",
    "é.fa": "_",
    "a'b\"c;d&e|f.fa": "a_b_c_d_e_f",
    "x" * 200 + ".fa": "x" * 200,
}
NO_NAMES = [
    *(".fa", "..fa", "...fa", ".hidden.fa", ".fasta.gz", "-s1.fa", "--force.fa", "#a.fa", "p$x.fa", "a*.fa"),
    *("a?.fa", "a\nb.fa", "a\tb.fa", "\x1b[31m.fa", "a\x7f.fa", "a.fa ", "report.html", "report.html.fa"),
    *("pipeline_info", "pipeline_info.fa.gz", "summary.tsv.fa", "x" * 201 + ".fa"),
]


@pytest.mark.parametrize(("file", "name"), NAMES.items())
def test_sample_names(file: str, name: str) -> None:
    assert sample_name(Path("folder") / file) == name


@pytest.mark.parametrize("file", NO_NAMES)
def test_names_that_no_sample_can_have(file: str) -> None:
    with pytest.raises(InputError) as caught:
        sample_name(Path("folder") / file)
    message = str(caught.value)
    assert "rename the file" in message and message.isprintable()
