"""Epochs: the best is kept, a killed training goes on to the same bytes, curves are drawn."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from virnucpro.errors import InputError
from virnucpro.files import mark
from virnucpro.training.curves import draw_curves
from virnucpro.training.epochs import Epoch, Plan, run_epochs
from virnucpro.training.work import TRAINING, begin, end, work_folder


class Killed(BaseException):
    """Stands for whatever ends a training."""


def learn(
    state: Path | None, log: Callable[[str], None], epochs: int = 6
) -> tuple[torch.Tensor, list[Epoch]]:
    """A line through random points, in random order, with momentum and a falling rate."""
    torch.manual_seed(3)
    x = torch.randn(64, 4)
    y = x @ torch.arange(4.0) + torch.randn(64)
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.AdamW(model.parameters(), 0.3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.3, 8 * epochs)

    def train() -> float:
        for rows in torch.randperm(len(x)).split(8):
            loss = (model(x[rows])[:, 0] - y[rows]).square().mean()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
        return float(loss)

    def validate() -> float:
        return float((model(x)[:, 0] - y).square().mean())

    kept = {"optimizer": optimizer, "schedule": schedule}
    history = run_epochs(Plan("line", epochs), model, kept, train, validate, state, log)
    return torch.cat([model.weight.detach().flatten(), model.bias.detach()]), history


@pytest.mark.parametrize("killed_after", [1, 4])
def test_a_killed_training_goes_on_to_the_same_weights(tmp_path: Path, killed_after: int) -> None:
    whole, history = learn(None, lambda _: None)
    lines: list[str] = []

    def log(line: str) -> None:
        lines.append(line)
        if len(lines) == killed_after:
            raise Killed

    with pytest.raises(Killed):
        learn(tmp_path / "state.pt", log)
    weights, gone_on = learn(tmp_path / "state.pt", lines.append)
    assert torch.equal(weights, whole) and gone_on == history
    assert len(lines) == 6 and "epoch 6 of 6" in lines[-1] and "min left" in lines[-1]
    assert torch.equal(learn(tmp_path / "state.pt", lines.append)[0], whole) and len(lines) == 6


def test_curves_are_a_picture_with_the_same_bytes_for_the_same_losses(tmp_path: Path) -> None:
    history = [Epoch("classifier", n, 1 / n, 1.5 / n) for n in range(1, 5)]
    for name in ("a.png", "b.png"):
        draw_curves(history, [3.0, 2.0], tmp_path / name)
    content = (tmp_path / "a.png").read_bytes()
    assert content.startswith(b"\x89PNG") and content == (tmp_path / "b.png").read_bytes()


def test_work_goes_on_with_the_same_inputs_only(tmp_path: Path) -> None:
    output = tmp_path / "set"
    folder = begin(output, {"seed": 1}, resume=False)
    (folder / "part").touch()
    assert begin(output, {"seed": 1}, resume=True) == folder and (folder / "part").exists()
    with pytest.raises(InputError, match="begun with another seed; leave out --resume"):
        begin(output, {"seed": 2}, resume=True)
    begin(output, {"seed": 2}, resume=False)
    assert not (folder / "part").exists() and mark(folder)["virnucpro"] == TRAINING
    end(output)
    assert not work_folder(output).exists()


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    work_folder(tmp_path / "set").mkdir()
    (work_folder(tmp_path / "set") / "thesis.tex").touch()
    for resume in (False, True):
        with pytest.raises(InputError, match="holds files that are not virnucpro's"):
            begin(tmp_path / "set", {}, resume)
    assert (work_folder(tmp_path / "set") / "thesis.tex").exists()
