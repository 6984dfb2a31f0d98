"""Learning curves as a picture: one panel a stage, the epoch that was kept marked."""

from collections.abc import Sequence
from pathlib import Path

from virnucpro.files import atomic
from virnucpro.training.epochs import Epoch, best_of


def draw_curves(history: Sequence[Epoch], composition: Sequence[float], path: Path) -> None:
    """Write the losses of all stages as a PNG, first those of the composition model, whose nets judge each
    other out of fold; the same losses give the same bytes."""
    from matplotlib.figure import Figure

    stages = list(dict.fromkeys(epoch.stage for epoch in history))
    figure = Figure(figsize=(4.2 * (1 + len(stages)), 3.2), layout="constrained")
    first, *panels = figure.subplots(1, 1 + len(stages), squeeze=False)[0]
    first.plot(range(1, 1 + len(composition)), composition, ".-", label="training")
    for panel, stage in zip(panels, stages, strict=True):
        epochs = [epoch for epoch in history if epoch.stage == stage]
        numbers = [epoch.epoch for epoch in epochs]
        panel.plot(numbers, [epoch.training_loss for epoch in epochs], ".-", label="training")
        panel.plot(numbers, [epoch.validation_loss for epoch in epochs], ".-", label="validation")
        panel.axvline(best_of(epochs).epoch, color="0.6", linestyle=":", label="kept")
    for panel, stage in zip((first, *panels), ("composition", *stages), strict=True):
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.set(title=stage, xlabel="epoch", ylabel="loss")
        panel.legend(frameon=False)
    with atomic(path) as partial:
        figure.savefig(partial, format="png", dpi=120, metadata={"Software": None})
