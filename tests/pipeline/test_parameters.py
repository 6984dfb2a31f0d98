"""Every wrong parameter stops the run with one line that says what to do, before any task starts."""

import gzip
import json
import os
import re
from pathlib import Path

import pytest

from tests.pipeline.conftest import ROOT, nextflow, pipeline
from virnucpro.files import sample_name

pytestmark = pytest.mark.nextflow


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Inputs, good and bad, for the cases below."""
    (tmp_path / "good models").mkdir()
    (tmp_path / "good models" / "manifest.json").write_text('{"window_length": 500}')
    (tmp_path / "exact").mkdir()
    (tmp_path / "exact" / "manifest.json").write_text('{"window_length": 500, "precision": ["fp32"]}')
    (tmp_path / "bare").mkdir()
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "manifest.json").write_text('{"window_')
    (tmp_path / "a file").touch()
    for name in ("my reads.fa", "x 1.fa", "x_1.fasta", "[odd].fna", "a, b.fa"):
        (tmp_path / name).write_text(">a\nACGT\n")
    with gzip.open(tmp_path / "z.fasta.gz", "wt") as out:
        out.write(">a\nACGT\n")
    (tmp_path / "sheets").mkdir()
    sheets = {
        "good": 'sample,fasta\r\nA,../my reads.fa\r\n\r\n"B","../a, b.fa"\r\n',
        "columns": "name,fasta\nA,../z.fasta.gz\n",
        "twice": "sample,fasta\nA,../my reads.fa\nA,../z.fasta.gz\n",
        "empty": "",
        "header": "sample,fasta\n",
        "missing": "sample,fasta\nA,../z.fasta.gz\nB,nowhere.fa\n",
        "short": "sample,fasta\nA\n",
        "name": "sample,fasta\na b,../z.fasta.gz\n",
    }
    for name, text in sheets.items():
        (tmp_path / "sheets" / f"{name}.csv").write_text(text)
    return tmp_path


CASES: list[tuple[dict[str, object], str]] = [
    ({}, "ok my_reads"),
    ({"input": "*.fa"}, "ok a__b my_reads x_1$"),
    ({"input": "[odd].fna"}, r"ok _odd_"),
    ({"input": "sheets/good.csv"}, "ok A B"),
    ({"gpus": 2, "token_budget": 4096, "min_score": 0, "v1_fallback": "true"}, "ok my_reads"),
    ({"inptu": "x"}, "--inptu is not a parameter of this pipeline"),
    ({"minScore": 1}, "--minScore is not a parameter of this pipeline; --min_score is"),
    ({"input": None}, "--input is missing: FASTA"),
    ({"outdir": None}, "--outdir is missing"),
    ({"input": True}, "--input needs a value"),
    ({"v1_fallback": "maybe"}, "--v1_fallback maybe: must be true or false"),
    ({"split_size": "many"}, "--split_size many: must be a whole number"),
    ({"split_size": 0}, "--split_size 0: must be at least 1"),
    ({"split_size": 1.5}, "--split_size 1.5: must be a whole number"),
    ({"expected_length": 2}, "--expected_length 2: must be at least 3"),
    ({"min_score": 1.2}, "--min_score 1.2: must be at most 1"),
    ({"min_score": "high"}, "--min_score high: must be a number"),
    ({"preset": "loose"}, "--preset loose: must be one of strict, balanced, sensitive"),
    ({"score_all": "maybe"}, "--score_all maybe: must be true or false"),
    ({"precision": "fp8"}, "--precision fp8: must be one of auto, fp16, bf16, fp32"),
    ({"token_budget": "none"}, "--token_budget none: must be auto or a whole number"),
    ({"gpus": 0}, "--gpus 0: must be all or a whole number"),
    ({"gpus": "0,1"}, "--gpus 0,1: must be all or a whole number"),
    ({"dnabert_task_files": 8}, "ok my_reads"),
    ({"dnabert_task_files": 0}, "--dnabert_task_files 0: must be auto or a whole number"),
    ({"dnabert_task_files": "all"}, "--dnabert_task_files all: must be auto or a whole number"),
    ({"esm_task_size": 5, "split_size": 10}, r"--esm_task_size 5: must be at least --split_size \(10\)"),
    ({"input": "nowhere.fa"}, "--input nowhere.fa: no such file"),
    ({"input": "nowhere*.fa"}, r"--input nowhere\*.fa: no file matches"),
    ({"input": "sheets"}, "--input sheets: is a folder"),
    ({"input": "x*1.fa*"}, "two inputs are both named 'x_1': .*x 1.fa and .*x_1.fasta; .*samplesheet"),
    ({"input": "sheets/columns.csv"}, "columns.csv, line 1: column 'sample' is missing"),
    ({"input": "sheets/twice.csv"}, "two inputs are both named 'A'"),
    ({"input": "sheets/empty.csv"}, "empty.csv: is empty; the first line must be sample,fasta"),
    ({"input": "sheets/header.csv"}, "header.csv: lists no sample"),
    ({"input": "sheets/missing.csv"}, "missing.csv, line 3: no such file: nowhere.fa"),
    ({"input": "sheets/short.csv"}, "short.csv, line 2: needs a sample and a fasta"),
    ({"input": "sheets/name.csv"}, "name.csv, line 2: sample 'a b' may hold only letters"),
    (
        {"models": "unheard-of"},
        r"--models unheard-of: no such model set here; make it .*virnucpro models create .*\(mini\)$",
    ),
    (
        {"models": "virnucpro-300"},
        "--models virnucpro-300: no such .*; bring it with: virnucpro models fetch virnucpro-300; or",
    ),
    ({"models": "exact", "precision": "fp32"}, "ok my_reads"),
    ({"models": "exact", "precision": "fp16"}, "--precision fp16: model set exact allows fp32"),
    ({"models": "bare"}, "--models bare: .*manifest.json is missing"),
    ({"models": "torn"}, "torn/manifest.json: must be a JSON object with a whole number window_length"),
    ({"outdir": "a file/results"}, "--outdir a file/results: cannot be written .*choose another folder"),
]

# --dnabert_task_files, files of the run, tasks side by side (0: any number), most of them; files per task.
FILES_PER_TASK = [
    (("1", 100, 1, 30), 1),
    (("7", 3, 0, 30), 7),
    (("auto", 0, 1, 30), 1),
    (("auto", 3, 1, 30), 1),
    (("auto", 15, 8, 30), 1),
    (("auto", 16, 1, 30), 4),
    (("auto", 17, 4, 30), 5),
    (("auto", 30, 1, 30), 8),
    (("auto", 30, 8, 30), 4),
    (("auto", 16, 64, 30), 1),
    (("auto", 1000, 1, 30), 30),
    (("auto", 1000, 1, 4), 4),
    (("auto", 1000, 1, 1), 1),
    (("auto", 1000, 0, 30), 1),
]
# Whether on GPUs, the configuration; tasks side by side, of four CPUs, where there are three GPUs.
AT_ONCE: list[tuple[tuple[bool, dict[str, object]], int]] = [
    ((False, {}), max(1, len(os.sched_getaffinity(0)) // 4)),
    ((True, {}), 3),
    ((True, {"process": {"executor": "local"}, "executor": {"name": "sge"}}), 3),
    ((True, {"process": {"executor": "slurm"}}), 4),
    ((False, {"process": {"executor": "awsbatch"}}), 0),
    ((True, {"executor": {"name": "k8s", "queueSize": 9}}), 4),
    ((False, {"executor": "lsf"}), 0),
    ((True, {"executor": {"queueSize": 9}}), 3),
]
CASES += [({"files_per_task": given}, f"gives {number}$") for given, number in FILES_PER_TASK]
CASES += [({"at_once": given}, f"gives {number}$") for given, number in AT_ONCE]


@pytest.mark.parametrize("parser", ["v1", "v2"])
def test_checks(folder: Path, parser: str) -> None:
    good = {"input": "my reads.fa", "outdir": "out dir", "models": "good models"}
    (folder / "cases.json").write_text(json.dumps([good | case for case, _ in CASES]))
    run = nextflow(
        folder,
        *("-C", str(ROOT / "nextflow.config"), "run", str(ROOT / "tests" / "pipeline" / "checks.nf")),
        *("--cases", "cases.json"),
        parser=parser,
        env={"VIRNUCPRO_MODELS": str(folder / "no models"), "CUDA_VISIBLE_DEVICES": "0,2,GPU-5"},
    )
    assert run.code == 0, run.output
    said = dict(re.findall(r"^case (\d+): (.*)$", run.output, re.MULTILINE))
    wrong = []
    for n, (case, expected) in enumerate(CASES):
        anywhere = "" if expected.startswith(("ok", "--", "two", "gives")) else ".*"
        if not re.match(anywhere + expected, said.get(str(n), "")):
            wrong.append(f"{case}: said {said.get(str(n))!r}, not {expected!r}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("parser", "arguments", "message"),
    [
        ("v2", ["--min-score", "0.5"], "--minScore is not a parameter of this pipeline; --min_score is"),
        ("v1", ["--input", "no reads.fa"], "--input no reads.fa: no such file"),
    ],
)
def test_wrong_parameter_stops_the_run(
    tmp_path: Path, parser: str, arguments: list[str], message: str
) -> None:
    run = pipeline(tmp_path, *arguments, parser=parser)
    assert run.code == 1
    assert len([line for line in run.output.splitlines() if message in line]) == 1, run.output
    assert not run.processes("Submitted")
    assert "at nextflow." not in run.output  # no stack trace


def test_help(tmp_path: Path) -> None:
    run = nextflow(tmp_path, "run", str(ROOT / "main.nf"), "--help", parser="v2")
    assert run.code == 0 and "WARN" not in run.output, run.output
    schema = json.loads((ROOT / "nextflow_schema.json").read_text())
    for group in schema["$defs"].values():
        assert f"\n{group['title']}\n" in run.output
        for name, rule in group["properties"].items():
            assert re.search(rf"  --{name} +{re.escape(rule['description'])}", run.output)
    assert re.search(r"--split_size .*\[default: 10000\]", run.output)
    assert re.search(r"--outdir .*\[required\]", run.output)


@pytest.mark.parametrize(
    "name", ["reads.fa", "run 7.FASTA.gz", "a.b.fna", "x.fas", "odd[1].fa.txt", "é.fa", "a.fq.zst", "b.BAM"]
)
def test_sample_names_are_those_of_the_package(name: str) -> None:
    """functions/samples.nf states the rule of virnucpro/files.py again: keep the two in step."""
    text = (ROOT / "functions" / "samples.nf").read_text()
    suffix, odd = re.search(r"replaceFirst\(/\(\?i\)(.+?)/, ''\)\.replaceAll\(/(.+?)/, '_'\)", text).groups()  # type: ignore[union-attr]
    assert re.sub(odd, "_", re.sub(suffix, "", name, count=1, flags=re.IGNORECASE)) == sample_name(Path(name))
