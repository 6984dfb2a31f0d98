"""A card that is too small, in each of the three embedding stages: halved batches, or one line and 75."""

import os
from pathlib import Path

import pytest
import torch

from tests.faults.conftest import V1, V2, Predict, Reference

# Python runs it in every process of a run, its ranks too: a pass over more tokens than ROOM finds no memory.
SMALL_CARD = """
import os, torch
call = torch.nn.Module.__call__

def on_a_small_card(model, *given, **named):
    room = os.environ.get(f"ROOM_{type(model).__name__}")
    tokens = getattr(given[0], "tokens", given[0]) if room else None
    if room and tokens.numel() > int(room):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\\nMore of its words.")
    return call(model, *given, **named)

torch.nn.Module.__call__ = on_a_small_card
"""
STAGES = {"DNABERT-S": ("DnabertS", V1), "ESM-2 v1.0": ("ESM2", V1), "ESM-2 v2.0": ("ESM2", V2)}


@pytest.fixture
def small_card(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "python").mkdir()
    (tmp_path / "python" / "sitecustomize.py").write_text(SMALL_CARD)
    return {"PYTHONPATH": os.pathsep.join([str(tmp_path / "python"), os.environ.get("PYTHONPATH", "")])}


def rows(output: Path, suffix: str) -> torch.Tensor:
    """(n, dim) of all files."""
    files = sorted(output.glob(f"*/intermediate/*/output_*{suffix}.pt"))
    assert len(files) > 1
    data = [row for path in files for row in torch.load(path, weights_only=True)["data"]]
    return torch.stack([torch.tensor(r["mean_representation"]) if isinstance(r, dict) else r for r in data])


@pytest.mark.parametrize("options", [V1, V2], ids=["v1.0", "v2.0"])
def test_a_batch_that_does_not_fit_is_halved_in_every_stage(
    predict: Predict,
    undisturbed: Reference,
    small_card: dict[str, str],
    tmp_path: Path,
    options: tuple[str, ...],
) -> None:
    """The run goes on; its rows are those of a card with room."""
    whole = undisturbed(options).output
    budget = ("--token-budget", "700") if options == V2 else ()  # more than the card takes
    room = {"ROOM_DnabertS": "180", "ROOM_ESM2": "180"}
    done = predict.run(tmp_path / "out", *options, *budget, env=small_card | room)
    assert done.code == 0, done.said
    # A rank's words go with its attempt.
    assert done.said.count("tokens do not fit into GPU memory") >= (2 if options == V1 else 1)
    for suffix in ("_DNABERT_S", "_ESM"):
        torch.testing.assert_close(rows(tmp_path / "out", suffix), rows(whole, suffix), atol=1e-5, rtol=0)


@pytest.mark.parametrize("stage", STAGES)
def test_a_sequence_that_does_not_fit_ends_with_75_and_one_line(
    predict: Predict, small_card: dict[str, str], tmp_path: Path, stage: str
) -> None:
    """75 tells Nextflow to try again, and --resume goes on from what was done."""
    model, options = STAGES[stage]
    done = predict.run(tmp_path / "out", *options, env=small_card | {f"ROOM_{model}": "20"})
    assert done.code == 75, done.said
    (line,) = [line for line in done.said.splitlines() if line.startswith("Error")]
    assert line == done.last
    assert "tokens has no room (CUDA out of memory. Tried to allocate 2.00 GiB.)" in line
