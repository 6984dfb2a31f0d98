"""FASTA in: what passes, and the one clear line for what does not."""

import gzip
import os
import re
import tracemalloc
from functools import partial
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from virnucpro.errors import InputError
from virnucpro.sequences import digests, text
from virnucpro.sequences.fasta import Record, read_fasta, read_frames, read_records, write_record

packed = partial(gzip.compress, mtime=0)


def read(tmp_path: Path, content: bytes) -> list[Record]:
    path = tmp_path / "in.fa"
    path.write_bytes(content)
    return list(read_fasta(path))


def test_records_keep_what_they_are(tmp_path: Path) -> None:
    records = read(tmp_path, b">a first words\r\nACgu\r\n\r\nNn\r\n>b\nRYK  MSW\n\n>c|x\nA")
    assert records == [
        Record(1, "a", "a first words", "ACguNn"),
        Record(2, "b", "b", "RYKMSW"),
        Record(3, "c|x", "c|x", "A"),
    ]
    assert records[0].dna == "ACgtNn"


def test_gzip_is_known_by_content(tmp_path: Path) -> None:
    two_members = packed(b">a\nAC\n") + packed(b">b\nGT\n")
    assert [record.id for record in read(tmp_path, two_members)] == ["a", "b"]


def test_byte_order_mark_and_missing_last_newline(tmp_path: Path) -> None:
    assert read(tmp_path, b"\xef\xbb\xbf>a\nAC")[0].sequence == "AC"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"ACGT\n", "line 1: FASTA starts with '>' and FASTQ with '@'"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", "line 1: this is binary data"),
        (b">a\nAC\n>\nGT\n", "record 2 (line 3) has no name"),
        (b">a\nAC\n>b\n>c\nA\n", "record 2 (line 3), 'b', has no sequence"),
        (b">a\nMEEPQSDPSV\n", "record 1 (line 1), 'a', holds 'E', which is no IUPAC nucleotide"),
        (b">a\nMEEPQSDPSV\n", "this looks like protein"),
        (b">a\nM-EPQ..PSV\n", "this looks like protein"),
        (b">a\nAC-GT\n", "holds '-'"),
        (b">a\nAC-GT\n>b\nACCG.\n", "this is an alignment; take its gaps out"),
        (b">a\nACGTXXXX\n", "where it stands for masked bases, write N"),
        (b">a\nACGT\n@r\nACGT\n+\nIIII\n", "this is FASTQ in a FASTA file; put the two into files"),
        (b">a\nAC\0GT\n", "this is binary data"),
        (b">a\nAC\xe4GT\n", "this is binary data"),
        (b">a\nAC1GT\n", "holds '1', which is no IUPAC nucleotide letter; nucleotide sequences, and nothing"),
        (
            b">a\nAC\n\nGT\nTT>b\nGT\n",
            "record 1 (line 1), 'a', has a header inside line 5: probably two files",
        ),
        (b"\n\n>a\nAC\n>b\rT\r>c>d\r\nGT>e\nGT", "record 3 (line 7), 'c>d', has a header inside line 8"),
        (
            packed(packed(b">a\nAC\n")),
            "line 1: this is gzip once more: the file was packed twice",
        ),
        (packed(b">a\nAC\n") + b"\x1f", "the gzip file is cut off: it ends in the middle"),
        (packed(b">a\nAC\n") + packed(b">b\nAC\n")[:5], "the gzip file is cut off"),
        (packed(b">a\nAC\n") + b"\0\0\x1f\x8b and more", "the gzip file is damaged"),
        (packed(b">a\nAC\n")[:-8] + b"\0" * 8, "the gzip file is damaged"),
        (b">a\nAC\n>\xff\xfe\nGT\n", "record 2 (line 3): the header is not UTF-8"),
        (
            b">a\nAC\n>b\nAC\n>a\nGT\n",
            "records 1 and 3 have one id, 'a' (the first word of the header); rename one of them, or have",
        ),
        (b">a one\nAC\n>a two\nGT\n", "records 1 and 2 have one id, 'a'"),
        (packed(b">a\n" + b"ACGT" * 999)[:-9], "the gzip file is cut off"),
        (b"\x1f\x8b\x08\x00damaged, not gzip at all", "the gzip file is damaged"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path: Path, content: bytes, message: str) -> None:
    """P5, P30, and the rest: file and record are named."""
    with pytest.raises(InputError) as caught:
        read(tmp_path, content)
    assert message in str(caught.value) and "in.fa" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_folder_and_pipe(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        list(read_fasta(tmp_path / "nothing.fa"))
    with pytest.raises(InputError, match="is a folder"):
        list(read_fasta(tmp_path))
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(InputError, match=f"{path}: is a pipe or a device.*write it to one first"):
            list(read_fasta(path))


@pytest.mark.parametrize("content", [b"", b"\n \r\n\r", b"\xef\xbb\xbf", b"\xef\xbb", packed(b"")])
def test_a_file_without_a_record_holds_none(tmp_path: Path, content: bytes) -> None:
    if content == b"\xef\xbb":  # the start of a byte order mark is none
        with pytest.raises(InputError, match="binary data"):
            read(tmp_path, content)
    else:
        assert read(tmp_path, content) == []


LINE_ENDS = [b"\n", b"\r\n", b"\r"]
lines = st.sampled_from([b">", b">a b", b"AC", b"nN", b"", b" A\tC ", b"-", b"A>b", b"\xff", b"\f", b"@r"])


@given(
    st.lists(st.tuples(lines, st.sampled_from(LINE_ENDS))),
    st.integers(1, 9),
    st.booleans(),
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
)
@example([(b">a", b"\r"), (b"AC", b"\r"), (b">b", b"\r"), (b"GT", b"\r")], 3, False, b"")
@example([(b">a", b"\r\n"), (b"A>b", b"\r")], 1, True, b"")
@example([(b">a", b"\r\n"), (b"AC", b"\r")], 1, False, b"\xef\xbb\xbf")
def test_line_ends_of_any_kind_and_blocks_of_any_size_change_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    content: list[tuple[bytes, bytes]],
    size: int,
    gzipped: bool,
    mark: bytes,
) -> None:
    path = tmp_path_factory.mktemp("lines") / "in.fa"

    def outcome(data: bytes) -> list[Record] | str:
        path.write_bytes(packed(data) if gzipped else data)
        try:
            return list(read_records(path))
        except InputError as error:
            return str(error).partition(", this file with")[0]  # up to the end of the block

    # A CR before an empty line that ends with LF would be one line end of two bytes.
    mixed = mark + b"".join(line + end for line, end in content)
    wanted = outcome(re.sub(b"\r\n|\r", b"\n", mixed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "BLOCK", size)
        assert outcome(mixed) == wanted
        assert outcome(re.sub(b"\r\n|\r", b"\n", mixed)) == wanted


@given(st.lists(st.text("ACGTUNacgtun \t", min_size=1).filter(str.strip), min_size=1), st.integers(1, 70))
def test_wrapping_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, sequences: list[str], width: int
) -> None:
    path = tmp_path_factory.mktemp("wrapped") / "in.fa"
    with path.open("w", newline="\r") as out:
        for number, sequence in enumerate(sequences, 1):
            write_record(out, f"r{number}", sequence, width)
    assert [(record.id, record.sequence) for record in read_fasta(path)] == [
        (f"r{number}", "".join(sequence.split())) for number, sequence in enumerate(sequences, 1)
    ]


def test_an_id_ends_at_ascii_blanks_alone(tmp_path: Path) -> None:
    """As other programs, and the index of proteins, have it."""
    [record] = read(tmp_path, ">a\u00a0b\u2028c d\nAC\n".encode())
    assert record.id == "a\u00a0b\u2028c" and record.header == "a\u00a0b\u2028c d"


PACKED = packed(b">a\nAC\n")


@pytest.mark.parametrize(
    ("content", "warned"),
    [
        (PACKED, False),
        (PACKED + b"\0" * 200_000, False),
        (PACKED + packed(b"") + b"\0\0" + packed(b">b\nGT\n"), False),
        (PACKED + b"signature-block", True),
        (PACKED + b"\0" * 70_000 + b"x", True),
    ],
)
def test_what_stands_behind_gzip(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes, warned: bool
) -> None:
    records = read(tmp_path, content)
    assert [record.id for record in records] == (["a", "b"] if b"\0\0\x1f\x8b" in content else ["a"])
    assert read(tmp_path, content) == records
    assert len(caplog.records) == warned  # once, however often the file is read
    assert not warned or f"{tmp_path / 'in.fa'}: what stands behind" in caplog.text


def test_a_long_record_is_held_twice_at_most(tmp_path: Path) -> None:
    """Whatever its line ends; and nothing is done again for every block."""
    size = 30_000_000
    for end, gzipped in ((b"", False), (b"\r", False), (b"\n", True)):
        line = b"ACGT" * 15 + end
        content = b">a\n" + line * (size // 60)
        (tmp_path / "in.fa").write_bytes(gzip.compress(content, 1) if gzipped else content)
        del content
        tracemalloc.start()
        [length] = [len(record.dna) for record in read_fasta(tmp_path / "in.fa")]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert length == size and peak < 2.4 * size


def test_little_gzip_of_much_fasta_is_unpacked_bit_by_bit(tmp_path: Path) -> None:
    (tmp_path / "in.fa").write_bytes(packed((b">a\n" + b"ACGT" * 25_000 + b"\n") * 300))
    assert (tmp_path / "in.fa").stat().st_size < text.BLOCK  # all of it is read at once
    tracemalloc.start()
    assert sum(1 for _ in read_frames(tmp_path / "in.fa")) == 300
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * text.BLOCK


def test_frames_that_are_damaged_are_named(tmp_path: Path) -> None:
    (tmp_path / "output_1.fa").write_bytes(b">a\nMKL\n>b\nM\xcbL\n")
    with pytest.raises(InputError, match=r"output_1.fa: record 2 \(line 3\), 'b', is damaged"):
        list(read_frames(tmp_path / "output_1.fa"))


def test_repeats_are_found_in_parts_of_the_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "_PER_PASS", 7)
    text = "".join(f">id_{i}\nA\n" for i in range(100))
    assert len(read(tmp_path, text.encode())) == 100
    with pytest.raises(InputError, match=r"records 42 and 101 have one id, 'id_41'"):
        read(tmp_path, (text + ">id_41\nC\n").encode())


def test_digest_collisions_are_not_repeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A digest that comes twice is only a suspicion; ids decide."""
    monkeypatch.setattr("virnucpro.sequences.fasta.DigestLog.repeated", lambda _: frozenset({7}))
    monkeypatch.setattr("virnucpro.sequences.fasta.digest", lambda _: 7)
    assert len(read(tmp_path, b">a\nA\n>b\nC\n")) == 2
