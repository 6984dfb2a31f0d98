"""What is entered is whole; what is torn, changed or forged is not."""

from pathlib import Path

import pytest

from virnucpro.journal import Journal


@pytest.fixture
def work(tmp_path: Path) -> Path:
    for name in ("a", "b", "folder/c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"content of {name}")
    journal = Journal(tmp_path)
    journal.enter("pair", [tmp_path / "a", tmp_path / "folder" / "c"])
    journal.enter("one", [tmp_path / "b"])
    return tmp_path


def test_what_is_entered_is_whole(work: Path) -> None:
    assert Journal(work).whole("pair") == [work / "a", work / "folder" / "c"]
    assert Journal(work).whole("one") == [work / "b"]
    assert Journal(work).whole("other") is None
    assert Journal(work / "folder").whole("pair") is None, "no journal at all"


def test_a_later_entry_counts(work: Path) -> None:
    journal = Journal(work)
    (work / "b").write_text("another")
    assert journal.whole("one") is None
    journal.enter("one", [work / "b", work / "a"])
    assert journal.whole("one") == [work / "b", work / "a"]


@pytest.mark.parametrize("name", ["a", "folder/c"])
def test_one_changed_file_of_an_entry_is_enough(work: Path, name: str) -> None:
    content = bytearray((work / name).read_bytes())
    content[3] ^= 1
    (work / name).write_bytes(content)
    assert Journal(work).whole("pair") is None and Journal(work).whole("one") is not None
    (work / name).unlink()
    assert Journal(work).whole("pair") is None


def test_every_bit_of_the_journal_counts(work: Path) -> None:
    """A changed entry is none; it never names another file, and costs its neighbours nothing."""
    path = work / "journal"
    whole = path.read_bytes()
    for place in range(len(whole)):
        for bit in (1, 0x20):
            content = bytearray(whole)
            content[place] ^= bit
            path.write_bytes(content)
            found = [Journal(work).whole(name) for name in ("pair", "one")]
            assert found in (
                [None, [work / "b"]],
                [[work / "a", work / "folder" / "c"], None],
                [None, None],  # the line end between two
                [[work / "a", work / "folder" / "c"], [work / "b"]],  # one around them
            )
            assert found.count(None) >= (chr(whole[place]) != "\n")


def test_a_torn_line_takes_no_other_with_it(work: Path) -> None:
    path = work / "journal"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 20])
    assert Journal(work).whole("one") is None and Journal(work).whole("pair") is not None
    Journal(work).enter("one", [work / "b"])
    assert Journal(work).whole("one") == [work / "b"]
