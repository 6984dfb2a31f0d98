"""Training data: the table and its files, the split by group."""

from pathlib import Path

import pytest

from virnucpro.errors import InputError
from virnucpro.training.data import COLUMNS, SPLITS, Genome, load_genomes, read_table
from virnucpro.training.splits import split_groups


def write_table(folder: Path, *rows: str) -> Path:
    table = folder / "table.tsv"
    table.write_text("\n".join(["\t".join(COLUMNS), *(row.replace(" | ", "\t") for row in rows)]) + "\n")
    return table


def genome(group: str, bases: int = 1000, kind: str = "phage", number: int = 1) -> Genome:
    return Genome(1, kind, group, None, f"{group}.{number}", "ACGTTGCAAC" * (bases // 10))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "viruses").mkdir()
    (tmp_path / "viruses" / "a.fa").write_text(">V1 family=Aviridae x\nacgu\n>V2 family=Bviridae y\nACGT\n")
    (tmp_path / "viruses" / "b.fasta").write_text(
        ">V3 family=Cviridae z\nACGT\n>V3 family=Cviridae piece 2\nAC\n"
    )
    (tmp_path / "host.fa").write_text(">H1\nACGT\n>H2\nACGTT\n")
    return tmp_path


def test_table_reads_folders_groups_and_left_out_families(folder: Path) -> None:
    table = write_table(
        folder,
        r"virus | RNA virus | viruses | family=(\S+) |  | Bviridae,Xviridae",
        "others | human | host.fa | file | train | ",
    )
    genomes = load_genomes(read_table(table, folder))
    assert [(g.id, g.label, g.kind, g.group, g.split) for g in genomes] == [
        ("V1", 1, "RNA virus", "Aviridae", None),
        ("V3", 1, "RNA virus", "Cviridae", None),
        ("V3", 1, "RNA virus", "Cviridae", None),
        ("H1", 0, "human", "host.fa", "train"),
        ("H2", 0, "human", "host.fa", "train"),
    ]
    assert genomes[0].dna == "ACGT"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("viral | a | host.fa | record |  | ", "line 2: label 'viral'"),
        ("virus |  | host.fa | record |  | ", "line 2: the class is empty"),
        ("virus | a | nothing.fa | record |  | ", "nothing.fa does not exist"),
        ("virus | a | host.fa | record | training | ", "split 'training'"),
        ("virus | a | host.fa | ( |  | ", "no regular expression"),
        ("virus | a | host.fa | record |  | ", "both labels are needed"),
    ],
)
def test_table_errors_say_where(folder: Path, row: str, message: str) -> None:
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        read_table(write_table(folder, row), folder)


def test_wrong_columns_and_missing_table(folder: Path) -> None:
    (folder / "t.tsv").write_text("label\tfasta\n")
    with pytest.raises(InputError, match=r"t\.tsv, line 1: the columns must be label class"):
        read_table(folder / "t.tsv", folder)
    with pytest.raises(InputError, match="no such table"):
        read_table(folder / "none.tsv", folder)


def test_group_rule_that_finds_nothing_names_the_record(folder: Path) -> None:
    table = write_table(
        folder,
        r"virus | a | viruses | family=(\S+) |  | ",
        r"others | b | host.fa | family=(\S+) |  | ",
    )
    with pytest.raises(InputError, match="record H1: the group rule"):
        load_genomes(read_table(table, folder))


def test_a_group_can_be_named_and_a_record_with_an_empty_group_is_left_out(folder: Path) -> None:
    table = write_table(
        folder,
        r"virus | RNA virus | viruses | family=(Cviridae)|$ |  | ",
        r"virus | DNA virus | viruses | family=(Aviridae)|$ |  | ",
        "others | human | host.fa | =Homo sapiens |  | ",
    )
    genomes = load_genomes(read_table(table, folder))
    assert [(g.id, g.kind, g.group) for g in genomes] == [
        ("V3", "RNA virus", "Cviridae"),
        ("V3", "RNA virus", "Cviridae"),
        ("V1", "DNA virus", "Aviridae"),
        ("H1", "human", "Homo sapiens"),
        ("H2", "human", "Homo sapiens"),
    ]


@pytest.mark.parametrize("seed", range(20))
def test_a_group_never_crosses_the_split_and_nothing_is_dropped(seed: int) -> None:
    genomes = [genome(f"F{i}", bases=100 * (1 + i), number=n) for i in range(8) for n in range(3)]
    genomes += [genome(f"H{i}", bases=500, kind="human") for i in range(3)]
    parts = split_groups(genomes, seed)
    groups = {split: {g.group for g in parts[split]} for split in SPLITS}
    assert not groups["train"] & groups["test"]
    assert not groups["train"] & groups["validation"]
    assert not groups["validation"] & groups["test"]
    assert sorted(g.id for split in SPLITS for g in parts[split]) == sorted(g.id for g in genomes)
    for split in SPLITS:
        assert {g.kind for g in parts[split]} == {"phage", "human"}
    assert "F7" in groups["train"]  # the largest
    assert split_groups(genomes, seed) == parts


def test_the_seed_changes_the_split() -> None:
    genomes = [genome(f"F{i}") for i in range(12)]
    assert len({tuple(g.id for g in split_groups(genomes, seed)["test"]) for seed in range(8)}) > 1


def test_too_few_groups_is_one_clear_line() -> None:
    with pytest.raises(InputError, match=r"class 'phage' has 2 group\(s\), too few"):
        split_groups([genome("F1"), genome("F2")], 1)


def test_a_split_named_in_the_table_is_kept() -> None:
    pinned = [Genome(0, "archaea", "one.fa", "test", f"A{i}", "ACGT") for i in range(4)]
    assert split_groups(pinned, 1)["test"] == pinned
    torn = [*pinned, Genome(0, "archaea", "one.fa", "train", "A9", "ACGT")]
    with pytest.raises(InputError, match=r"sends group one\.fa to two splits"):
        split_groups(torn, 1)


def test_a_group_of_two_classes_and_the_relatives_of_a_group_go_one_way() -> None:
    for seed in range(10):
        genomes = [genome(f"F{i}") for i in range(8)]
        genomes += [genome(f"F{i}", kind="plasmid") for i in range(6)]
        parts = split_groups(genomes, seed, relatives={"F1": "F0", "F2": "F0"})
        sides = {split: {g.group for g in parts[split]} for split in SPLITS}
        assert sum({"F0", "F1", "F2"} <= groups for groups in sides.values()) == 1
        for name in (f"F{i}" for i in range(8)):
            assert sum(name in groups for groups in sides.values()) == 1


def test_none_is_drawn_for_a_split_that_the_table_names() -> None:
    named = [Genome(1, "phage", "T", "test", "T", "ACGT" * 100)]
    parts = split_groups([*named, *(genome(f"F{i}") for i in range(8))], 1)
    assert parts["test"] == named
    assert parts["validation"]


def test_a_group_far_above_the_share_is_not_held_out_while_others_are_left() -> None:
    for seed in range(10):
        genomes = [genome("A", 5000), genome("B", 4000), *(genome(f"S{i}", 200) for i in range(10))]
        parts = split_groups(genomes, seed)
        assert {"A", "B"} <= {g.group for g in parts["train"]}
