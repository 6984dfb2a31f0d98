"""Whole files or none."""

from pathlib import Path

import pytest

from virnucpro.files import atomic


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
