"""Geometry of the report's pictures: shapes in, coordinates out; the template only draws them.

All numbers are SVG user units; colours are CSS classes, so that light and dark pages share one picture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from virnucpro.calling.summary import BINS

# What can become of a record, in drawing order: CSS class and label.
OUTCOMES = {
    "virus": "virus",
    "others": "others",
    "no_open_frame": "no open frame",
    "too_short": "too short",
    "ambiguous": "ambiguous",
}
_GOING_ON = ("whole", "kept", "composed", "virus", "others")
_LABEL_GAP = 17.0


@dataclass(frozen=True)
class Rect:
    kind: str
    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True)
class Label:
    x: float
    y: float
    text: str
    anchor: str = "start"  # which part of the text stands at x: start, middle or end


@dataclass(frozen=True)
class Picture:
    """`ribbons` are SVG path data that link columns of a flow; `lines` are CSS class and points of curves;
    other pictures have none."""

    width: float
    height: float
    rects: Sequence[Rect]
    labels: Sequence[Label]
    ribbons: Sequence[str] = ()
    lines: Sequence[tuple[str, str]] = ()


def outcomes(summary: Mapping[str, Any]) -> dict[str, int]:
    """Records by outcome: the calls, and for those without one the reason."""
    calls, status = summary["calls"], summary["status"]
    reasons = {name: status[name] for name in OUTCOMES if name in status}
    return {"virus": calls["virus"], "others": calls["others"], **reasons}


def flow(summary: Mapping[str, Any]) -> Picture:
    """Columns, each the whole of its unit: records, windows, frames, calls; what is lost shows. Where windows
    without a frame are scored as well, the calls come from the windows, and there is no column of frames."""
    height, top, bar = 190.0, 34.0, 18.0
    composed = summary["rule"]["score_all"]
    columns = (0.0, 150.0, 560.0) if composed else (0.0, 150.0, 410.0, 560.0)
    with_frame = summary["windows_with_frame"]
    without = ("composed" if composed else "lost", "without", summary["windows"] - with_frame)
    stacks: list[list[tuple[str, str, int]]] = [
        [("whole", "", summary["records"])],
        [("kept", "with a frame", with_frame), without],
        *([] if composed else [[("kept", "", summary["frames"])]]),
        [(kind, OUTCOMES[kind], count) for kind, count in outcomes(summary).items()],
    ]
    names = [
        _counted(summary["records"], "sequence"),
        _counted(summary["windows"], "window"),
        *([] if composed else [_counted(summary["frames"], "frame")]),
        "calls",
    ]
    rects: list[Rect] = []
    labels: list[Label] = []
    shares: list[float] = []  # of each column, the part that goes on (from the top)
    for x, name, stack in zip(columns, names, stacks, strict=True):
        labels.append(Label(x, top - 14, name))
        total = sum(count for _, _, count in stack)
        y = top
        wanted: list[Label] = []
        for kind, text, count in stack:
            part = height * count / total if total else 0.0
            if count:
                title = f"{count:,} {text}".strip()
                rects.append(Rect(kind, x, y, bar, part, title))
                if text:
                    wanted.append(Label(x + bar + 8, y + part / 2 + 4, f"{title} ({count / total:.1%})"))
            y += part
        labels += _apart(wanted, top + height)
        going_on = sum(count for kind, _, count in stack if kind in _GOING_ON)
        shares.append(going_on / total if total else 0.0)
    ends = [(columns[0], shares[0], columns[1], 1.0 if summary["windows"] else 0.0)]
    ends += [(columns[k], shares[k], columns[k + 1], shares[k + 1]) for k in range(1, len(columns) - 1)]
    ribbons = [
        _ribbon(left + bar, right, top, height * here, height * there)
        for left, here, right, there in ends
        if here and there
    ]
    return Picture(800.0, top + height + 8, rects, labels, ribbons)


def histogram(summary: Mapping[str, Any]) -> Picture:
    """Scored records by virus score, 20 bins from 0 to 1, coloured by call; others stand on virus."""
    left, top, width, height = 64.0, 16.0, 400.0, 170.0
    counts: Mapping[str, Sequence[int]] = summary["histogram"]
    tallest = max((a + b for a, b in zip(counts["virus"], counts["others"], strict=True)), default=0)
    step = width / BINS
    rects = []
    for number in range(BINS):
        y = top + height
        for kind in ("virus", "others"):
            count = counts[kind][number]
            if count:
                part = height * count / tallest
                y -= part
                title = f"{number / BINS:.2f} to {(number + 1) / BINS:.2f}: {count:,} {kind}"
                rects.append(Rect(kind, left + number * step + 1, y, step - 2, part, title))
    base = top + height
    labels = [
        Label(left + width * share, base + 18, f"{share:g}", "middle") for share in (0, 0.25, 0.5, 0.75, 1)
    ]
    labels += [Label(left - 8, top + 8, f"{tallest:,}", "end"), Label(left - 8, base, "0", "end")]
    if not tallest:
        labels = [Label(left + width / 2, top + height / 2, "no sequence has a score", "middle")]
    lowest, highest = summary["rule"]["cutoffs"]
    title = f"virus from {lowest:g} on" if lowest == highest else f"virus from {lowest:g} to {highest:g} on"
    x, wide = left + width * lowest, width * (highest - lowest)
    kind = "cut" if lowest == highest else "cut range"
    rects.append(Rect(kind, x - 0.75, top - 8, wide + 1.5, height + 8, title))
    return Picture(left + width + 16, top + height + 28, rects, labels)


def bars(rows: Mapping[str, Mapping[str, int]], left: float, width: float) -> Picture:
    """One stacked bar a row, from `left`, `width` long: the shares of its counts; its name before it."""
    line, thick = 26.0, 16.0
    letters = int(left / 8)
    rects, labels = [], []
    for number, (name, row) in enumerate(rows.items()):
        x, y = left, number * line + 4
        total = sum(row.values())
        for kind, count in row.items():
            if count:
                part = width * count / total
                title = f"{name}: {count:,} {OUTCOMES.get(kind, 'no call')}"
                rects.append(Rect(kind, x, y, part, thick, title))
                x += part
        short = name if len(name) <= letters else name[: letters - 1] + "…"
        labels.append(Label(left - 10, y + 12, short, "end"))
        labels.append(Label(left + width + 10, y + 12, f"{row['virus']:,} of {total:,} virus"))
    return Picture(left + width + 190, len(rows) * line + 6, rects, labels)


def curve(points: Sequence[Sequence[Mapping[str, float]]], value: str) -> Picture:
    """A value of the points, 0 to 1, against the cut-off; one line for each length, of class `length0` on."""
    left, top, width, height = 40.0, 12.0, 400.0, 200.0
    lines = []
    for number, line in enumerate(points):
        at = [(left + width * p["score"], top + height * (1 - p[value])) for p in line]
        lines.append((f"length{number}", " ".join(f"{x:.1f},{y:.1f}" for x, y in at)))
    base = top + height
    ticks = (0, 0.25, 0.5, 0.75, 1)
    labels = [Label(left + width * share, base + 18, f"{share:g}", "middle") for share in ticks]
    labels += [Label(left - 8, base - height * share + 4, f"{share:.0%}", "end") for share in ticks]
    rects = [Rect("grid", left, base - height * share, width, 0.75, "") for share in ticks]
    return Picture(left + width + 16, base + 26, rects, labels, lines=lines)


def _counted(count: int, unit: str) -> str:
    return f"{count:,} {unit}" if count == 1 else f"{count:,} {unit}s"


def _apart(labels: list[Label], bottom: float) -> list[Label]:
    """The labels, moved so that none overlaps the next and none falls below `bottom`."""
    placed: list[Label] = []
    limit = bottom + 4
    for label in reversed(labels):
        y = min(label.y, limit)
        placed.append(Label(label.x, y, label.text))
        limit = y - _LABEL_GAP
    return placed[::-1]


def _ribbon(x0: float, x1: float, top: float, left: float, right: float) -> str:
    """A band from `left` units high at x0 to `right` units high at x1, both from the top down."""
    middle = (x0 + x1) / 2
    return (
        f"M{x0:.1f},{top:.1f} L{x1:.1f},{top:.1f} L{x1:.1f},{top + right:.1f} "
        f"C{middle:.1f},{top + right:.1f} {middle:.1f},{top + left:.1f} {x0:.1f},{top + left:.1f} Z"
    )
