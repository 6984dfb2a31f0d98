"""Nothing stale: a changed value, input, model set or package runs the tasks it touches again, and no others.

A stub run is right for this: what is tested is which tasks Nextflow takes from its cache.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pipeline.conftest import ROOT, Run, pipeline

pytestmark = pytest.mark.nextflow

ALWAYS = {"CONSENSUS", "REPORT"}
FROM_ESM2 = {"ESM2", "H5_TO_PT", "MERGE", "PREDICT"} | ALWAYS
FROM_FRAMES = {"EXTRACT_FRAMES", "DNABERT_S"} | FROM_ESM2
EVERYTHING = {"CHECK_MODELS"} | FROM_FRAMES

# Parameter, new value, and the processes that must run again.
CHANGES = [
    ("min_score", "0.7", ALWAYS),
    ("preset", "strict", ALWAYS),
    ("score_all", "true", ALWAYS),
    ("attention", "sdpa", FROM_ESM2 | {"DNABERT_S"}),
    ("token_budget", "2048", FROM_ESM2),
    ("gpus", "2", FROM_ESM2),
    ("esm_task_size", "1", FROM_ESM2),
    ("dnabert_task_files", "2", FROM_ESM2 - {"ESM2"} | {"DNABERT_S"}),
    ("precision", "fp32", FROM_ESM2 | {"DNABERT_S"}),
    ("expected_length", "300", FROM_FRAMES),
    ("split_size", "2", FROM_FRAMES),
    ("duplicate_ids", "number", FROM_FRAMES),
    ("v1_fallback", "true", FROM_ESM2 - {"ESM2", "H5_TO_PT"} | {"ESM2_V1"}),
]


@pytest.mark.parametrize(
    ("parser", "changes"), [("v1", CHANGES[::2]), ("v2", CHANGES[1::2])], ids=["v1", "v2"]
)
def test_changes_run_again(
    tmp_path: Path,
    parser: str,
    changes: list[tuple[str, str, set[str]]],
    stub_models: Path,
    succeeded: Callable[[Run], Run],
) -> None:
    """Each change under one of the two parsers, in turn: the tasks are the same under both."""
    checkout = tmp_path / "checkout"
    for name in ("main.nf", "nextflow.config", "nextflow_schema.json"):
        checkout.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, checkout / name)
    for name in ("bin", "conf", "functions", "modules", "virnucpro"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__", "mini"))
    models = tmp_path / "models"
    shutil.copytree(stub_models, models)
    fasta = tmp_path / "reads.fa"
    fasta.write_text(">a\nACGT\n>b\nACGT\n")

    def resumed(*arguments: str, profile: str = "test,local") -> set[str]:
        """The processes that ran again; all others came from the cache."""
        given = {"--models": str(models), "--input": str(fasta), "--split_size": "1"}
        given |= dict(zip(arguments[::2], arguments[1::2], strict=True))
        options = ["-stub-run", *(["-resume"] if (tmp_path / "launch").exists() else [])]
        words = [word for pair in given.items() for word in pair]
        run = succeeded(
            pipeline(
                tmp_path / "launch",
                *(*options, *words),
                parser=parser,
                profile=profile,
                env={"CUDA_VISIBLE_DEVICES": "0", "VIRNUCPRO_LEASE_DIR": str(tmp_path / "locks")},
                root=checkout,
            )
        )
        assert run.processes("Submitted") | run.processes("Cached") >= EVERYTHING - {"ESM2", "H5_TO_PT"}
        assert not run.processes("Submitted") & run.processes("Cached"), run.output
        return run.processes("Submitted")

    assert resumed() == EVERYTHING
    assert not list((tmp_path / "launch").rglob("intermediate")), "asked for with --keep_intermediate only"
    wrong = {}
    for name, value, expected in changes:
        again = resumed(f"--{name}", value)
        if again != expected:
            wrong[name] = again ^ expected
    assert not wrong
    if parser == "v1":
        assert resumed(profile="gpu,local,test") == FROM_ESM2 | {"DNABERT_S"}
        # What only says where results go changes nothing, and the first run is still in the cache.
        kept = ("--keep_intermediate", "true", "--checkpoint_dir", str(tmp_path / "kept"))
        assert resumed(*kept) <= FROM_ESM2
        return
    fasta.write_text(">a\nACGT\n>b\nACGA\n")
    assert resumed() == FROM_FRAMES
    (models / "manifest.json").write_text('{"window_length": 500, "name": "other"}')
    assert resumed() == EVERYTHING - {"EXTRACT_FRAMES"}
    with (checkout / "virnucpro" / "errors.py").open("a") as package:
        package.write("# edited\n")
    assert resumed() == EVERYTHING


def test_files_stay_in_their_tasks(
    tmp_path: Path, stub_models: Path, succeeded: Callable[[Run], Run]
) -> None:
    """Thirty files go into four tasks, which a resume with one sample more finds cached; or one by one."""
    given = ("--models", str(stub_models), "--split_size", "1", "--esm_task_size", "10")
    (tmp_path / "many.fa").write_text(">a\nACGT\n" * 30)

    def run(*more: str) -> Run:
        return succeeded(pipeline(tmp_path, "-stub-run", *given, *more))

    first = run("--input", "*.fa", "--keep_intermediate", "true")
    assert (first.tasks("DNABERT_S"), first.tasks("ESM2")) == (4, 3)
    published = {path.name for path in (first.outdir / "many/intermediate/nucleotide").glob("*.pt")}
    assert published == {f"output_{number + 1}_DNABERT_S.pt" for number in range(30)}
    (tmp_path / "before.fa").write_text(">a\nACGT\n" * 2)
    second = run("--input", "*.fa", "--keep_intermediate", "true", "-resume")
    assert (second.tasks("DNABERT_S", "Cached"), second.tasks("ESM2", "Cached")) == (4, 3)
    assert (second.tasks("DNABERT_S"), second.tasks("ESM2")) == (1, 1)
    assert len(list((second.outdir / "before/intermediate/nucleotide").glob("*.pt"))) == 2
    (tmp_path / "other.fasta").write_text(">a\nACGT\n" * 16)
    alone = run("--input", "other.fasta", "--outdir", "other", "--dnabert_task_files", "1")
    assert alone.tasks("DNABERT_S") == 16
