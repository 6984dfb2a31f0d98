"""Real runs on real input: nothing is lost, both architectures agree, -resume repeats nothing."""

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.pipeline.conftest import Run, pipeline
from virnucpro.models.model_set import ModelSet
from virnucpro.pipeline.prediction import Options, run_prediction
from virnucpro.sequences.fasta import read_fasta
from virnucpro.sequences.windows import windows

pytestmark = pytest.mark.nextflow

DEMO = Path(__file__).parents[1] / "data" / "demo" / "demo.fa.gz"
KEEP = ("--keep_intermediate", "true")


@pytest.fixture(scope="module")
def v2(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """`-profile test,local`: ESM-2 on v2.0, under the legacy parser."""
    return pipeline(tmp_path_factory.mktemp("v2"), *KEEP, parser="v1")


@pytest.fixture(scope="module")
def v1(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same with ESM-2 on v1.0 and several files a DNABERT-S task, under the strict parser."""
    given = ("--v1_fallback", "true", "--dnabert_task_files", "2", *KEEP)
    return pipeline(tmp_path_factory.mktemp("v1"), *given, parser="v2")


@pytest.fixture(params=["v2", "v1"])
def run(request: pytest.FixtureRequest, succeeded: Callable[[Run], Run]) -> Run:
    result: Run = request.getfixturevalue(request.param)
    return succeeded(result)


def test_counts_add_up(run: Run) -> None:
    records = list(read_fasta(DEMO))
    contigs = run.rows("demo/demo_contigs.tsv")
    assert [row["sequence_id"] for row in contigs] == [record.id for record in records]
    rows = run.rows("demo/demo_windows.tsv")
    assert len(rows) == sum(len(windows(len(record.sequence), 500)) for record in records)
    frames = sum(len(row["frames"].split(",")) for row in rows if row["frames"] != "NA")
    proteins = (run.outdir / "demo/intermediate/demo_identified_protein.faa").read_text()
    results = run.rows("demo/prediction_results.txt")
    assert len(results) == frames == proteins.count(">") > 100
    assert {row["call"] for row in contigs} == {"virus", "others"}, "each of them has 100 bases at least"
    assert {row["evidence"] for row in contigs} == {"both", "composition"}


def test_published_files(run: Run) -> None:
    sample = {path.name for path in (run.outdir / "demo").iterdir()}
    assert sample == {
        ".virnucpro",
        "prediction_results.txt",
        "prediction_results_highestscore.csv",
        "demo_contigs.tsv",
        "demo_windows.tsv",
        "demo_viral_ngs.tsv",
        "demo_viral.fa",
        "demo_mqc.json",
        "intermediate",
    }
    inner = run.outdir / "demo" / "intermediate"
    proteins = sorted((inner / "protein").glob("output_*.fa"))
    assert len(proteins) > 1
    for fasta in proteins:
        number = fasta.stem
        assert (inner / "nucleotide" / f"{number}.fa").is_file()
        assert (inner / "nucleotide" / f"{number}_DNABERT_S.pt").is_file()
        assert (inner / "protein" / f"{number}_ESM.pt").is_file()
        assert (inner / "merged" / f"{number}_merged.pt").is_file()
    assert (inner / "embeddings.h5").is_file() == ("ESM2" in run.processes("Submitted"))
    assert "<svg" in (run.outdir / "report.html").read_text()
    info = run.outdir / "pipeline_info"
    assert {path.name.split("-")[0] for path in info.iterdir()} == {
        *("run_info.json", "versions.yml", "trace", "timeline", "dag")
    }
    assert "torch: '2" in (info / "versions.yml").read_text()
    options = json.loads((info / "run_info.json").read_text())["options"]
    assert options["models"] == "mini" and options["expected_length"] == 500 and options["score_all"] is True
    assert "mini is a demonstration" in run.output
    assert "mini is a demonstration" in (run.outdir / "report.html").read_text()


def test_architectures_agree(v2: Run, v1: Run) -> None:
    assert "ESM2" in v2.processes("Submitted") and "ESM2_V1" not in v2.processes("Submitted")
    assert "ESM2_V1" in v1.processes("Submitted") and "ESM2" not in v1.processes("Submitted")
    assert "Architecture: v2.0 hybrid" in v2.output and "Architecture: v1.0" in v1.output
    agree(v2, v1, "demo", "demo")
    for path in ("demo/demo_contigs.tsv", "demo/demo_windows.tsv"):
        assert [row["call"] for row in v2.rows(path)] == [row["call"] for row in v1.rows(path)]


def test_files_of_one_task_have_the_same_bytes(v2: Run, v1: Run) -> None:
    alone, together = (run.outdir / "demo/intermediate/nucleotide" for run in (v2, v1))
    files = {path.name: path.read_bytes() for path in alone.glob("*.pt")}
    assert files == {path.name: path.read_bytes() for path in together.glob("*.pt")} and len(files) == 3
    assert (v2.tasks("DNABERT_S"), v1.tasks("DNABERT_S")) == (3, 2)
    info = json.loads((v1.outdir / "pipeline_info/run_info.json").read_text())
    facts = next(row for row in info["embedding"] if row["stage"] == "DNABERT_S")
    assert facts["sequences"] == len(v1.rows("demo/prediction_results.txt")), "those of every file"


def agree(one: Run, other: Run, sample: str, other_sample: str) -> None:
    """The same frames in the same order, the same calls, scores within 1e-5."""
    ours = one.rows(f"{sample}/prediction_results.txt")
    theirs = other.rows(f"{other_sample}/prediction_results.txt")
    assert len(ours) == len(theirs) > 0
    for row, twin in zip(ours, theirs, strict=True):
        assert (row["Sequence_ID"], row["Prediction"]) == (twin["Sequence_ID"], twin["Prediction"])
        assert float(row["score2"]) == pytest.approx(float(twin["score2"]), abs=1e-5)


def test_resume_repeats_nothing(v2: Run, succeeded: Callable[[Run], Run]) -> None:
    again = succeeded(pipeline(v2.folder, *KEEP, "-resume", parser="v1"))
    assert again.only_cached() == v2.processes("Submitted")


def test_samples_share_esm2(
    tmp_path: Path, model_set: ModelSet, reads: Path, succeeded: Callable[[Run], Run]
) -> None:
    """Three samples, two without any open frame, ESM-2 cut into several tasks of two ranks each: the scores
    are those of the command line."""
    inputs = tmp_path / "my inputs"
    inputs.mkdir()
    shutil.copy(reads, inputs / "some reads.fa")
    # A stop in all six frames of each window; and records shorter than a codon.
    stops = "TAATTAATTAATTAGTTAGTTAGCTAACTAACTAAT" * 4
    (inputs / "closed.fa").write_text(f">closed with stops\n{stops}\n")
    (inputs / "short.fa").write_text(">s1\nAC\n>s2\nT\n")
    sheet = "sample,fasta\nA,some reads.fa\nclosed,closed.fa\nshort,short.fa\n"
    (inputs / "samples.csv").write_text(sheet)
    given = ("--models", str(model_set.directory), "--input", "my inputs/samples.csv", *KEEP)
    cut = ("--split_size", "6", "--esm_task_size", "12", "--gpus", "2")
    run = succeeded(pipeline(tmp_path, *given, *cut, parser="v2"))
    other = Run(0, "", tmp_path / "command line")
    run_prediction(reads, other.outdir, model_set, Options(500))
    agree(run, other, "A", reads.stem)
    files = len(list((run.outdir / "A/intermediate/protein").glob("*.fa"))) + 2
    assert run.output.count("> VIRNUCPRO:ESM2 (") == -(-files // 2) > 1
    assert run.output.count("> VIRNUCPRO:CHECK_MODELS") == 1, "P32: once for all tasks"
    stores = [p.name for p in (run.outdir / "A/intermediate").glob("embeddings*.h5")]
    assert sorted(stores) == [f"embeddings_{n + 1}.h5" for n in range(len(stores))] and len(stores) > 1
    for sample, status, count in (("closed", "no_open_frame", 1), ("short", "too_short", 2)):
        contigs = run.rows(f"{sample}/{sample}_contigs.tsv")
        assert [row["status"] for row in contigs] == [status] * count
        assert run.rows(f"{sample}/prediction_results.txt") == []
        assert (run.outdir / f"{sample}/{sample}_viral.fa").read_text() == ""


@pytest.fixture
def rank_killer(tmp_path: Path) -> Iterator[None]:
    """Kill the process whose output goes to rank_1.log of a task under `tmp_path`, once there is one."""
    over = threading.Event()

    def hunt() -> None:
        while not over.is_set():
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    log = (process / "fd" / "1").readlink()
                except OSError:  # it has ended
                    continue
                if log.name == "rank_1.log" and log.is_relative_to(tmp_path.resolve()):
                    os.kill(int(process.name), signal.SIGKILL)
                    return
            time.sleep(0.2)

    hunter = threading.Thread(target=hunt)
    hunter.start()
    yield
    over.set()
    hunter.join()


@pytest.mark.usefixtures("rank_killer")
def test_killed_rank_ends_the_run(tmp_path: Path, model_set: ModelSet, reads: Path) -> None:
    given = ("--models", str(model_set.directory), "--input", str(reads))
    run = pipeline(tmp_path, *given, "--split_size", "5", "--gpus", "2")
    assert run.code != 0
    assert "rank 1 (killed by signal 9; log:" in run.output and "rank_1.log" in run.output, run.output
    assert not (run.outdir / "report.html").exists()
