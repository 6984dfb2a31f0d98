"""Figures of an evaluation, by matplotlib (extra `train`).

ROC, precision over recall, classes, reliability: one panel a length, one colour a tool.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from virnucpro.errors import InputError
from virnucpro.files import atomic
from virnucpro.training.accuracy import Answers, Evaluation, length_bins, metrics, mixed, reliability_of

# Okabe and Ito's colours, which people of any colour vision tell apart.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def write_figures(folder: Path, evaluations: Sequence[Evaluation], edges: Sequence[int], suffix: str) -> None:
    """Write `roc`, `precision_recall`, `classes` and `reliability` as `suffix` (svg or png)."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError(
            "matplotlib is not installed, and figures need it: pip install 'virnucpro[train]', or go without "
            "(--figures none)"
        ) from None
    figures: dict[str, Callable[[Any], None]] = {
        "roc": lambda figure: _curves(figure, evaluations, edges, _roc, ("false-positive rate", "recall")),
        "precision_recall": lambda figure: _curves(
            figure, evaluations, edges, _precision_recall, ("recall", "precision, labels even")
        ),
        "reliability": lambda figure: _curves(
            figure, evaluations, edges, _reliability, ("score", "share viral, labels even")
        ),
        "classes": lambda figure: _classes(figure, evaluations),
    }
    for name, draw in figures.items():
        figure = Figure(layout="constrained")
        draw(figure)
        with atomic(folder / f"{name}.{suffix}") as temporary:
            figure.savefig(
                temporary, format=suffix, dpi=150, metadata={"Date": None} if suffix == "svg" else None
            )


def _curves(
    figure: Any,
    evaluations: Sequence[Evaluation],
    edges: Sequence[int],
    draw: Callable[[Any, Answers, dict[str, Any]], None],
    axes: tuple[str, str],
) -> None:
    """One panel a length, one line a tool."""
    bins = length_bins(evaluations[0].answers.length, edges)
    panels = figure.subplots(1, len(bins), sharex=True, sharey=True, squeeze=False)[0]
    figure.set_size_inches(2.6 * len(bins), 3.4)
    for panel, (length, which) in zip(panels, bins.items(), strict=True):
        for one, colour in zip(evaluations, _cycle(len(evaluations)), strict=True):
            draw(panel, one.answers[which], {"label": one.tool, "color": colour, "linewidth": 1.4})
        panel.set(title=f"{length} bases" if length != "all" else "all lengths", xlabel=axes[0])
        panel.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", xticks=(0, 0.5, 1))
        panel.grid(alpha=0.3)
    panels[0].set_ylabel(axes[1])
    _legend(figure, panels[0])


def _roc(panel: Any, answers: Answers, style: dict[str, Any]) -> None:
    if not answers.viral.all() and answers.viral.any():
        false, true, _ = metrics().roc_curve(answers.viral, answers.ranked)
        panel.plot(false, true, **style)
    panel.plot([0, 1], [0, 1], color="grey", linewidth=0.6)


def _precision_recall(panel: Any, answers: Answers, style: dict[str, Any]) -> None:
    if not answers.viral.all() and answers.viral.any():
        weight = mixed(answers, np.ones((1, len(answers))), "even")[0]
        precision, recall, _ = metrics().precision_recall_curve(
            answers.viral, answers.ranked, sample_weight=weight
        )
        panel.plot(recall, precision, **style)


def _reliability(panel: Any, answers: Answers, style: dict[str, Any]) -> None:
    if (curve := reliability_of(answers)) is not None:
        panel.plot(curve[:, 1], curve[:, 2], marker="o", markersize=3, **style)
    panel.plot([0, 1], [0, 1], color="grey", linewidth=0.6)


def _classes(figure: Any, evaluations: Sequence[Evaluation]) -> None:
    """One panel a length, one group of bars a class: the share called viral with its interval."""
    lengths = list(dict.fromkeys(row.length for row in evaluations[0].classes))
    kinds = list(dict.fromkeys(row.kind for row in [*evaluations[0].classes, *evaluations[0].controls]))
    viral = {row.kind for row in evaluations[0].classes if row.viral}
    names = [f"{kind} (viral)" if kind in viral else kind for kind in kinds]
    panels = figure.subplots(1, len(lengths), sharey=True, squeeze=False)[0]
    figure.set_size_inches(2.6 * len(lengths), 0.8 + 0.16 * len(kinds) * (len(evaluations) + 1))
    height = 0.8 / len(evaluations)
    for panel, length in zip(panels, lengths, strict=True):
        for number, (one, colour) in enumerate(zip(evaluations, _cycle(len(evaluations)), strict=True)):
            rows = [row for row in [*one.classes, *one.controls] if row.length == length]
            places = [kinds.index(row.kind) + (number + 0.5) * height - 0.4 for row in rows]
            shares = np.array([row.called.value for row in rows])
            ends = np.array([[row.called.low, row.called.high] for row in rows]).reshape(-1, 2)
            around = np.nan_to_num(np.abs(ends.T - shares))
            panel.barh(places, shares, height, color=colour, label=one.tool)
            panel.errorbar(shares, places, xerr=around, fmt="none", ecolor="black", elinewidth=0.6)
        panel.set(title=f"{length} bases" if length != "all" else "all lengths", xlabel="called viral")
        panel.set(xlim=(0, 1), xticks=(0, 0.5, 1), yticks=range(len(kinds)), yticklabels=names)
        panel.grid(axis="x", alpha=0.3)
    panels[0].invert_yaxis()
    _legend(figure, panels[0])


def _legend(figure: Any, panel: Any) -> None:
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8)


def _cycle(count: int) -> list[str]:
    return [_COLOURS[number % len(_COLOURS)] for number in range(count)]
