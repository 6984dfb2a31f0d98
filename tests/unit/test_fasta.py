"""FASTA in: what passes, and the one clear line for what does not."""

import gzip
from pathlib import Path

import pytest

from virnucpro.errors import InputError
from virnucpro.sequences import digests
from virnucpro.sequences.fasta import Record, read_fasta


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
    two_members = gzip.compress(b">a\nAC\n") + gzip.compress(b">b\nGT\n")
    assert [record.id for record in read(tmp_path, two_members)] == ["a", "b"]


def test_byte_order_mark_and_missing_last_newline(tmp_path: Path) -> None:
    assert read(tmp_path, b"\xef\xbb\xbf>a\nAC")[0].sequence == "AC"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no FASTA record"),
        (b"\n\n", "holds no FASTA record"),
        (b"@read\nACGT\n+\nIIII\n", "line 1: this is FASTQ"),
        (b"ACGT\n", "line 1: a FASTA file starts with '>'"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", "line 1: this is binary data"),
        (b">a\nAC\n>\nGT\n", "record 2 (line 3) has no name"),
        (b">a\nAC\n>b\n>c\nA\n", "record 2 (line 3), 'b', has no sequence"),
        (b">a\nMEEPQSDPSV\n", "record 1 (line 1), 'a', holds 'E', which is no IUPAC nucleotide"),
        (b">a\nAC-GT\n", "holds '-'"),
        (b">a\nAC\n>\xff\xfe\nGT\n", "record 2 (line 3): the header is not UTF-8"),
        (b">a\nAC\n>b\nAC\n>a\nGT\n", "records 1 and 3 have one id, 'a'"),
        (b">a one\nAC\n>a two\nGT\n", "records 1 and 2 have one id, 'a'"),
        (gzip.compress(b">a\n" + b"ACGT" * 999)[:-9], "cut off or damaged"),
        (b"\x1f\x8b\x08\x00damaged, not gzip at all", "cut off or damaged"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path: Path, content: bytes, message: str) -> None:
    """P5, P30, and the rest: file and record are named."""
    with pytest.raises(InputError) as caught:
        read(tmp_path, content)
    assert message in str(caught.value) and "in.fa" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        list(read_fasta(tmp_path / "nothing.fa"))
    with pytest.raises(InputError, match="is a folder"):
        list(read_fasta(tmp_path))


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
