"""The one door to ESM-2 v2.0: who goes through it, with what, and what becomes of a rank that fails."""

import json
import runpy
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch
from click.testing import CliRunner

from virnucpro.cli.main import cli
from virnucpro.embedding.facts import StageFacts
from virnucpro.embedding.ranks import Failure, check
from virnucpro.errors import InputError, RankFailed
from virnucpro.models.assemble import assemble_model_set
from virnucpro.models.esm2 import load_esm2
from virnucpro.models.model_set import ModelSet
from virnucpro.pipeline import multi_gpu_inference, prediction
from virnucpro.pipeline.multi_gpu_inference import run_multi_gpu_inference

ESM2_PY = Path(__file__).parents[2] / "bin" / "esm2.py"
Passes = list[tuple[dict[str, Any], tuple[Path, list[Failure]]]]


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Passes:
    """What each call of the door was given, and what it gave; the ranks behind it are real."""
    seen: Passes = []

    def door(**given: Any) -> tuple[Path, list[Failure]]:
        came = run_multi_gpu_inference(**given)
        seen.append((given, came))
        return came

    for caller in (prediction, multi_gpu_inference):  # the second is where bin/esm2.py takes it from
        monkeypatch.setattr(caller, "run_multi_gpu_inference", door)
    return seen


def predict(reads: Path, models: ModelSet, output: Path, *options: str) -> None:
    given = ["predict", str(reads), "-m", str(models.directory), "-o", str(output), "-t", "2", *options]
    result = CliRunner().invoke(cli, given, catch_exceptions=False)
    assert result.exit_code == 0, result.output


def test_parallel_passes_once_with_a_rank_for_each_device(
    passes: Passes, reads: Path, model_set: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction, "embed_protein_files", None)  # the v1.0 way is not gone
    predict(reads, model_set, tmp_path / "out", "--parallel", "--device", "cpu", "--gpus", "2", "-k")
    ((given, (embeddings, failed)),) = passes
    assert given["world_size"] == 2 and failed == []
    assert given["model_config"]["model_type"] == "esm2" and given["runtime_config"].threads == 2
    assert [path.name for path in given["fasta_files"]] == ["output_1.fa"]
    assert embeddings.name == "embeddings.h5" and given["output_dir"] in embeddings.parents
    stages = json.loads((tmp_path / "out" / "pipeline_info" / "run_info.json").read_text())["embedding"]
    assert [stage["world_size"] for stage in stages if stage["architecture"] == "v2.0"] == [2]


def test_v1_does_not_pass(passes: Passes, reads: Path, model_set: ModelSet, tmp_path: Path) -> None:
    predict(reads, model_set, tmp_path / "out")
    predict(reads, model_set, tmp_path / "fallback", "--parallel", "--v1-fallback")
    assert passes == []


def test_a_task_for_many_samples_passes_once(
    passes: Passes, model_set: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "1.fa").write_text(">a\nMKL\n>b\nMKW\n")
    (tmp_path / "2.fa").write_text(">c\nMKWL\n")
    esm2 = runpy.run_path(str(ESM2_PY))["esm2"]
    options = ["--models", str(model_set.directory), "--device", "cpu", "--gpus", "2"]
    inputs = ["soil=1.fa", "sea=2.fa", "soil=2.fa"]
    result = CliRunner().invoke(esm2, [*options, *inputs], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert [given["world_size"] for given, _ in passes] == [2]
    for sample, ids in {"soil": ["a", "b", "c"], "sea": ["c"]}.items():
        with h5py.File(tmp_path / f"{sample}.embeddings.h5") as file:
            assert list(file["sequence_ids"].asstr()[:]) == ids
    assert json.loads((tmp_path / "esm2.json").read_text())["world_size"] == 2


@pytest.fixture
def broken_models(fair_esm: Path, model_set: ModelSet, tmp_path: Path) -> ModelSet:
    """A model set whose ESM-2 gives no finite number for a protein with a leucine."""
    checkpoint = torch.load(fair_esm, weights_only=False)
    (leucine,) = load_esm2(fair_esm, torch.device("cpu")).tokenize(["L"])[0][1:2]
    name = next(name for name in checkpoint["model"] if name.endswith("embed_tokens.weight"))
    checkpoint["model"][name][leucine] = float("nan")
    torch.save(checkpoint, tmp_path / "esm2.pt")
    return assemble_model_set(
        tmp_path / "broken",
        esm2=tmp_path / "esm2.pt",
        dnabert_s=model_set.dnabert_s,
        classifier=model_set.classifier,
        window_length=500,
    )


def test_a_failed_rank_is_a_runtime_error_with_its_log(
    passes: Passes, reads: Path, broken_models: ModelSet, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError, match=r"ESM-2 v2\.0: \d of 2 ranks failed: rank") as caught:
        predict(reads, broken_models, tmp_path / "out", "--parallel", "--device", "cpu", "--gpus", "2")
    ((given, (_, failed)),) = passes
    assert failed and set(failed) <= {0, 1}
    for rank in failed:
        log = given["output_dir"] / "logs" / f"rank_{rank:d}.log"
        assert f"rank {rank:d} (exit code 1; log: {log})" in str(caught.value)
        assert "its embedding is not finite" in log.read_text()
    assert "its embedding is not finite" in str(caught.value)
    assert not (tmp_path / "out" / "reads").exists()


def test_a_mere_number_is_a_failed_rank_too(tmp_path: Path) -> None:
    """As the reference's door gives them."""
    with pytest.raises(RankFailed) as caught:
        check([1, 3], 4, "ESM-2 v2.0", tmp_path)
    ranks = ", ".join(f"rank {rank} (log: {tmp_path / f'rank_{rank}.log'})" for rank in (1, 3))
    assert str(caught.value) == f"ESM-2 v2.0: 2 of 4 ranks failed: {ranks}"


@pytest.mark.parametrize(("world_size", "gpus"), [(0, None), (-1, None), (0, []), (2, [None])])
def test_each_rank_needs_a_device(
    fair_esm: Path, tmp_path: Path, world_size: int, gpus: list[str | None] | None
) -> None:
    config = {"model_type": "esm2", "model_name": "tiny", "weights": fair_esm, "device": "cpu"}
    with pytest.raises(InputError, match=f"world_size {world_size}: one device a rank"):
        run_multi_gpu_inference([], tmp_path, config, world_size, gpus=gpus)


@pytest.mark.parametrize(
    ("asked", "precision"),
    [({}, "fp32"), ({"enable_fp16": True}, "fp16"), ({"enable_fp16": True, "precision": "bf16"}, "bf16")],
)
def test_the_precision_asked_for_is_taken(
    fair_esm: Path, tmp_path: Path, asked: dict[str, Any], precision: str
) -> None:
    config = {"model_type": "esm2", "model_name": "tiny", "weights": fair_esm, "device": "cpu"}
    told: list[StageFacts] = []
    run_multi_gpu_inference([], tmp_path, config | asked, 1, whole=told.append)
    assert [facts.precision for facts in told] == [precision]
