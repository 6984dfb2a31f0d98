"""Bad input at the command line: exit code not 0, one clear line, nothing half-written."""

import gzip
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.test_classifier import pickled_original
from virnucpro.cli.main import main
from virnucpro.errors import InputError
from virnucpro.models.checksums import file_sha256
from virnucpro.models.classifier import load_classifier
from virnucpro.models.model_set import ModelSet
from virnucpro.models.weights import read_metadata, read_safetensors, write_safetensors

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
        (b">a\n>b\nACGT\n", "record 1 (line 1), 'a', has no sequence"),
        (b">a x\nACGT\n>b\nAC\n>a y\nGGGG\n", "records 1 and 3 have one id, 'a'"),
        (b"@r\nACGT\n+\nIII\n", "record 1 (line 1), 'r', has 4 letters and 3 qualities"),
        (b">p\nMKVLAAGEEQ\n", "record 1 (line 1), 'p', holds 'L'"),
        (bytes(range(256)), "line 1: this is binary data"),
        (gzip.compress(b">a\n" + b"ACGTTGCA" * 4000, mtime=0)[:-20], "the gzip file is cut off"),
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
    assert run("models", "create", tmp_path / "new", *right, "--precision", "fp32")[0] == 0
    made = ModelSet.open(tmp_path / "new")
    assert made.window_length == 300 and made.precision == ("fp32",)
    assert made.manifest["sources"]["esm2"]["files"] == {fair_esm.name: file_sha256(fair_esm)}
    assert "exists already" in run("models", "create", tmp_path / "new", *right)[1]


def test_precision_that_the_set_does_not_allow(
    run: Run, reads: Path, broken_set: Path, tmp_path: Path
) -> None:
    manifest = broken_set / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"precision": ["fp32"]}))
    for architecture in ([], ["--parallel"]):
        given = ["predict", reads, "-m", broken_set, "-o", tmp_path / "out", "--precision", "bf16"]
        code, line = run(*given, *architecture)
        assert code == 2 and line == "Error: --precision bf16: this model set allows fp32"
        assert not (tmp_path / "out").exists()


def test_models_convert(
    run: Run, fair_esm: Path, dnabert_folder: Path, model_set: ModelSet, tmp_path: Path
) -> None:
    pth = tmp_path / "500_model.pth"
    pickled_original(pth, 80, 4)
    for part, source, target in (
        ("esm2", fair_esm, "esm2.safetensors"),
        ("dnabert-s", dnabert_folder, "dnabert_s"),
        ("classifier", pth, "classifier.safetensors"),
    ):
        given = ("models", "convert", part, source, tmp_path / target)
        assert run(*given)[0] == 0
        assert "exists already" in run(*given)[1]
        code, line = run("models", "convert", part, tmp_path / "no", tmp_path / "other.safetensors")
        assert code == 2 and str(tmp_path / "no") in line and not (tmp_path / "other.safetensors").exists()
    assert (tmp_path / "esm2.safetensors").read_bytes() == model_set.esm2.read_bytes()
    assert load_classifier(tmp_path / "classifier.safetensors").input_dim == 80
    assert read_metadata(tmp_path / "classifier.safetensors") == {
        "classifier": '{"layers": [80, 4, 2], "labels": ["others", "virus"]}'
    }
    assert "must end in .safetensors" in run("models", "convert", "esm2", fair_esm, tmp_path / "esm2.pt")[1]


def test_a_classifier_with_other_labels_is_refused(model_set: ModelSet, tmp_path: Path) -> None:
    """Scores mean what the labels say: the two the other way round must not pass for ours."""
    state, metadata = read_safetensors(model_set.classifier)
    path = tmp_path / "turned.safetensors"
    write_safetensors(path, state, {"classifier": metadata["classifier"].replace("others", "other")})
    with pytest.raises(InputError, match=r"its metadata say .*convert the classifier again"):
        load_classifier(path)
