"""Routing of `virnucpro predict`: which architecture runs, with which RuntimeConfig. These may mock."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, patch

import pytest
from click.testing import CliRunner, Result

from virnucpro.cli.main import cli
from virnucpro.models.model_set import ModelSet
from virnucpro.pipeline.prediction import run_prediction
from virnucpro.pipeline.runtime_config import RuntimeConfig


@pytest.fixture
def run() -> Iterator[MagicMock]:
    with patch("virnucpro.pipeline.prediction.run_prediction") as mock:
        yield mock


@pytest.fixture
def invoke(reads: Path, model_set: ModelSet, tmp_path: Path, run: MagicMock) -> Any:
    def with_options(*options: str) -> Result:
        models, output = str(model_set.directory), str(tmp_path / "out")
        result = CliRunner().invoke(cli, ["predict", str(reads), "-m", models, "-o", output, *options])
        assert result.exit_code == 0, result.output
        return result

    return with_options


def test_parallel_routes_esm2_to_v2(invoke: Any, run: MagicMock) -> None:
    invoke("--parallel")
    assert run.call_args.kwargs["use_v2_architecture"] is True
    config = run.call_args.kwargs["runtime_config"]
    assert isinstance(config, RuntimeConfig)
    assert config.enable_checkpointing is False
    assert config.force_restart is False


def test_v1_fallback_routes_all_to_v1(invoke: Any, run: MagicMock) -> None:
    invoke("--parallel", "--v1-fallback")
    assert run.call_args.kwargs["use_v2_architecture"] is False
    assert run.call_args.kwargs["runtime_config"] is None


def test_single_gpu_routes_to_v1(invoke: Any, run: MagicMock) -> None:
    with (
        patch("torch.cuda.is_available", return_value=True),
        patch("virnucpro.embedding.device.visible_gpus", return_value=["0"]),
    ):
        invoke()
    assert run.call_args.kwargs["use_v2_architecture"] is False
    assert run.call_args.kwargs["runtime_config"] is None
    assert run.call_args.kwargs["gpus"] == ["0"]


def test_parallel_constructs_runtime_config_with_resume(invoke: Any, run: MagicMock) -> None:
    invoke("--parallel", "--resume")
    assert run.call_args.kwargs["runtime_config"].enable_checkpointing is True
    assert run.call_args.kwargs["runtime_config"].force_restart is False
    assert run.call_args.kwargs["resume"] is True


def test_parallel_force_resume_sets_config(invoke: Any, run: MagicMock) -> None:
    invoke("--parallel", "--force-resume")
    assert run.call_args.kwargs["runtime_config"].force_restart is True
    assert run.call_args.kwargs["runtime_config"].enable_checkpointing is True


def test_hybrid_architecture_logged(invoke: Any) -> None:
    output = invoke("--parallel").output
    assert "Architecture: v2.0 hybrid" in output
    esm, dnabert = (
        next(line for line in output.splitlines() if name in line) for name in ("ESM-2", "DNABERT-S")
    )
    assert "v2.0" in esm and "v1.0" in dnabert


def test_v1_fallback_architecture_logged(invoke: Any) -> None:
    output = invoke("--parallel", "--v1-fallback").output
    assert "Architecture: v1.0 (--v1-fallback" in output
    assert "v2.0" not in output


def test_signature_that_users_of_the_reference_import() -> None:
    import inspect

    parameters = inspect.signature(run_prediction).parameters
    assert parameters["use_v2_architecture"].default is False
    assert parameters["runtime_config"].default is None


def test_help_shows_v1_fallback_and_needs_no_torch() -> None:
    import subprocess
    import sys

    show = "import sys, virnucpro.cli.main as m; m.cli(['predict', '--help'], standalone_mode=False)"
    check = (
        f"{show}; assert not {{'torch', 'h5py', 'numpy'}} & set(sys.modules), 'help loads heavy libraries'"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--v1-fallback" in done.stdout


def test_gpus_select_those_and_no_other(invoke: Any, run: MagicMock, monkeypatch: pytest.MonkeyPatch) -> None:
    """P36: `--gpus 2,3` under CUDA_VISIBLE_DEVICES=0,2,3,GPU-uuid means 2 and 3, each rank one of them."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2,3,GPU-8a1")
    invoke("--parallel", "--gpus", "2,3")
    assert run.call_args.kwargs["gpus"] == ["2", "3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2,3,GPU-8a1")
    invoke("--parallel", "--gpus", "GPU-8a1")
    assert run.call_args.kwargs["gpus"] == ["GPU-8a1"]
