"""The whole data's way on the command line, with the real classes."""

import csv
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from virnucpro.cli.main import cli
from virnucpro.models.model_set import ModelSet


def predict(fasta: Path, models: ModelSet, output: Path, *options: str) -> Result:
    arguments = ["predict", str(fasta), "-m", str(models.directory), "-o", str(output), "--threads", "1", *options]
    return CliRunner().invoke(cli, arguments, catch_exceptions=False)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def results(output: Path, sample: str = "reads") -> list[dict[str, str]]:
    return table(output / sample / "prediction_results.txt")


def test_counts_add_up(reads: Path, model_set: ModelSet, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert predict(reads, model_set, out).exit_code == 0
    contigs = table(out / "reads" / "reads_contigs.tsv")
    windows = table(out / "reads" / "reads_windows.tsv")
    assert [row["sequence_id"] for row in contigs] == [f"read_{i}" for i in range(12)]
    assert sum(int(row["windows"]) for row in contigs) == len(windows)
    frames = sum(len(row["frames"].split(",")) for row in windows if row["frames"] != "NA")
    assert frames == len(results(out))
