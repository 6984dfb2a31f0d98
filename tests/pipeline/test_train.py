"""`--mode train`: the pipeline embeds a dataset's frames and trains a model set that a run can use."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.dataset import write_dataset
from tests.pipeline.conftest import Run, pipeline
from virnucpro.models.model_set import ModelSet

pytestmark = pytest.mark.nextflow


def test_trains_a_model_set_on_features_of_the_pipeline(
    tmp_path: Path, succeeded: Callable[[Run], Run]
) -> None:
    dataset = write_dataset(tmp_path / "my dataset")
    run = succeeded(pipeline(tmp_path / "run", "--mode", "train", "--dataset", str(dataset), parser="v2"))
    assert run.tasks("TRAIN") == 1 and "PREDICT" not in run.processes("Submitted")
    made, mini = ModelSet.open(run.outdir / "mini-trained"), ModelSet.open("mini")
    made.verify()
    assert made.manifest["training"]["encoders"] == "of mini, frozen" and made.score_all
    assert made.sha256(made.esm2) == mini.sha256(mini.esm2)
    again = succeeded(
        pipeline(tmp_path / "run", "--mode", "train", "--dataset", str(dataset), "-resume", parser="v2")
    )
    assert "TRAIN" in again.only_cached()


def test_a_folder_that_is_no_dataset_is_refused(tmp_path: Path) -> None:
    for given, message in (
        ([], "--dataset is missing: --mode train needs a folder"),
        (
            ["--dataset", str(tmp_path)],
            "train.fa.gz is missing; give a folder that `virnucpro dataset build`",
        ),
    ):
        run = pipeline(tmp_path / "run", "--mode", "train", *given)
        assert run.code != 0 and message in run.output
