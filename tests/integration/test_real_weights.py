"""The original's answers from the original weights: FASTA to scores, against its own stored results.

Needs the model set virnucpro-500, which no test can bring: `virnucpro models fetch virnucpro-500`.
"""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from virnucpro.cli.main import cli
from virnucpro.models.model_set import ModelSet

VARIABLE = "VIRNUCPRO_REAL_WEIGHTS"
SAMPLE = "test_with_orfs"


@pytest.fixture(scope="module")
def models() -> ModelSet:
    if VARIABLE not in os.environ:
        pytest.skip(
            f"{VARIABLE} is not set: give it the folder of the model set virnucpro-500, with the published "
            "ESM-2 3B, DNABERT-S and 500_model.pth (virnucpro models fetch virnucpro-500)"
        )
    return ModelSet.open(os.environ[VARIABLE])


def scores(path: Path) -> dict[str, tuple[str, float, float]]:
    with path.open(newline="") as table:
        return {
            row["Sequence_ID"]: (row["Prediction"], float(row["score1"]), float(row["score2"]))
            for row in csv.DictReader(table, delimiter="\t")
        }


def relative_l2(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.linalg.norm(found - truth) / np.linalg.norm(truth))


@pytest.mark.real_weights
@pytest.mark.parametrize("architecture", [["--v1-fallback"], ["--parallel"]])
def test_the_originals_embeddings_and_scores(
    models: ModelSet, golden: Path, tmp_path: Path, architecture: list[str]
) -> None:
    """Float32, every frame: embeddings within 1e-5 (relative L2), scores within 1e-6, equal calls."""
    given = [
        "predict",
        str(golden / f"{SAMPLE}.fa"),
        "-m",
        str(models.directory),
        "-o",
        str(tmp_path / "out"),
    ]
    done = CliRunner().invoke(
        cli, [*given, "-k", "--precision", "fp32", *architecture], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    sample = tmp_path / "out" / SAMPLE
    files = [
        torch.load(folder / "output_1_merged.pt", weights_only=True)
        for folder in (sample / "intermediate" / "merged", golden / f"{SAMPLE}_merged")
    ]
    assert files[0]["ids"] == files[1]["ids"]
    ours, theirs = (file["data"].numpy() for file in files)
    assert ours.shape == theirs.shape == (4, 768 + 2560)
    for row, truth in zip(ours, theirs, strict=True):
        assert relative_l2(row[:768], truth[:768]) <= 1e-5
        assert relative_l2(row[768:], truth[768:]) <= 1e-5
    found = scores(sample / "prediction_results.txt")
    expected = scores(golden / f"{SAMPLE}_merged" / "prediction_results.txt")
    assert found.keys() == expected.keys()
    for id, (call, *values) in expected.items():
        assert found[id][0] == call
        assert found[id][1:] == pytest.approx(values, abs=1e-6)
