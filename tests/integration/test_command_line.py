"""The whole data's way on the command line, with the real classes."""

import csv
import json
import multiprocessing
import os
import random
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from tests.conftest import random_dna
from virnucpro.cli.main import cli
from virnucpro.errors import InputError, RankFailed
from virnucpro.models.model_set import ModelSet
from virnucpro.sequences.fasta import read_fasta

V2_FILES = {
    "prediction_results.txt",
    "prediction_results_highestscore.csv",
    "reads_contigs.tsv",
    "reads_windows.tsv",
    "reads_viral_ngs.tsv",
    "reads_viral.fa",
    "reads_mqc.json",
    ".virnucpro",
}
Predict = Callable[..., Path]


@pytest.fixture
def predict(reads: Path, model_set: ModelSet, tmp_path: Path) -> Predict:
    """Run `virnucpro predict` and give its output folder; failures come as the exceptions they are."""

    def run(*options: str, fasta: Path = reads, output: str = "out") -> Path:
        folder = tmp_path / output
        given = [
            "predict",
            str(fasta),
            "-m",
            str(model_set.directory),
            "-o",
            str(folder),
            "-t",
            "2",
            *options,
        ]
        result = CliRunner().invoke(cli, given, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return folder

    return run


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def scores(folder: Path, sample: str = "reads") -> dict[str, float]:
    return {r["Sequence_ID"]: float(r["score2"]) for r in table(folder / sample / "prediction_results.txt")}


def calls(folder: Path, sample: str = "reads") -> dict[str, str]:
    return {r["sequence_id"]: r["call"] for r in table(folder / sample / f"{sample}_contigs.tsv")}


def cutoffs(folder: Path) -> list[float]:
    info = json.loads((folder / "pipeline_info" / "run_info.json").read_text())
    return list(info["samples"]["reads"]["rule"]["cutoffs"])


def assert_same(one: Path, other: Path) -> None:
    assert calls(one) == calls(other)
    assert scores(one).keys() == scores(other).keys() and scores(one)
    for id, score in scores(one).items():
        assert scores(other)[id] == pytest.approx(score, abs=1e-5)


def test_counts_add_up(predict: Predict) -> None:
    out = predict()
    contigs = table(out / "reads" / "reads_contigs.tsv")
    windows = table(out / "reads" / "reads_windows.tsv")
    frames = sum(len(row["frames"].split(",")) for row in windows if row["frames"] != "NA")
    assert [row["sequence_id"] for row in contigs] == [f"read_{i}" for i in range(12)]
    assert sum(int(row["windows"]) for row in contigs) == len(windows)
    assert frames == len(scores(out)) > 12
    assert {row["status"] for row in contigs} == {"called", "no_open_frame"}
    assert set(calls(out).values()) > {"no_call"}


def test_layout_of_the_output(predict: Predict) -> None:
    out = predict()
    assert {path.name for path in out.iterdir()} == {
        "reads",
        "report.html",
        "summary.tsv",
        "pipeline_info",
    }
    assert {path.name for path in (out / "reads").iterdir()} == V2_FILES
    info = json.loads((out / "pipeline_info" / "run_info.json").read_text())
    assert "v1.0" in json.dumps(info) and "v2.0" not in json.dumps(info)


def test_v2_equals_v1(predict: Predict) -> None:
    """P42, P43: every architecture runs whole, and the record says which one did."""
    v1 = predict(output="v1")
    v2 = predict("--parallel", output="v2")
    assert_same(v1, v2)
    assert "v2.0 packed" in (v2 / "pipeline_info" / "run_info.json").read_text()
    fallback = predict("--parallel", "--v1-fallback", output="fallback")
    assert_same(v1, fallback)
    assert "v2.0" not in (fallback / "pipeline_info" / "run_info.json").read_text()


def test_ranks_do_not_change_the_result(predict: Predict) -> None:
    assert_same(
        predict("--parallel", output="one"),
        predict("--parallel", "--device", "cpu", "--gpus", "2", "--split-size", "5", output="many"),
    )


def test_more_ranks_than_sequences(predict: Predict, tmp_path: Path) -> None:
    """P29: three ranks for two sequences."""
    fasta = tmp_path / "two.fa"
    fasta.write_text(">a\nATGGCTGCTGCTTAA\n>b\nNNNNNN\n>c\nACTGAGTAAT\n")
    out = predict("--parallel", "--device", "cpu", "--gpus", "3", "-k", fasta=fasta)
    with h5py.File(out / "two" / "intermediate" / "embeddings.h5") as file:
        assert file["embeddings"].shape == (len(scores(out, "two")), 32)
    assert list(calls(out, "two")) == ["a", "b", "c"]


def test_nothing_to_score(predict: Predict, tmp_path: Path) -> None:
    """No open frame, too short, all ambiguous: whole and valid files, every record with its status."""
    fasta = tmp_path / "none.fa"
    stops = "TAATTAATTAATTAA" * 4
    fasta.write_text(f">stops\n{stops}\n>two\nAC\n>unknown\nNNNNNNNNN\n")
    for options in ([], ["--parallel"], ["--parallel", "--device", "cpu", "--gpus", "2"]):
        out = predict(*options, fasta=fasta, output=f"out{len(options)}")
        contigs = table(out / "none" / "none_contigs.tsv")
        assert [row["status"] for row in contigs] == ["no_open_frame", "too_short", "ambiguous"]
        assert {row["call"] for row in contigs} == {"no_call"}
        assert scores(out, "none") == {}
        assert len(table(out / "none" / "none_windows.tsv")) == 3
        assert (out / "none" / "none_viral.fa").read_text() == ""


def test_intermediate_files_are_those_of_the_original(predict: Predict) -> None:
    out = predict("-k", "--parallel", "--split-size", "10") / "reads" / "intermediate"
    fastas = sorted(path.name for path in (out / "protein").glob("*.fa"))
    assert fastas == sorted(f"output_{n}.fa" for n in range(1, len(fastas) + 1)) and len(fastas) > 1
    assert {path.name for path in out.iterdir()} == {
        "reads_chunked500.fa",
        "reads_identified_nucleotide.fa",
        "reads_identified_protein.faa",
        "nucleotide",
        "protein",
        "merged",
        "embeddings.h5",
    }
    assert {path.suffix for path in out.rglob("*") if path.is_file()} == {".fa", ".faa", ".pt", ".h5"}
    nucleotide = torch.load(out / "nucleotide" / "output_2_DNABERT_S.pt", weights_only=True)
    protein = torch.load(out / "protein" / "output_2_ESM.pt", weights_only=True)
    merged = torch.load(out / "merged" / "output_2_merged.pt", weights_only=True)
    assert nucleotide["nucleotide"] == protein["proteins"] == merged["ids"]
    row = np.array(nucleotide["data"][3]["mean_representation"], dtype=np.float32)
    assert nucleotide["data"][3]["label"] == merged["ids"][3]
    assert np.array_equal(merged["data"][3], np.concatenate([row, protein["data"][3].numpy()]))


def test_long_proteins_are_pooled_alike_on_both_architectures(predict: Predict, tmp_path: Path) -> None:
    """P18: windows of 3,300 bases, 1,100 residues; nothing is truncated, the mean takes the first 1,024."""
    fasta = tmp_path / "long.fa"
    fasta.write_text(f">long\n{random_dna(random.Random(3), 3300)}\n")
    options = ("--expected-length", "3300", "-k")
    one = predict(*options, fasta=fasta, output="v1")
    two = predict(*options, "--parallel", fasta=fasta, output="v2")
    a, b = (
        torch.stack(torch.load(out / "long/intermediate/protein/output_1_ESM.pt", weights_only=True)["data"])
        for out in (one, two)
    )
    lengths = [
        len(line) for line in (one / "long/intermediate/protein/output_1.fa").read_text().split("\n")[1::2]
    ]
    assert max(lengths) == 1100
    assert ((a - b).norm(dim=1) / a.norm(dim=1)).max() < 1e-5


@pytest.mark.parametrize(
    ("text", "same_as"),
    [
        (">a x\r\nATGGCTGCTGCTGCAGCA\r\n", ">a\nATGGCTGCTGCTGCAGCA\n"),
        (">a\n\nauggcugcugcugcagca\n\n", ">a\nATGGCTGCTGCTGCAGCA\n"),
        (">a\nATGGCT\nGCTGCTGCAGCA\n", ">a\nATGGCTGCTGCTGCAGCA\n"),
    ],
)
def test_ways_to_write_the_same(predict: Predict, tmp_path: Path, text: str, same_as: str) -> None:
    one, other = tmp_path / "a b.fa", tmp_path / "plain.fa"
    one.write_text(text)
    other.write_text(same_as)
    assert scores(predict(fasta=one, output="one"), "a_b") == scores(
        predict(fasta=other, output="other"), "plain"
    )


def test_odd_ids_come_back_untouched(predict: Predict, tmp_path: Path) -> None:
    ids = ["we|ird\"id's", "=1+1", "NA", "007", "ü_é", "a_chunk_1F1", "a", "x,y;z"]
    fasta = tmp_path / "odd.fa"
    fasta.write_text("".join(f">{id} words\nATGGCTGCTGCTGCAGCA\n" for id in ids), encoding="utf-8")
    for options in ([], ["--parallel"]):
        out = predict(*options, fasta=fasta, output=f"out{len(options)}")
        assert list(calls(out, "odd")) == ids
        assert [row["sequence_id"] for row in table(out / "odd" / "odd_windows.tsv")] == ids


def test_every_option_that_can_change_the_result_does(predict: Predict) -> None:
    """P49: no option without an effect."""
    plain = predict("-k", output="plain")
    shorter = predict("--expected-length", "300", output="shorter")
    assert scores(plain).keys() != scores(shorter).keys()
    strict = predict("--min-score", "0.99", output="strict")
    assert "virus" in calls(plain).values() and "virus" not in calls(strict).values()
    scored = predict("--score-all", output="scored")
    unscored = [list(calls(out).values()).count("no_call") for out in (plain, scored)]
    assert unscored[0] > unscored[1] and scores(plain) == scores(scored)
    sure = predict("--score-all", "--preset", "strict", output="sure")
    assert cutoffs(plain) == [0.5, 0.5] and cutoffs(sure) > cutoffs(scored)
    half = predict("--precision", "bf16", output="half")
    assert scores(plain) != scores(half)
    split = predict("--split-size", "3", "-k", output="split")
    assert len(list((split / "reads").rglob("output_*.fa"))) > len(
        list((plain / "reads").rglob("output_*.fa"))
    )


def test_token_budget_is_the_one_used(predict: Predict) -> None:
    out = predict("--parallel", "--token-budget", "300")
    stages = json.loads((out / "pipeline_info" / "run_info.json").read_text())
    assert '"token_budget": 300' in json.dumps(stages)


def test_existing_output_is_refused_or_replaced(predict: Predict, tmp_path: Path) -> None:
    """P31: with --force, nothing of an earlier run is taken for this one's."""
    first = predict()
    before = scores(first)
    with pytest.raises(InputError, match="exists and is not empty"):
        predict()
    other = tmp_path / "other" / "reads.fa"
    other.parent.mkdir()
    other.write_text(">only\nATGGCTGCTGCTGCAGCA\n")
    predict("--force", fasta=other)
    assert list(calls(first)) == ["only"] and scores(first).keys().isdisjoint(before)


def test_unfinished_run_is_taken_up_by_resume_only(predict: Predict, monkeypatch: pytest.MonkeyPatch) -> None:
    """--resume reuses embedded files; a changed option or no --resume does not."""
    from virnucpro.pipeline import prediction

    whole = predict(output="whole")
    done: list[int] = []
    embed = prediction.embed_nucleotide_files

    def counting(folder: Path, fastas: list[Path], *rest: object, **named: object) -> Iterator[object]:
        done.append(len(fastas))
        return embed(folder, fastas, *rest, **named)  # type: ignore[arg-type]

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(prediction, "embed_nucleotide_files", counting)
    for options in (["--resume"], []):
        with monkeypatch.context() as patch, pytest.raises(AssertionError):
            patch.setattr(prediction, "embed_protein_files", killed)
            predict(*options)
    assert_same(predict("--resume"), whole)
    assert done == [1, 1, 0], "a run without --resume begins anew"
    assert not (whole.parent / "out" / ".reads.unfinished").exists()


def test_files_are_readable_and_the_current_folder_stays_clean(
    predict: Predict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P47: modes follow the umask, logs go where they are said to be, threads are those given."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    out = predict("--parallel", "-k")
    assert list(here.iterdir()) == []
    umask = os.umask(0)
    os.umask(umask)
    files = [path for path in out.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert {oct(path.stat().st_mode & 0o777) for path in files} == {oct(0o666 & ~umask)}


def test_failed_rank_names_itself_and_its_log(predict: Predict, model_set: ModelSet, tmp_path: Path) -> None:
    """A rank that is killed ends the run with a RuntimeError; --resume then finishes it."""
    done = threading.Event()

    def kill_first_rank() -> None:
        while not done.is_set():
            if children := multiprocessing.active_children():
                time.sleep(0.5)
                os.kill(children[0].pid or 0, signal.SIGKILL)
                return

    killer = threading.Thread(target=kill_first_rank)
    killer.start()
    options = ("--parallel", "--device", "cpu", "--gpus", "2", "--resume")
    try:
        with pytest.raises(RankFailed) as caught:
            predict(*options)
    finally:
        done.set()
        killer.join()
    found = re.search(r"rank (\d) \(killed by signal 9; log: (\S+)\)", str(caught.value))
    assert found and Path(found[2]).name == f"rank_{found[1]}.log" and Path(found[2]).exists()
    assert isinstance(caught.value, RuntimeError)
    assert not (tmp_path / "out" / "reads").exists()
    assert len(calls(predict(*options))) == 12


def test_records_of_one_id_are_told_apart_by_number(reads: Path, predict: Predict, tmp_path: Path) -> None:
    """The user's names stand in the tables; but for the names of frames, all is as with unique ids."""
    rows = [*read_fasta(reads)][:6]
    pairs = {"unique": [f"r{k}" for k in range(6)], "mates": [f"r{k // 2}" for k in range(6)]}
    for name, ids in pairs.items():
        text = "".join(f">{id}\n{row.sequence}\n" for id, row in zip(ids, rows, strict=True))
        (tmp_path / f"{name}.fa").write_text(text)
    with pytest.raises(InputError, match="--duplicate-ids number"):
        predict(fasta=tmp_path / "mates.fa", output="refused")
    unique = predict(fasta=tmp_path / "unique.fa", output="one")
    mates = predict("--parallel", "--duplicate-ids", "number", fasta=tmp_path / "mates.fa", output="two")
    found, wanted = (
        table(folder / name / f"{name}_contigs.tsv")
        for folder, name in ((mates, "mates"), (unique, "unique"))
    )
    assert [row["sequence_id"] for row in found] == pairs["mates"]
    assert len(scores(mates, "mates")) == len(scores(unique, "unique")) > 0
    assert all(re.match(r"\d\|r\d_chunk_", id) for id in scores(mates, "mates"))
    for row, other in zip(found, wanted, strict=True):
        same = ("record", "length", "status", "windows", "windows_with_frame", "call")
        assert [row[column] for column in same] == [other[column] for column in same]
