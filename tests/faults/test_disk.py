"""A disk that is full, at any moment, or read-only: one line, exit code 74, the same bytes after a rerun."""

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import SOAK
from tests.faults.conftest import V1, V2, Predict, Reference, published

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="NOT RUN: only root can mount a small file system")


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A tmpfs of its own at `folder`."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "none", folder], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"NOT RUN: no file system can be mounted here ({done.stderr.strip()})")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(predict: Predict, undisturbed: Reference, disk: Path, size: int, options: tuple[str, ...]) -> bool:
    """Run on a disk of `size` kB; whether it was too small."""
    with mounted(disk, f"size={size}k"):
        done = predict.run(disk / "out", *options)
        full = done.code != 0
        if full:
            assert done.code == 74, done.said
            assert done.last.startswith(f"Error: {disk}/out/") and "no space is left there" in done.last
            assert not (disk / "out" / "reads").exists() and not (disk / "out" / "report.html").exists()
            subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True)
            done = predict.run(disk / "out", *options, "--resume")
        assert done.code == 0, done.said
        assert published(disk / "out") == undisturbed(options).files
    return full


def test_a_full_disk_at_any_size(predict: Predict, undisturbed: Reference, tmp_path: Path) -> None:
    undisturbed(V1), undisturbed(V2)
    sizes = {V1: range(20, 420, 40), V2: range(40, 540, 50)} if SOAK else {V1: (40, 120), V2: (120, 200)}
    with ThreadPoolExecutor(2) as pool:
        full = [
            pool.submit(fill, predict, undisturbed, tmp_path / f"{len(options)}_{size}", size, options)
            for options in sizes
            for size in sizes[options]
        ]
    assert sum(one.result() for one in full) >= 3, "the sizes did reach into the runs"


def test_a_full_folder_for_temporary_files(predict: Predict, tmp_path: Path) -> None:
    """Ids are compared there, eight bytes each: more of them than the folder has room for."""
    fasta = tmp_path / "many.fa"
    fasta.write_text("".join(f">r{n}\nTAATTAATTAATTAATTAATTAA\n" for n in range(3000)))  # no open frame
    with mounted(tmp_path / "temporary", "size=4k") as disk:
        done = Predict(fasta, predict.models).run(tmp_path / "out", env={"TMPDIR": str(disk)})
    assert done.code == 74 and done.last.startswith(f"Error: {disk}: no space is left there"), done.said
    assert not (tmp_path / "out").exists()


def test_a_disk_that_is_read_only(predict: Predict, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=100k,ro") as disk:
        done = predict.run(disk / "out")
    assert (done.code, done.last) == (
        74,
        f"Error: {disk}/out: that file system is read-only; choose another folder",
    )
