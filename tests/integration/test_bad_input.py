"""Bad input at the command line: exit code not 0, one clear line, nothing half-written."""

import gzip
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from virnucpro.cli.main import main
from virnucpro.models.model_set import ModelSet

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the program in this process: (exit code, last line of stderr); no traceback."""

    def program(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["virnucpro", "--quiet", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        shown = capsys.readouterr().err
        assert "Traceback" not in shown
        code = end.value.code
        assert isinstance(code, int)
        return code, shown.strip().splitlines()[-1] if shown.strip() else ""

    return program


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no FASTA record"),
        (b">a\n>b\nACGT\n", "record 1 (line 1), 'a', has no sequence"),
        (b">a x\nACGT\n>b\nAC\n>a y\nGGGG\n", "records 1 and 3 have one id, 'a'"),
        (b"@r\nACGT\n+\nIIII\n", "line 1: this is FASTQ"),
        (b">p\nMKVLAAGEEQ\n", "record 1 (line 1), 'p', holds 'L'"),
        (bytes(range(256)), "line 1: this is binary data"),
        (gzip.compress(b">a\n" + b"ACGTTGCA" * 4000)[:-20], "cut off or damaged"),
    ],
)
@pytest.mark.parametrize("parallel", [[], ["--parallel"]])
def test_bad_fasta(
    run: Run, model_set: ModelSet, tmp_path: Path, content: bytes, message: str, parallel: list[str]
) -> None:
    fasta = tmp_path / "bad.fa"
    fasta.write_bytes(content)
    code, line = run("predict", fasta, "-m", model_set.directory, "-o", tmp_path / "out", *parallel)
    assert code == 2
    assert line.startswith(f"Error: {fasta}") and message in line
    assert not (tmp_path / "out").exists()


def test_path_that_does_not_exist(run: Run, model_set: ModelSet, tmp_path: Path) -> None:
    code, line = run("predict", tmp_path / "no.fa", "-m", model_set.directory, "-o", tmp_path / "out")
    assert (code, line) == (2, f"Error: {tmp_path / 'no.fa'}: no such file")
    assert not (tmp_path / "out").exists()


def test_output_that_cannot_be_written(run: Run, reads: Path, model_set: ModelSet, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file" / "out", Path("/proc/virnucpro")):
        code, line = run("predict", reads, "-m", model_set.directory, "-o", folder)
        assert code == 2 and f"{folder}: cannot be written" in line


def test_output_that_exists(run: Run, reads: Path, model_set: ModelSet, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    code, line = run("predict", reads, "-m", model_set.directory, "-o", tmp_path)
    assert code == 2 and "exists and is not empty" in line and "--force" in line
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.fixture
def broken_set(model_set: ModelSet, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_set.directory, tmp_path / "broken"))


@pytest.mark.parametrize(
    "name",
    [
        "esm2.safetensors",
        "classifier.safetensors",
        "dnabert_s/config.json",
        "dnabert_s/model.safetensors",
        "dnabert_s/tokenizer.json",
    ],
)
def test_model_set_with_a_missing_or_damaged_file(
    run: Run, reads: Path, broken_set: Path, tmp_path: Path, name: str
) -> None:
    path = broken_set / name
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for content, word in ((whole[:-1], "damaged"), (bytes(flipped), "damaged"), (None, "missing")):
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        code, line = run("predict", reads, "-m", broken_set, "-o", tmp_path / "out", "--parallel")
        assert code == 2 and str(path) in line and word in line
        assert not (tmp_path / "out").exists()


def test_model_set_that_is_none(
    run: Run, reads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIRNUCPRO_MODELS", str(tmp_path / "sets"))
    code, line = run("predict", reads, "-o", tmp_path / "out")
    assert code == 2 and "'virnucpro-500' not found" in line
    assert "Bring it with: virnucpro models fetch virnucpro-500" in line
    code, line = run("predict", reads, "-m", "ours", "-o", tmp_path / "out")
    assert code == 2 and f"virnucpro models create {tmp_path / 'sets' / 'ours'} --esm2" in line
    (tmp_path / "empty").mkdir()
    code, line = run("predict", reads, "-m", tmp_path / "empty", "-o", tmp_path / "out")
    assert code == 2 and "no manifest.json" in line
    (tmp_path / "empty" / "manifest.json").write_text('{"name": "x"}')
    code, line = run("predict", reads, "-m", tmp_path / "empty", "-o", tmp_path / "out")
    assert code == 2 and "not a model set's manifest" in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--parallel", "--gpus", "0,7"], "no GPU"),
        (["--parallel", "--device", "cuda"], "none is visible"),
        (["--device", "cpu", "--parallel", "--gpus", "0,1"], "the number of CPU ranks"),
        (["--gpus", "1"], "--gpus needs --parallel"),
        (["--parallel", "--token-budget", "0"], "neither 'auto' nor a positive number"),
        (["--min-score", "2"], "is not in the range"),
        (["--no-such-option"], "No such option"),
    ],
)
def test_options_that_cannot_be(
    run: Run, reads: Path, model_set: ModelSet, tmp_path: Path, options: list[str], message: str
) -> None:
    code, line = run("predict", reads, "-m", model_set.directory, "-o", tmp_path / "out", *options)
    assert code == 2 and message in line
    assert not (tmp_path / "out").exists()


def test_validate_says_what_predict_would(run: Run, reads: Path, tmp_path: Path) -> None:
    assert run("utils", "validate", reads)[0] == 0
    (tmp_path / "bad.fa").write_text("ACGT")
    assert run("utils", "validate", tmp_path / "bad.fa")[0] == 2


def test_models_verify_and_create(
    run: Run, fair_esm: Path, dnabert_folder: Path, broken_set: Path, tmp_path: Path
) -> None:
    assert run("models", "verify", broken_set)[0] == 0
    wrong = ["--esm2", fair_esm, "--dnabert-s", dnabert_folder, "--classifier", fair_esm]
    code, line = run("models", "create", tmp_path / "new", *wrong)
    assert code == 2 and str(fair_esm) in line and not (tmp_path / "new").exists()
    right = [*wrong[:-1], broken_set / "classifier.safetensors", "--window-length", "300"]
    assert run("models", "create", tmp_path / "new", *right)[0] == 0
    assert ModelSet.open(tmp_path / "new").window_length == 300
    assert "exists already" in run("models", "create", tmp_path / "new", *right)[1]
