"""`virnucpro dataset build`: the folder, the original's frames from GenBank, leaks, the same bytes again."""

import gzip
import json
import random
from pathlib import Path

import pytest
from Bio import SeqIO
from Bio.Seq import Seq
from Bio.SeqFeature import BeforePosition, CompoundLocation, ExactPosition, SeqFeature, SimpleLocation
from Bio.SeqRecord import SeqRecord
from click.testing import CliRunner

from virnucpro.cli.main import cli
from virnucpro.errors import InputError
from virnucpro.sequences.frames import has_open_frame, reverse_complement
from virnucpro.training.data import COLUMNS, SPLITS
from virnucpro.training.dataset import read_annotated_frames, read_manifest, read_windows
from virnucpro.training.genbank import read_genbank

CODE = dict(
    zip(
        (a + b + c for a in "TCAG" for b in "TCAG" for c in "TCAG"),
        "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG",
        strict=True,
    )
)
SENSE = sorted(codon for codon, residue in CODE.items() if residue != "*")


def random_dna(seed: object, bases: int) -> str:
    return "".join(random.Random(str(seed)).choices("ACGT", k=bases))


def gene(seed: object, codons: int) -> str:
    return "".join(random.Random(str(seed)).choices(SENSE, k=codons))


def genbank_record(seed: int) -> SeqRecord:
    """A circular record with proteins on both strands, spliced, partial, across the origin, and absent."""
    across = gene(f"{seed}o", 500)  # 1,500 bases: 700 at the end, 800 at the start
    parts = [
        across[700:] + "TAA",  # 0
        random_dna(f"{seed}a", 97),  # 803
        "ATG" + gene(f"{seed}f", 420) + "TAG",  # 900: forward
        random_dna(f"{seed}b", 135),  # 2166
        reverse_complement("ATG" + gene(f"{seed}r", 400) + "TGA"),  # 2301: reverse
        random_dna(f"{seed}c", 92),  # 3507
        gene(f"{seed}1", 300),  # 3599: first exon, its start is not known
        random_dna(f"{seed}d", 121),  # 4499
        gene(f"{seed}2", 260) + "TAA",  # 4620: second exon
        gene(f"{seed}n", 300),  # 5403: open, but annotated by nobody
        "ATG" + gene(f"{seed}x", 150) + "NNN" + gene(f"{seed}y", 150),  # 6303: ambiguous inside
        "GCTRAC" + random_dna(f"{seed}e", 40),
        across[:700],
    ]
    dna = "".join(parts)
    end = len(dna)
    places = [
        CompoundLocation([SimpleLocation(end - 700, end, 1), SimpleLocation(0, 803, 1)]),
        SimpleLocation(900, 2166, 1),
        SimpleLocation(2301, 3507, -1),
        CompoundLocation(
            [SimpleLocation(BeforePosition(3599), ExactPosition(4499), 1), SimpleLocation(4620, 5403, 1)]
        ),
        SimpleLocation(6303, 6303 + 3 * 302, 1),
    ]
    features = [
        SeqFeature(
            place,
            type="CDS",
            qualifiers={"translation": [str(place.extract(Seq(dna)).translate(to_stop=True))]},
        )
        for place in places
    ]
    features.append(SeqFeature(SimpleLocation(0, 50, 1), type="CDS", qualifiers={"pseudo": [""]}))
    annotations = {"molecule_type": "DNA", "topology": "circular", "organism": f"Test phage {seed}"}
    annotations["taxonomy"] = ["Viruses", f"Family{seed}viridae"]
    return SeqRecord(
        Seq(dna), f"TS{seed:06}.1", "x", "a test record", annotations=annotations, features=features
    )


def by_the_original_rule(record: SeqRecord, size: int) -> list[tuple[str, str, str]]:
    """Section 2 written down once more, plainly: windows, six frames, and only those inside a protein."""
    dna = str(record.seq).upper()
    proteins = [
        feature.qualifiers["translation"][0]
        for feature in record.features
        if feature.type == "CDS" and "translation" in feature.qualifiers
    ]
    count = -(-len(dna) // size)
    surplus = count * size - len(dna)
    low = surplus // count
    more = surplus - low * (count - 1)
    shifts = ([low + 1] * more + [low] * max(0, count - 1 - more) + [0])[:count]
    rows = []
    for number in range(count):
        start = number * size - sum(shifts[:number])
        window = dna[start : start + size]
        if any(letter not in "ACGT" for letter in window):
            continue
        for strand, name in ((window, "F"), (reverse_complement(window), "R")):
            for frame in range(3):
                protein = "".join(CODE[strand[at : at + 3]] for at in range(frame, len(strand) - 2, 3))
                if protein and "*" not in protein and any(protein in whole for whole in proteins):
                    nucleotide = strand[frame : frame + 1 + 3 * len(protein)]
                    rows.append((f"{record.id}_chunk_{number + 1}{name}{frame + 1}", nucleotide, protein))
    return rows


def write_fasta(path: Path, **records: str) -> None:
    path.write_text("".join(f">{name}\n{dna}\n" for name, dna in records.items()))


def write_table(folder: Path, *rows: str) -> Path:
    table = folder / "table.tsv"
    table.write_text("\n".join(["\t".join(COLUMNS), *(row.replace(" | ", "\t") for row in rows)]) + "\n")
    return table


def build(folder: Path, name: str = "set", *options: str) -> tuple[int, str]:
    command = ["dataset", "build", str(folder / "table.tsv"), "--output", str(folder / name), *options]
    result = CliRunner().invoke(cli, command)
    if result.exception and not isinstance(result.exception, SystemExit):
        if not isinstance(result.exception, InputError):
            raise result.exception
        return 2, str(result.exception)
    return result.exit_code, result.output


@pytest.fixture
def genomes(tmp_path: Path) -> Path:
    """Six unrelated viruses and five unrelated hosts, one group each."""
    write_fasta(tmp_path / "v.fa", **{f"V{i}": random_dna(f"v{i}", 2500 + 300 * i) for i in range(6)})
    write_fasta(tmp_path / "h.fa", **{f"H{i}": random_dna(f"h{i}", 4000) for i in range(5)})
    write_table(tmp_path, "virus | phage | v.fa | record |  | ", "others | bacteria | h.fa | record |  | ")
    return tmp_path


@pytest.mark.parametrize("size", [500, 300])
def test_annotated_frames_are_exactly_the_originals(tmp_path: Path, size: int) -> None:
    for name, seeds in (("a.gb", [1, 2]), ("b.gbff", [3]), ("c.gbk", [4])):
        SeqIO.write([genbank_record(seed) for seed in seeds], tmp_path / name, "genbank")
    (tmp_path / "h.gb.gz").write_bytes(gzip.compress((tmp_path / "b.gbff").read_bytes(), mtime=0))
    SeqIO.write(genbank_record(5), tmp_path / "h.gb", "genbank")
    write_table(
        tmp_path,
        r"virus | phage | a.gb | (\w+viridae) | train | ",
        r"virus | phage | b.gbff | record | validation | ",
        r"virus | phage | c.gbk | record | test | ",
        r"others | bacteria | h.gb | record | train | ",
    )
    assert build(tmp_path, "set", "--frames", "annotated", "--lengths", str(size))[0] == 0
    for split, seeds in (("train", [1, 2, 5]), ("validation", [3]), ("test", [4])):
        expected = [row for seed in seeds for row in by_the_original_rule(genbank_record(seed), size)]
        frames, proteins = read_annotated_frames(tmp_path / "set", split)
        assert list(zip(frames.ids, frames.sequences, proteins, strict=True)) == expected
        assert {id[-2:] for id in frames.ids} >= {"F1", "R1"} or size == 500
        assert len(expected) > 3 * len(seeds)
        windows = read_windows(tmp_path / "set", split)
        assert len(windows) == len({id[:-2] for id in frames.ids})
    assert set(read_annotated_frames(tmp_path / "set", "train")[0].groups) == {
        "Family1viridae",
        "Family2viridae",
        "TS000005.1",
    }


def test_the_test_record_has_what_the_rule_is_about() -> None:
    record = genbank_record(1)
    names = [name for name, _, _ in by_the_original_rule(record, 300)]
    rows = {int(name.split("_chunk_")[1][:-2]): name[-2] for name in names}
    starts = [number for number, _ in sorted(rows.items())]
    assert {"F", "R"} == set(rows.values())
    assert starts[0] == 1 and starts[-1] == -(
        -len(record.seq) // 300
    )  # both ends of the protein over the origin
    assert not {19, 20} & set(starts)  # open, not annotated
    assert all("N" not in dna for _, dna, _ in by_the_original_rule(record, 300))


def test_genbank_errors_say_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "a.gb"
    SeqIO.write(genbank_record(1), path, "genbank")
    whole = path.read_bytes()
    for content, message in (
        (b">x\nACGT\n", "no GenBank record"),
        (b"\x1f\x8b\x08\x00cut", "cut off or damaged"),
        (whole[: whole.index(b"ORIGIN")] + b"CONTIG      join(X.1:1..9)\n//\n", "no sequence"),
        (whole.replace(b"        1 ", b"        1 !", 1), "no nucleotide letter"),
        (b"\xff\xfe" + whole, "no text"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=message):
            list(read_genbank(path))


def test_build_writes_a_folder_that_reads_back_and_again_the_same_bytes(genomes: Path) -> None:
    options = ("--lengths", "100-400", "--windows", "50")
    assert build(genomes, "one", *options)[0] == build(genomes, "two", *options)[0] == 0
    files = sorted(path.name for path in (genomes / "one").iterdir())
    assert files == ["genomes.tsv", "manifest.json", "test.fa.gz", "train.fa.gz", "validation.fa.gz"]
    for name in files:
        assert (genomes / "one" / name).read_bytes() == (genomes / "two" / name).read_bytes()
    manifest = read_manifest(genomes / "one")
    whole = {**dict(_records(genomes / "v.fa")), **dict(_records(genomes / "h.fa"))}
    groups = {}
    for split, number in (("train", 50), ("validation", 10), ("test", 10)):
        windows = read_windows(genomes / "one", split)
        assert windows.labels.tolist() == [1] * number + [0] * number
        assert windows.kinds == ["phage"] * number + ["bacteria"] * number
        groups[split] = set(windows.groups)
        for id, sequence, group in zip(windows.ids, windows.sequences, windows.groups, strict=True):
            record, span = id.split(":")
            start, end = map(int, span.split("-"))
            assert record == group and whole[record][start - 1 : end] == sequence
            assert 100 <= len(sequence) <= 400
        rows = [row for row in manifest["counts"] if row["split"] == split]
        assert [row["windows"] for row in rows] == [number, number]
        assert sum(row["windows_with_open_frame"] for row in rows) == sum(
            map(has_open_frame, windows.sequences)
        )
    assert not groups["train"] & groups["test"] | groups["train"] & groups["validation"]
    assert not groups["validation"] & groups["test"]
    assert manifest["outputs"].keys() == set(files) - {"manifest.json"}
    assert build(genomes, "three", *options, "--seed", "2")[0] == 0
    assert (genomes / "three/train.fa.gz").read_bytes() != (genomes / "one/train.fa.gz").read_bytes()


def _records(path: Path) -> list[tuple[str, str]]:
    return [(part.split("\n")[0], part.split("\n")[1]) for part in path.read_text().split(">")[1:]]


def test_lengths_of_a_list_are_drawn_each_and_open_windows_alone_on_request(genomes: Path) -> None:
    assert build(genomes, "set", "--lengths", "60,200", "--windows", "20", "--frames", "open")[0] == 0
    windows = read_windows(genomes / "set", "train")
    assert [len(sequence) for sequence in windows.sequences] == [60] * 40 + [200] * 40
    assert all(map(has_open_frame, windows.sequences))


def test_short_records_come_whole_where_they_are_kept(genomes: Path) -> None:
    with (genomes / "v.fa").open("a") as file:
        file.write(f">long\n{random_dna('long', 9000)}\n>tiny\n{random_dna('tiny', 99)}\n")
    options = ("--lengths", "3100", "--windows", "40")
    for name, kept in (("without", False), ("with", True)):
        assert build(genomes, name, *options, *["--keep-short"] * kept)[0] == 0
        lengths = {
            (group, len(sequence))
            for split in SPLITS
            for windows in [read_windows(genomes / name, split)]
            for group, sequence in zip(windows.groups, windows.sequences, strict=True)
        }
        short = {("V0", 2500), ("V1", 2800)} if kept else set()
        assert {each for each in lengths if each[1] < 3100} == short
        assert ("long", 3100) in lengths


@pytest.mark.parametrize("strand", [str, reverse_complement])
def test_a_planted_overlap_fails_the_build_and_is_named(genomes: Path, strand: type) -> None:
    write_table(
        genomes,
        "virus | phage | v.fa | record | train | ",
        "virus | phage | w.fa | record | test | ",
        "others | bacteria | h.fa | record | train | ",
    )
    planted = random_dna("v3", 3400)[700:760]
    write_fasta(genomes / "w.fa", W=random_dna("w", 900) + strand(planted) + random_dna("x", 900))
    code, message = build(genomes)
    assert code == 2
    assert "1 pairs of records" in message
    assert "V3 (train, V3) and W (test, W): 3" in message
    assert not (genomes / "set").exists()
    write_fasta(genomes / "w.fa", W=random_dna("w", 2000))
    assert build(genomes)[0] == 0


def test_drop_joins_relatives_and_keeps_known_windows_out(genomes: Path) -> None:
    hosts = dict(_records(genomes / "h.fa"))
    shared = random_dna("shared", 190)  # in each host, below what makes relatives
    hosts = {name: dna[:500] + shared + dna[500:] for name, dna in hosts.items()}
    write_fasta(genomes / "h.fa", **hosts)
    viruses = dict(_records(genomes / "v.fa"))
    viruses["V1"] = viruses["V1"][:1000] + viruses["V5"][1000:2000] + viruses["V1"][2000:]
    write_fasta(genomes / "v.fa", **viruses)
    assert build(genomes)[0] == 2
    assert build(genomes, "set", "--on-leak", "drop", "--windows", "1500", "--lengths", "100")[0] == 0
    manifest = read_manifest(genomes / "set")
    assert manifest["leaks"]["families"] == [["V1", "V5"]]
    assert manifest["leaks"]["pairs_found"] > 0
    assert min(manifest["leaks"]["windows_passed_over"][split] for split in SPLITS[1:]) > 0
    placed = {split: set(read_windows(genomes / "set", split).groups) for split in SPLITS}
    assert sum({"V1", "V5"} <= groups for groups in placed.values()) == 1
    known = {shared[at : at + 24] for at in range(167)}
    for split in SPLITS[1:]:
        for sequence in read_windows(genomes / "set", split).sequences:
            assert sum(sequence[at : at + 24] in known for at in range(77)) <= 0.5 * 77


def test_no_window_holds_a_24mer_that_is_left_out(genomes: Path) -> None:
    own = random_dna("v0", 2500)[600:1800] + random_dna("h0", 4000)[1000:1024]
    write_fasta(genomes / "mine.fa", mine=own)
    options = ("--lengths", "100", "--windows", "300", "--leave-out", str(genomes / "mine.fa"))
    assert build(genomes, "set", *options)[0] == 0
    kept_away = {
        strand[at : at + 24] for strand in (own, reverse_complement(own)) for at in range(len(own) - 23)
    }
    sequences = [sequence for split in SPLITS for sequence in read_windows(genomes / "set", split).sequences]
    assert not any(sequence[at : at + 24] in kept_away for sequence in sequences for at in range(77))
    assert read_manifest(genomes / "set")["leaks"]["windows_passed_over"]["left_out"] > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lengths", "long"], "lengths 'long'"),
        (["--lengths", "500-100"], "the longest not shorter"),
        (["--frames", "annotated", "--lengths", "100-300"], "one length"),
        (["--frames", "annotated"], "no annotated protein"),
        (["--leave-out", "nowhere.fa"], "--leave-out takes FASTA"),
        (["--output", "."], "exists already"),
    ],
)
def test_what_cannot_be_built_is_one_line(genomes: Path, options: list[str], message: str) -> None:
    code, said = build(genomes, "set", *options)
    assert code == 2
    assert message in said


def test_a_folder_that_is_not_whole_is_refused(genomes: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_windows(genomes, "train")
    assert build(genomes, "set", "--windows", "10")[0] == 0
    manifest = genomes / "set" / "manifest.json"
    said = json.loads(manifest.read_text())
    said["counts"][0]["windows"] += 1
    manifest.write_text(json.dumps(said))
    with pytest.raises(InputError, match=r"manifest\.json says 21"):
        read_windows(genomes / "set", "train")
    manifest.write_text("{")
    with pytest.raises(InputError, match="damaged"):
        read_windows(genomes / "set", "train")
