"""`virnucpro compare` on real runs, as they are and with one thing changed at a time."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from virnucpro.cli.main import cli
from virnucpro.errors import InputError
from virnucpro.models.assemble import assemble_model_set
from virnucpro.models.classifier import load_classifier, save_classifier
from virnucpro.models.model_set import ModelSet


def predict(fasta: Path, models: Path, output: Path, *options: str) -> Path:
    given = ["predict", str(fasta), "-m", str(models), "-o", str(output), "-t", "2", "-k", *options]
    assert CliRunner().invoke(cli, given, catch_exceptions=False).exit_code == 0
    return output


@pytest.fixture(scope="module")
def v1(reads: Path, model_set: ModelSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return predict(reads, model_set.directory, tmp_path_factory.mktemp("compare") / "v1")


@pytest.fixture
def copy(v1: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(v1, tmp_path / "copy"))


def compare(one: Path, other: Path, *options: str) -> tuple[int, str]:
    # Not standalone: a command's return value is its exit code, as in virnucpro.cli.entry.
    runner = CliRunner()
    done = runner.invoke(
        cli, ["compare", str(one), str(other), *options], catch_exceptions=False, standalone_mode=False
    )
    return int(done.return_value), done.output


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, f"{old!r} is there once"
    path.write_text(text.replace(old, new))


def test_a_run_is_itself(v1: Path, copy: Path) -> None:
    code, said = compare(v1, copy)
    assert code == 0 and len(said.splitlines()) == 4
    assert "reads: 12 sequences in both, 0 with another call" in said
    assert "0 in one alone; scores differ by at most 0, 0.00% by over 0.001" in said
    assert "esm2 embeddings" in said and "dnabert_s embeddings" in said
    assert said.count("relative L2 at most 0 ") == 2


def test_the_two_architectures(v1: Path, reads: Path, model_set: ModelSet, tmp_path: Path) -> None:
    v2 = predict(reads, model_set.directory, tmp_path / "v2", "--parallel")
    code, said = compare(v1, v2)
    assert code == 0, said
    assert "options.architecture: v1.0 | v2.0\n" in said
    assert "ESM2.engine: - | v2.0 packed\n" in said and "ESM2_V1.attention: fair-esm | -\n" in said
    assert "sha256" not in said and ", 0.00% by over" in said


def test_another_classifier(v1: Path, reads: Path, model_set: ModelSet, tmp_path: Path) -> None:
    """P20: runs with different classifiers were once compared as if they had one."""
    turned = load_classifier(model_set.classifier)
    for tensor in (turned.output_layer.weight.data, turned.output_layer.bias.data):
        tensor.copy_(tensor.flip(0).clone())
    save_classifier(tmp_path / "classifier.safetensors", turned)
    other = assemble_model_set(
        tmp_path / "other", esm2=model_set.esm2, dnabert_s=model_set.dnabert_s,
        classifier=tmp_path / "classifier.safetensors", window_length=500,
    )  # fmt: skip
    code, said = compare(v1, predict(reads, other.directory, tmp_path / "out"))
    ours, theirs = (found.sha256(found.classifier) for found in (model_set, other))
    assert code == 1 and f"model_set.sha256.classifier.safetensors: {ours} | {theirs}\n" in said
    assert "model_set.sha256.esm2.safetensors" not in said and "relative L2 at most 0 " in said
    assert re.search(r"[1-9]\d* with another call\n  read_\d+: (virus \| others|others \| virus)\n", said)


def test_one_change_at_a_time_is_told_with_its_place(v1: Path, copy: Path) -> None:
    contigs = copy / "reads" / "reads_contigs.tsv"
    row = next(line for line in contigs.read_text().splitlines() if line.endswith("\tvirus"))
    edit(contigs, row, row.removesuffix("virus") + "others")
    results = copy / "reads" / "prediction_results.txt"
    id, label, others, virus = results.read_text().splitlines()[2].split("\t")
    edit(results, f"{id}\t{label}\t{others}\t{virus}", f"{id}\t{label}\t{others}\t{float(virus) + 0.25}")
    merged = next((copy / "reads" / "intermediate" / "merged").iterdir())
    content = torch.load(merged, weights_only=True)
    content["data"][1, 48:] *= 1.5
    torch.save(content, merged)
    code, said = compare(v1, copy)
    assert code == 1
    assert f"1 with another call\n  {row.split(chr(9))[1]}: virus | others\n" in said
    frames = len(results.read_text().splitlines()) - 1
    assert f"by at most 0.25, {1 / frames:.2%} by over 0.001\n  {id}: 0.25\n" in said
    assert f"dnabert_s embeddings of {frames} frames, relative L2 at most 0 " in said
    assert f"relative L2 at most 0.5 ({content['ids'][1]}), median 0\n" in said


def test_inputs_that_differ_are_named(v1: Path, copy: Path) -> None:
    contigs = copy / "reads" / "reads_contigs.tsv"
    header, *lines = contigs.read_text().splitlines()
    contigs.write_text("\n".join([header, *reversed(lines[1:])]) + "\n")
    code, said = compare(v1, copy, "--show", "0")
    assert code == 1 and f"reads: 1 sequences only in {v1}\n  ... and 1 more\n" in said
    assert "11 sequences in both, 0 with another call" in said, "the order of rows does not matter"
    shutil.copytree(copy / "reads", copy / "more")
    assert f"more: not in {v1}" in compare(v1, copy)[1]


def test_runs_without_intermediate_files(v1: Path, copy: Path) -> None:
    shutil.rmtree(copy / "reads" / "intermediate")
    code, said = compare(v1, copy)
    assert code == 0 and "embeddings not compared, as not both runs kept theirs" in said


def test_what_is_no_run(v1: Path, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match="no results of a run"):
            compare(v1, folder)
