"""Every format and packing gives the records of plain FASTA; the odd is read, or refused with its place."""

import bz2
import gzip
import lzma
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from backports import zstd

from virnucpro.errors import InputError
from virnucpro.sequences import text
from virnucpro.sequences.extract import extract_frames
from virnucpro.sequences.fasta import Record, read_fasta, read_records

SKIPPED = b"\x50\x2a\x4d\x18\x02\0\0\0ab"  # a frame of zstd that holds no data
PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": lambda data: gzip.compress(data[:50]) + gzip.compress(data[50:]),
    "bzip2": lambda data: bz2.compress(data[:50]) + bz2.compress(data[50:]),
    "xz": lambda data: lzma.compress(data[:50]) + b"\0" * 8 + lzma.compress(data[50:]),
    "zstd": lambda data: (
        b"\x50\x2a\x4d\x18\x02\0\0\0ab" + zstd.compress(data[:50]) + zstd.compress(data[50:])
    ),
}


def records(number: int) -> list[tuple[str, str]]:
    draw = random.Random(number)
    return [
        (f"r{i}/1 é", "".join(draw.choices("ACGTUNacgtn", k=draw.randint(1, 200)))) for i in range(number)
    ]


def as_fasta(rows: list[tuple[str, str]], end: str = "\n") -> bytes:
    return "".join(f">{header}{end}{letters}{end}" for header, letters in rows).encode()


def as_fastq(rows: list[tuple[str, str]], end: str = "\n") -> bytes:
    """Qualities of every kind: `@` and `+`, where a header or the third line could be seen in them."""
    draw = random.Random(1)
    lines = []
    for header, letters in rows:
        quality = "".join(draw.choices("@+>I#!", k=len(letters)))
        lines += [f"@{header}", letters, draw.choice(["+", f"+{header}"]), quality]
    return end.join([*lines, ""]).encode()


def read(path: Path) -> list[tuple[str, str]]:
    return [(record.header, record.sequence) for record in read_fasta(path)]


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("form", [as_fasta, as_fastq])
@pytest.mark.parametrize("block", [1 << 17, 7])
def test_every_kind_gives_the_same_records(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    packing: str,
    form: Callable[..., bytes],
    block: int,
) -> None:
    monkeypatch.setattr(text, "BLOCK", block)
    rows = records(40)
    for end in ("\n", "\r\n", "\r"):
        (tmp_path / "in").write_bytes(PACKINGS[packing](form(rows, end)))
        assert read(tmp_path / "in") == rows


def test_fastq_gives_the_frames_of_fasta(tmp_path: Path) -> None:
    rows = records(30)
    (tmp_path / "a").write_bytes(as_fasta(rows))
    (tmp_path / "b").write_bytes(PACKINGS["zstd"](as_fastq(rows)))
    for name in "ab":
        extract_frames(tmp_path / name, tmp_path / "out" / name, "s", 100)
    files = [path.relative_to(tmp_path / "out/a") for path in (tmp_path / "out/a").rglob("*.*")]
    assert len(files) == 7
    for file in files:
        assert (tmp_path / "out/a" / file).read_bytes() == (tmp_path / "out/b" / file).read_bytes()


GOOD = "@a\nACGT\n+\nIIII\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD + "@b\nAC\nGT\n+\nIIII\n", "record 2 (line 5), 'b', has 'GT' in line 7, and not '+'"),
        (
            GOOD + "@b\nACGT\n+\nIII\n",
            "record 2 (line 5), 'b', has 4 letters and 3 qualities",
        ),
        (GOOD + "@b\nACGT\n", "record 2 (line 5), 'b', is cut off: 2 of its four lines are there"),
        (GOOD + "\n" + GOOD, "record 2 (line 5) begins with '', and not with '@'"),
        (GOOD + ">b\nACGT\n", "record 2 (line 5) begins with '>b', and not with '@'"),
        (GOOD + "@b\n\n+\n\n@c\nA\n+\nI\n", "record 2 (line 5), 'b', has no sequence"),
        (GOOD + "@ \nA\n+\nI\n", "record 2 (line 5) has no name after '@'"),
        (GOOD + "@b\nMEE\n+\nIII\n", "record 2 (line 5), 'b', holds 'E', which is no IUPAC"),
        ("@HD\tVN:1.6\n@SQ\tSN:a\n", "this is SAM; make BAM of it"),
        (GOOD + GOOD, "records 1 and 2 have one id, 'a'"),
    ],
)
def test_bad_fastq_is_refused_with_its_place(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "in.fq").write_text(content)
    for block in (1 << 17, 3):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(InputError) as caught:
            patch.setattr(text, "BLOCK", block)
            read(tmp_path / "in.fq")
        assert f"{tmp_path}/in.fq: {message}" in str(caught.value)


def test_blank_lines_around_fastq_pass(tmp_path: Path) -> None:
    (tmp_path / "in.fq").write_text("\n\n" + GOOD + "\n\n\n")
    assert read(tmp_path / "in.fq") == [("a", "ACGT")]


def test_qualities_are_said_to_be_passed_over_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "in.fq").write_text(GOOD)
    with caplog.at_level("INFO"):
        assert read(tmp_path / "in.fq") == read(tmp_path / "in.fq")
    assert caplog.text.count("its qualities are not looked at") == 1


@pytest.mark.parametrize("packing", [name for name in PACKINGS if name != "plain"])
def test_packed_files_cut_or_damaged_or_with_more_behind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, packing: str
) -> None:
    rows = records(300)
    whole = PACKINGS[packing](as_fasta(rows))
    path = tmp_path / "in"
    path.write_bytes(whole[:-5])
    with pytest.raises(InputError, match=f"in: the {packing} file is cut off: it ends in the middle"):
        read(path)
    middle = len(whole) // 2
    hole = bytes(255 - byte for byte in whole[middle : middle + 40])
    path.write_bytes(whole[:middle] + hole + whole[middle + 40 :])
    with pytest.raises(InputError, match=f"in: (the {packing} file is (damaged|cut off)|record|line)"):
        read(path)
    path.write_bytes(whole + b"more")
    assert read(path) == rows
    assert f"what stands behind the end of its {packing} data" in caplog.text


def reference_reader(data: bytes) -> list[tuple[str, str]]:
    """Line by line, the whole file at once."""
    rows: list[tuple[str, str]] = []
    for line in data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").decode().split("\n"):
        if line.startswith(">"):
            rows.append((line[1:].strip(), ""))
        elif line.strip():
            rows[-1] = (rows[-1][0], rows[-1][1] + "".join(line.split()))
    return rows


def test_odd_files_are_read_as_a_plain_reader_reads_them_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand files of a few odd lines each, in blocks of odd sizes."""
    draw = random.Random(4)
    parts = [">a", ">b c\t d", "> ", "AC gt", "NNN", "", " ", "A>b", "AC-", "X", "\tacgu", ">é"]
    outcomes = {"read": 0, "refused": 0}
    path = tmp_path / "in"
    for number in range(1000):
        monkeypatch.setattr(text, "BLOCK", draw.choice([1, 2, 5, 30, 1 << 17]))
        rows = draw.choices(parts, [4, 2, 0.3, 4, 3, 2, 1, 0.2, 0.2, 0.2, 1, 1], k=draw.randint(1, 12))
        data = draw.choice(["\n", "\r\n", "\r"]).join([">first" if number % 4 else "", "AC", *rows]).encode()
        path.write_bytes(PACKINGS[draw.choice([*PACKINGS])](data))
        try:
            found = [(record.header, record.sequence) for record in read_records(path)]
        except InputError as error:
            assert str(error).startswith((f"{path}: record ", f"{path}: line "))
            outcomes["refused"] += 1
        else:
            assert found == reference_reader(data)
            outcomes["read"] += 1
    assert min(outcomes.values()) > 150


def test_numbered_records_may_share_an_id(tmp_path: Path) -> None:
    rows = [("a x", "ATGGCTGCTGCT"), ("a y", "ATGGCTGCTGCA"), ("2|a", "ATGGCTGCTGCC")]
    (tmp_path / "in.fa").write_bytes(as_fasta(rows))
    found = list(read_fasta(tmp_path / "in.fa", "number"))
    assert [record.name for record in found] == ["1|a", "2|a", "3|2|a"]
    assert found[0] == Record(1, "a", "a x", "ATGGCTGCTGCT", numbered=True)
    extract_frames(tmp_path / "in.fa", tmp_path, "s", 100, duplicate_ids="number")
    headers = [line for line in (tmp_path / "protein/output_1.fa").read_text().split() if line[0] == ">"]
    assert len(set(headers)) == len(headers) > 3 and ">2|a_chunk_1F1" in headers
    assert [line.split("\t")[1] for line in (tmp_path / "s_records.tsv").read_text().splitlines()] == [
        *("sequence_id", "a", "a", "2|a"),
    ]
