"""The classifier: its scores, its file, and the reader of the original's pickles."""

import os
import pickle
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

from virnucpro.errors import InputError
from virnucpro.models.classifier import (
    MLPClassifier,
    load_classifier,
    load_original_classifier,
    save_classifier,
    scores,
)

# The original program, as far as its pickle shows it: a module class of __main__, pickled whole.
ORIGINAL = """
    import sys, torch
    from torch import nn

    class MLPClassifier(nn.Module):
        def __init__(self, input_dim, hidden_dim, num_class):
            super().__init__()
            self.hidden_layer = nn.Linear(input_dim, hidden_dim)
            self.bn1 = nn.BatchNorm1d(hidden_dim)
            self.output_layer = nn.Linear(hidden_dim, num_class)
            self.dropout = nn.Dropout(0.5)

        def forward(self, x):
            return self.output_layer(self.dropout(torch.relu(self.bn1(self.hidden_layer(x)))))

    torch.manual_seed(1)
    width, hidden = map(int, sys.argv[2:])
    model = MLPClassifier(width, hidden, 2)
    for _ in range(5):
        model(torch.randn(32, width) * 3 + 1)
    model.eval()
    x = torch.randn(40, width)
    y = torch.softmax(model(x), dim=1).detach()
    torch.save(model, sys.argv[1])
    torch.save({"x": x, "y": y}, sys.argv[1] + ".values")
"""


def pickled_original(pth: Path, width: int, hidden: int) -> Path:
    """Write a classifier as the original program pickles it, in a process of its own; beside it inputs `x`
    and scores `y`, in the file that is returned."""
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(ORIGINAL), pth, str(width), str(hidden)], check=True
    )
    return pth.with_name(f"{pth.name}.values")


def trained(input_dim: int = 6, hidden_dim: int = 5, seed: int = 0) -> MLPClassifier:
    torch.manual_seed(seed)
    model = MLPClassifier(input_dim, hidden_dim)
    model.train()
    for _ in range(3):
        model(torch.randn(16, input_dim) + 2)
    return model.eval()


def test_original_pickle_loads_and_scores_the_same(tmp_path: Path) -> None:
    pth = tmp_path / "500_model.pth"
    expected = torch.load(pickled_original(pth, 12, 8), weights_only=True)

    model = load_original_classifier(pth)

    assert not model.training
    assert np.allclose(scores(model, expected["x"].numpy()), expected["y"].numpy(), atol=1e-6)


def test_classes_outside_the_allow_list_are_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Conv1d(1, 1, 1), tmp_path / "conv.pth")
    with pytest.raises(InputError, match=r"it names torch\.nn\.modules\.conv\.Conv1d"):
        load_original_classifier(tmp_path / "conv.pth")


@pytest.mark.parametrize("content", [b"", b"not a pickle", pickle.dumps([1, 2]), b"PK\x03\x04cut"])
def test_file_that_is_not_torch_is_an_input_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.pth: cannot be read"):
        load_original_classifier(tmp_path / "x.pth")


def test_flipped_bit_in_an_original_is_an_input_error(tmp_path: Path) -> None:
    torch.save({"hidden_layer.weight": torch.ones(100)}, tmp_path / "x.pth")
    content = bytearray((tmp_path / "x.pth").read_bytes())
    content[content.index(b"\x00\x00\x80\x3f" * 20) + 8] ^= 1
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.pth"):
        load_original_classifier(tmp_path / "x.pth")


def test_saved_classifier_comes_back_to_the_bit_with_default_mode(tmp_path: Path) -> None:
    model, path = trained(), tmp_path / "classifier.safetensors"
    old = os.umask(0o022)
    try:
        save_classifier(path, model)
    finally:
        os.umask(old)
    again = load_classifier(path)
    assert not again.training
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert {k: v.tolist() for k, v in again.state_dict().items()} == {
        k: v.tolist() for k, v in model.state_dict().items()
    }


def test_state_dict_has_the_originals_names() -> None:
    assert set(MLPClassifier(3).state_dict()) == {
        *("hidden_layer.weight", "hidden_layer.bias", "output_layer.weight", "output_layer.bias"),
        *("bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var", "bn1.num_batches_tracked"),
    }


def test_file_that_is_no_classifier_is_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    with pytest.raises(InputError, match="no such file"):
        load_classifier(path)
    path.write_bytes(b"\x00" * 20)
    with pytest.raises(InputError, match="not a safetensors"):
        load_classifier(path)
    model = trained()
    model.output_layer.weight.data[0, 0] = float("nan")
    save_classifier(path, model)
    with pytest.raises(InputError, match="not finite"):
        load_classifier(path)


def test_score_depends_on_its_row_only() -> None:
    """Not on the batch it falls in, its place, or its neighbours: alone, in 255, 257 or 700, to the bit."""
    model = trained(64, 32)
    x = np.random.default_rng(0).normal(size=(700, 64)).astype(np.float32)
    whole = scores(model, x)
    for start, stop in [(0, 1), (0, 255), (3, 260), (699, 700), (100, 612)]:
        assert np.array_equal(scores(model, x[start:stop]), whole[start:stop])
    assert whole.dtype == np.float32
    assert np.allclose(whole.sum(axis=1), 1, atol=1e-6)


def test_scores_are_made_in_eval_mode() -> None:
    model = trained()
    x = np.ones((4, 6), dtype=np.float32)
    quiet = scores(model, x)
    model.train()
    assert np.array_equal(scores(model, x), quiet)


def test_no_rows_give_no_scores() -> None:
    assert scores(trained(), np.zeros((0, 6), dtype=np.float32)).shape == (0, 2)
