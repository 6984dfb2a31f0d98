"""One page and one file of facts for a whole run: `report.html` and `run_info.json`."""

import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2

import virnucpro
from virnucpro.calling.calibration import Calibration
from virnucpro.calling.figures import OUTCOMES, bars, curve, flow, histogram, outcomes
from virnucpro.calling.tables import MISSING
from virnucpro.calling.verdict import calibration_of
from virnucpro.defaults import PRESETS
from virnucpro.errors import InputError
from virnucpro.files import atomic
from virnucpro.models.model_set import ModelSet

# Tasks that agree in these are one row of the run's facts; the counts of the others are summed.
_KEY = (
    "stage",
    "architecture",
    "engine",
    "attention",
    "device",
    "device_name",
    "precision",
    "world_size",
    "token_budget",
)
_SUMMED = ("sequences", "unique_sequences", "tokens", "seconds", "compute_seconds", "batches", "recomputed")
_SUMMARY_KEYS = {
    *("sample", "rule", "records", "windows", "frames"),
    *("status", "calls", "evidence", "histogram", "length_classes"),
}
_REFUSAL_KEYS = {"sample", "reason"}
_LOST = "a task of it failed; the log of the run names it"
OVERVIEW = (
    *("sample", "status", "reason"),
    *("records", "bases", "windows", "windows_with_frame", "frames", "virus", "others", "no_call"),
)


def report(
    models: str, options: Path, facts: Iterable[Path], directory: Path, samples: Iterable[str] = ()
) -> dict[str, str]:
    """Write `report.html`, `run_info.json` and `summary.tsv` into `directory`; gives the samples that failed,
    and why.

    `facts` is any mix of `<sample>_summary.json`, facts of embedding tasks, and refusals; `options` a JSON
    object; `samples` the names of all samples of the run, so that none is lost. Raises `InputError` for a
    file that is none of these, for two samples of one name, or without any sample.
    """
    summaries, stages = [], []
    failed: dict[str, str] = {}
    for path in facts:
        content = _read(path)
        if content.keys() >= _SUMMARY_KEYS:
            summaries.append(content)
        elif content.keys() >= {*_KEY, *_SUMMED}:
            stages.append(content)
        elif content.keys() == _REFUSAL_KEYS:
            failed[content["sample"]] = content["reason"]
        else:
            raise InputError(f"{path}: neither a sample's summary nor the facts of an embedding task")
    summaries.sort(key=lambda summary: str(summary["sample"]))
    names = [summary["sample"] for summary in summaries]
    failed |= {name: _LOST for name in samples if name not in failed and name not in names}
    failed = dict(sorted(failed.items()))
    if not (names or failed):
        raise InputError("no <sample>_summary.json was given; a report needs one sample at least")
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"sample {name!r} was given twice; give each sample a name of its own")
    opened = ModelSet.open(models)
    info = run_info(opened, _read(options), summaries, stages, failed)
    texts = {
        "run_info.json": json.dumps(info, indent=2, ensure_ascii=False) + "\n",
        "report.html": render(info, summaries, calibration_of(opened)),
        "summary.tsv": overview(summaries, failed),
    }
    for name, text in texts.items():
        with atomic(directory / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return failed


def overview(summaries: Sequence[dict[str, Any]], failed: Mapping[str, str]) -> str:
    """`summary.tsv`: one row a sample, those that failed first; the counts of one that failed are NA."""
    rows: list[tuple[str, ...]] = [OVERVIEW]
    for name, reason in failed.items():
        rows.append((name, "failed", " ".join(reason.split()), *[MISSING] * (len(OVERVIEW) - 3)))
    for summary in summaries:
        counts = {**summary, **summary["calls"]}
        rows.append((summary["sample"], "done", MISSING, *(str(counts[name]) for name in OVERVIEW[3:])))
    return "".join("\t".join(row) + "\n" for row in rows)


def run_info(
    models: ModelSet,
    options: dict[str, Any],
    summaries: Sequence[dict[str, Any]],
    stages: Sequence[dict[str, Any]],
    failed: Mapping[str, str],
) -> dict[str, Any]:
    """What ran, with what, and how fast; the same run gives the same text but for seconds."""
    return {
        "versions": {
            "virnucpro": virnucpro.__version__,
            "python": platform.python_version(),
            "torch": version("torch"),
        },
        "model_set": {
            "name": models.name,
            "notice": models.notice,
            "window_length": models.window_length,
            "embedding_sizes": models.embedding_sizes,
            "sources": models.manifest.get("sources", {}),
            "sha256": {name: facts["sha256"] for name, facts in models.manifest["files"].items()},
        },
        "options": options,
        "embedding": _aggregate(stages),
        "samples": {
            summary["sample"]: {
                key: summary[key]
                for key in ("rule", "records", "bases", "windows", "frames", "status", "calls", "evidence")
            }
            for summary in summaries
        },
        "failed": dict(failed),
    }


def render(info: dict[str, Any], summaries: Sequence[dict[str, Any]], calibration: Calibration) -> str:
    """The HTML page, complete in itself; every text from outside is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("virnucpro", "calling"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    rows = {summary["sample"]: outcomes(summary) for summary in summaries}
    totals = {name: sum(row[name] for row in rows.values()) for name in OUTCOMES}
    samples = [
        {
            **summary,
            "outcomes": rows[summary["sample"]],
            "flow": flow(summary),
            "score_picture": histogram(summary),
            "length_picture": bars(_filled(summary["length_classes"]), 92, 220),
        }
        for summary in summaries
    ]
    return environment.get_template("report.html.j2").render(
        info=info,
        samples=samples,
        totals=totals,
        labels=OUTCOMES,
        overview=bars(rows, 150, 520),
        expected=expected(calibration)
        if any(summary["rule"]["score_all"] for summary in summaries)
        else None,
    )


def expected(calibration: Calibration) -> dict[str, Any]:
    """What the calibration says of each cut-off, drawn, and of each preset in numbers."""
    points = calibration.deciding.curve
    rows = []
    for number, (knot, line) in enumerate(zip(calibration.knots, points, strict=True)):
        for preset in PRESETS:
            cutoff = float(calibration.deciding.presets[preset][number])
            nearest = min(line, key=lambda point: abs(point["score"] - cutoff), default=None)
            rows.append({"length": knot, "preset": preset, "cutoff": cutoff, "point": nearest})
    return {
        "knots": calibration.knots,
        "rows": rows,
        "classes": sorted(
            {kind for line in points for point in line for kind in point["false_positive_rate"]}
        ),
        "recall": curve(points, "recall"),
        "precision": curve(points, "precision"),
    }


def _filled(classes: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    return {name: calls for name, calls in classes.items() if any(calls.values())}


def _aggregate(stages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Parts of one kind (files of v1.0, tasks of v2.0) as one row: counts and seconds summed, tokens
    per second of computing, and how full the batches of v2.0 were."""
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    for facts in stages:
        key = tuple(facts[name] for name in _KEY)
        row = groups.setdefault(
            key, {**dict(zip(_KEY, key, strict=True)), "parts": 0, **dict.fromkeys(_SUMMED, 0)}
        )
        row["parts"] += 1
        for name in _SUMMED:
            row[name] += facts[name]
    for row in groups.values():
        seconds, room = row["compute_seconds"], row["batches"] * row["token_budget"]
        row["tokens_per_second"] = round(row["tokens"] / seconds, 1) if seconds > 0 else None
        row["fill"] = round(row["tokens"] / room, 3) if room else None
    return [groups[key] for key in sorted(groups, key=str)]


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path}: not JSON: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object")
    return content
