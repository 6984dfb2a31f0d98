"""Extraction by blocks gives the bytes that a record at a time gave, whatever the records."""

import os
import random
import tracemalloc
from pathlib import Path

import pytest

from benchmarks.yardstick.extract import extract_frames as record_by_record
from virnucpro.errors import MachineError
from virnucpro.sequences import cut, extract, text
from virnucpro.sequences.extract import extract_frames

ALPHABETS = ("ACGT", "ACGTacgtn", "ACGUacgu", "ACGTRYKMSWBDHVNryn", "N", "AGC", "ACGTN" + "ACG" * 20)


def odd_records(number: int, draw: random.Random) -> str:
    """Records of any letters that pass, of lengths around those of windows, wrapped and headed oddly."""
    lines = []
    for record in range(number):
        size = draw.choice([draw.randint(1, 9), draw.randint(1, 80), draw.randint(20, 60), 20, 21, 40, 300])
        dna = "".join(draw.choices(draw.choice(ALPHABETS), k=size))
        width = draw.choice([1, 7, 60, 1000])
        lines.append(f">{draw.choice('aé|>')}{record}{draw.choice(['', ' b c', chr(9) + 'x', ' '])}")
        lines += [dna[place : place + width] for place in range(0, size, width)]
        lines += [""] * draw.randint(0, 1)
    return "\n".join(lines) + draw.choice(["", "\n"])


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("block", "part", "window", "split"), [(1 << 17, 1 << 19, 20, 10_000), (97, 64, 21, 300)]
)
def test_odd_records_give_the_bytes_of_the_yardstick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, part: int, window: int, split: int
) -> None:
    """With blocks and parts so small that records, headers and split files end anywhere in them, too."""
    monkeypatch.setattr(text, "BLOCK", block)
    monkeypatch.setattr(cut, "PART", part)
    (tmp_path / "in.fa").write_text(odd_records(1500, random.Random(block)), encoding="utf-8")
    record_by_record(tmp_path / "in.fa", tmp_path / "old", "s", window, split)
    extract_frames(tmp_path / "in.fa", tmp_path / "new", "s", window, split)
    assert files(tmp_path / "new") == files(tmp_path / "old")
    assert len((tmp_path / "new" / "s_layout.tsv").read_text().split("\n")) > 2500


def test_split_files_of_any_size(tmp_path: Path) -> None:
    (tmp_path / "in.fa").write_text(odd_records(12, random.Random(3)), encoding="utf-8")
    for size in (1, 3):
        record_by_record(tmp_path / "in.fa", tmp_path / f"old{size}", "s", 20, size)
        extract_frames(tmp_path / "in.fa", tmp_path / f"new{size}", "s", 20, size)
        assert files(tmp_path / f"new{size}") == files(tmp_path / f"old{size}")


def test_several_processes_give_the_same_in_the_same_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "BLOCK", 500)
    monkeypatch.setattr(cut, "PART", 200)
    (tmp_path / "in.fa").write_text(odd_records(300, random.Random(5)), encoding="utf-8")
    for threads in (1, 2):
        extract_frames(tmp_path / "in.fa", tmp_path / str(threads), "s", 20, 100, threads=threads)
    assert files(tmp_path / "1") == files(tmp_path / "2")


def _killed(job: object, size: int) -> None:
    os._exit(9)


def test_a_process_that_is_killed_is_said_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "_ALONE", 0)
    monkeypatch.setattr(extract, "lines_of", _killed)
    (tmp_path / "in.fa").write_text(odd_records(10, random.Random(5)), encoding="utf-8")
    with pytest.raises(MachineError, match="was killed"):
        extract_frames(tmp_path / "in.fa", tmp_path / "out", "s", 20, threads=2)
    assert not [*(tmp_path / "out").rglob("*.fa")]


def test_a_long_record_takes_three_times_its_size_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cut, "PART", 1 << 15)
    size = 4_000_000
    (tmp_path / "in.fa").write_bytes(b">a\n" + b"ACGTTGCATC" * (size // 10) + b"\n")
    tracemalloc.start()
    extract_frames(tmp_path / "in.fa", tmp_path / "out", "s", 5000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3.2 * size
