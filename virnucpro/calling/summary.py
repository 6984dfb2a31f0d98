"""The counts of one sample, which must add up from records in to records out."""

import json
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from virnucpro.calling.verdict import CALLS, KINDS
from virnucpro.files import atomic
from virnucpro.sequences.extract import STATUSES

BINS = 20  # of the histogram of record scores, over 0 to 1

# Upper ends (excluded) and names of the length classes, in bases.
_LENGTHS = ((300, "<300"), (500, "300-499"), (1000, "500-999"), (3000, "1000-2999"), (10000, "3000-9999"))
_LONGEST = ">=10000"


def length_class(length: int) -> str:
    return next((name for limit, name in _LENGTHS if length < limit), _LONGEST)


@dataclass
class Summary:
    """Counts of one sample; `rule` says how it was called, as `Judge.facts` has it."""

    sample: str
    rule: dict[str, Any]
    notice: str | None = None  # what must be known of the model set
    records: int = 0
    bases: int = 0
    viral_bases: int = 0
    windows: int = 0
    windows_with_frame: int = 0
    windows_scored: int = 0
    frames: int = 0
    viral_windows: int = 0
    status: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATUSES, 0))
    calls: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CALLS, 0))
    evidence: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    length_classes: dict[str, dict[str, int]] = field(
        default_factory=lambda: {
            name: dict.fromkeys(CALLS, 0) for name in [*(name for _, name in _LENGTHS), _LONGEST]
        }
    )
    histogram: dict[str, list[int]] = field(
        default_factory=lambda: {"virus": [0] * BINS, "others": [0] * BINS}
    )

    def add_record(self, length: int, status: str, evidence: str, call: str, score: float) -> None:
        """Count one input record, whatever became of it; `evidence` and `score` as in the table."""
        self.records += 1
        self.bases += length
        self.viral_bases += length if call == "virus" else 0
        self.status[status] += 1
        self.calls[call] += 1
        self.length_classes[length_class(length)][call] += 1
        if call != "no_call":
            self.evidence[evidence] += 1
            self.histogram[call][min(int(score * BINS), BINS - 1)] += 1

    def add_window(self, frames: int, call: str) -> None:
        self.windows += 1
        self.windows_scored += call != "no_call"
        self.frames += frames
        self.windows_with_frame += frames > 0
        self.viral_windows += call == "virus"

    def check(self) -> None:
        """Every way of counting the same things gives the same number."""
        scored = self.calls["virus"] + self.calls["others"]
        assert self.records == sum(self.status.values()) == sum(self.calls.values())
        assert self.records == sum(sum(row.values()) for row in self.length_classes.values())
        assert self.status["called"] == scored == sum(map(sum, self.histogram.values()))
        assert scored == sum(self.evidence.values())
        assert self.viral_windows <= self.windows_scored <= self.windows
        assert self.windows_with_frame <= min(self.windows, self.frames)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    def write(self, path: Path) -> None:
        """Write as JSON."""
        with atomic(path) as temporary:
            temporary.write_text(self.to_json(), encoding="utf-8")

    def to_multiqc(self) -> str:
        """MultiQC custom content: one bar a sample, from virus to what could not be called, with why."""
        data = {
            "virus": self.calls["virus"],
            "others": self.calls["others"],
            **{status: self.status[status] for status in STATUSES if status != "called"},
        }
        bars = {
            "virus": {"name": "Virus", "color": "#b4341f"},
            "others": {"name": "Others", "color": "#4a6fa5"},
            "no_open_frame": {"name": "No open frame", "color": "#b9b4a8"},
            "too_short": {"name": "Too short", "color": "#d8d4ca"},
            "ambiguous": {"name": "Ambiguous", "color": "#8c877b"},
        }
        content: dict[str, Any] = {
            "id": "virnucpro_calls",
            "section_name": "VirNucPro",
            "description": " ".join(
                ["What became of every input sequence.", *([escape(self.notice)] if self.notice else [])]
            ),
            "plot_type": "bargraph",
            "pconfig": {
                "id": "virnucpro_calls_plot",
                "title": "VirNucPro: calls",
                "ylab": "Sequences",
            },
            "categories": bars,
            "data": {self.sample: data},
        }
        return json.dumps(content, indent=2) + "\n"
