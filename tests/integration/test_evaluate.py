"""`virnucpro evaluate` on tables: what it counts, what it writes, how it refuses."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from virnucpro.cli.main import cli
from virnucpro.errors import InputError

LABELS = "id\tlabel\tclass\tgroup\tlength\n"
CONTIGS = "record\tsequence_id\tlength\tstatus\twindows\twindows_with_frame\tvirus_score\tcall\n"


def evaluate(*arguments: Path | str) -> str:
    result = CliRunner().invoke(cli, ["evaluate", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as text:
        return list(csv.DictReader(text, delimiter="\t"))


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Ten phages of two genomes, ten pieces of two bacteria, and a control each."""
    path = tmp_path / "labels.tsv"
    lines = [f"p{n}\tvirus\tphage\tP{n % 2}\t500\n" for n in range(10)]
    lines += [f"b{n}\tothers\tbacteria\tB{n % 2}\t500\n" for n in range(10)]
    lines += [f"c{n}\tcontrol\tshuffled bases\tB0\t500\n" for n in range(4)]
    path.write_text(LABELS + "".join(lines))
    return path


@pytest.fixture
def contigs(tmp_path: Path) -> Path:
    """8 of 10 phages called, one without a score, one absent; 3 of 10 bacteria called; 1 of 4 controls."""
    path = tmp_path / "test_contigs.tsv"
    calls = [(f"p{n}", 1, "0.9", "virus") for n in range(8)] + [("p8", 0, "NA", "no_call")]
    calls += [(f"b{n}", 1, "0.8", "virus") for n in range(3)]
    calls += [(f"b{n}", 1, "0.2", "others") for n in range(3, 7)]
    calls += [(f"b{n}", 0, "NA", "no_call") for n in range(7, 10)]
    calls += [("c0", 1, "0.7", "virus"), *((f"c{n}", 0, "NA", "no_call") for n in range(1, 4))]
    path.write_text(
        CONTIGS
        + "".join(
            f"{number}\t{id}\t500\tcalled\t1\t{frames}\t{score}\t{call}\n"
            for number, (id, frames, score, call) in enumerate(calls, 1)
        )
    )
    return path


def test_tables_figures_and_page(labels: Path, contigs: Path, tmp_path: Path) -> None:
    output = evaluate(contigs, labels, "-o", tmp_path / "out", "--resamples", "40")
    assert (tmp_path / "out" / "evaluation.md").read_text() in output
    overall = {
        (row["tool"], row["length"], row["counted"]): row for row in rows(tmp_path / "out/overall.tsv")
    }
    ours, baseline = overall["virnucpro", "500 to 999", "all"], overall["open frame = virus", "all", "all"]
    assert (ours["records"], ours["viral"], ours["groups"]) == ("20", "10", "4")
    assert (ours["precision"], ours["recall"]) == ("0.727273", "0.8")
    assert float(ours["recall_low"]) <= 0.8 <= float(ours["recall_high"])
    assert (baseline["recall"], baseline["precision"]) == ("0.8", f"{8 / 15:.6g}")
    assert overall["virnucpro", "500 to 999", "scored"]["recall"] == "1"
    classes = {(row["tool"], row["class"], row["length"]): row for row in rows(tmp_path / "out/classes.tsv")}
    assert classes["virnucpro", "bacteria", "all"]["called"] == "0.3"
    assert classes["virnucpro", "bacteria", "all"]["called_of_scored"] == f"{3 / 7:.6g}"
    control = classes["virnucpro", "shuffled bases", "all"]
    assert (control["label"], control["called"], control["called_low"]) == ("control", "0.25", "NA")
    for name in ("roc", "precision_recall", "classes", "reliability"):
        assert (tmp_path / "out" / f"{name}.svg").read_text().rstrip().endswith("</svg>")


def test_a_rerun_replaces_its_own_folder_alone(labels: Path, contigs: Path, tmp_path: Path) -> None:
    given = [contigs, labels, "--figures", "none", "--resamples", "20", "-o"]
    evaluate(*given, tmp_path / "out")
    before = (tmp_path / "out/overall.tsv").read_bytes()
    evaluate(*given, tmp_path / "out")
    assert (tmp_path / "out/overall.tsv").read_bytes() == before
    with pytest.raises(InputError, match="not virnucpro's"):
        evaluate(*given, tmp_path)


def test_any_tools_table_with_labels_in_fasta(tmp_path: Path) -> None:
    fasta, scores = tmp_path / "test.fa", tmp_path / "scores.tsv"
    random = np.random.default_rng(1)
    fasta.write_text(
        "".join(f">p{n}\tlabel=virus\tclass=phage\tgroup=P{n}\n{'ACGT' * 100}\n" for n in range(30))
        + "".join(f">b{n}\tlabel=others\tclass=bacteria\tgroup=B{n}\n{'ACGT' * 100}\n" for n in range(30))
    )
    scores.write_text(
        "id\tscore\n"
        + "".join(f"p{n}\t{random.normal(2):.3f}\nb{n}\t{random.normal(-2):.3f}\n" for n in range(30))
    )
    output = evaluate(scores, fasta, "-o", tmp_path / "out", "--figures", "none", "--name", "other tool")
    found = {(row["length"], row["counted"]): row for row in rows(tmp_path / "out/overall.tsv")}
    assert {row["tool"] for row in found.values()} == {"other tool"}  # no frames, so no open-frame rule
    assert float(found["300 to 499", "all"]["auroc"]) > 0.95
    assert "– " in output  # scores that are no probabilities have no calibration error


@pytest.mark.parametrize(
    ("labels", "calls", "message"),
    [
        ("id\tlabel\n", None, "labels.tsv, line 1: the columns id label class group are needed"),
        (f"{LABELS}a\tviral\tphage\tP\t5\n", None, "labels.tsv, line 2: label 'viral' is not one of"),
        (f"{LABELS}a\tvirus\t\tP\t5\n", None, "labels.tsv, line 2: the class is empty"),
        (f"{LABELS}a\tvirus\tphage\tP\n", None, "labels.tsv, line 2: 4 columns, expected 5"),
        (f"{LABELS}a\tvirus\tphage\tP\tlong\n", None, "labels.tsv, line 2: 'long' is no count"),
        (f"{LABELS}a\tvirus\tphage\tP\t5\na\tvirus\tphage\tP\t5\n", None, "line 3: a second label for 'a'"),
        (LABELS, None, "labels.tsv: holds no label"),
        (">a\tlabel=virus\tclass=phage\nACGT\n", None, "record 1: the header of 'a' has no group="),
        (None, "id\tvalue\n", "calls.tsv, line 1: the columns sequence_id virus_score call or id score"),
        (None, "id\tscore\na\t0.5\nb\thigh\n", "calls.tsv, line 3: the score 'high' is no number"),
        (None, "id\tscore\na\tinf\n", "calls.tsv, line 2: the score 'inf' is no number"),
        (None, "id\tscore\na\t1\na\t1\n", "calls.tsv, line 3: a second call of 'a'"),
        (None, "id\tscore\nother\t1\n", "no id of the labels ('a', ...) is among those of the calls"),
        (f"{LABELS}a\tvirus\tphage\tP\t5\n", None, "records of both labels are needed"),
        ("id\tlabel\tclass\tgroup\na\tvirus\tphage\tP\n", None, "the length of 'a' is neither among"),
    ],
)
def test_wrong_input_is_said_with_its_place(
    tmp_path: Path, labels: str | None, calls: str | None, message: str
) -> None:
    (tmp_path / "labels.tsv").write_text(
        labels or f"{LABELS}a\tvirus\tphage\tP\t500\nb\tothers\tbacteria\tB\t500\n"
    )
    (tmp_path / "calls.tsv").write_text(calls or "id\tscore\na\t0.9\nb\t0.1\n")
    with pytest.raises(InputError) as raised:
        evaluate(tmp_path / "calls.tsv", tmp_path / "labels.tsv", "-o", tmp_path / "out")
    assert message in str(raised.value)


def test_a_file_that_is_not_there(tmp_path: Path, labels: Path) -> None:
    with pytest.raises(InputError, match=r"none\.tsv: cannot be read"):
        evaluate(tmp_path / "none.tsv", labels, "-o", tmp_path / "out")


@pytest.mark.parametrize("library", ["sklearn", "matplotlib"])
def test_a_library_that_is_not_installed(
    library: str, labels: Path, contigs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [name for name in sys.modules if name.split(".")[0] == library]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, library, None)  # as Python marks what cannot be imported
    with pytest.raises(InputError, match=r"is not installed.*pip install 'virnucpro\[train\]'"):
        evaluate(contigs, labels, "-o", tmp_path / "out", "--resamples", "20")
