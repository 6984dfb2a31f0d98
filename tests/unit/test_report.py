"""The report and the run's facts: totals, aggregation, escaping, nothing from the network."""

import itertools
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from virnucpro.calling.figures import bars, flow, histogram
from virnucpro.calling.report import report
from virnucpro.calling.summary import Summary
from virnucpro.errors import InputError
from virnucpro.models.model_set import ModelSet

BIN = Path(__file__).parents[2] / "bin"
EVIL = '<script>alert("1")</script>&\''


def summary(name: str, min_score: float | None = None, scale: int = 1) -> Summary:
    result = Summary(name, min_score)
    for length, status, call, score, frames in [
        (400, "called", "virus", 0.97, 3),
        (400, "called", "others", 0.2, 1),
        (700, "no_open_frame", "no_call", None, 0),
        (2, "too_short", "no_call", None, 0),
    ] * scale:
        result.add_window(frames, call)
        result.add_record(length, status, call, score)
    result.check()
    return result


def facts(**changes: Any) -> dict[str, Any]:
    return {
        **{"stage": "ESM2", "architecture": "v2.0", "engine": "packed", "attention": "sdpa", "device": "cpu"},
        **{"device_name": "a <CPU>", "precision": "fp32", "world_size": 2, "token_budget": 4096},
        **{"sequences": 10, "unique_sequences": 9, "tokens": 500, "seconds": 2.0},
        **{"compute_seconds": 2.0, "batches": 1, "recomputed": 0},
        **changes,
    }


@pytest.fixture
def models(model_set: ModelSet) -> str:
    return str(model_set.directory)


def make(tmp_path: Path, models: str, contents: list[Any], options: Any = None) -> tuple[str, dict[str, Any]]:
    paths = []
    for number, content in enumerate(contents):
        paths.append(tmp_path / f"{number}.json")
        paths[-1].write_text(content.to_json() if isinstance(content, Summary) else json.dumps(content))
    (tmp_path / "options.json").write_text(json.dumps({"split_size": 7} if options is None else options))
    report(models, tmp_path / "options.json", paths, tmp_path / "out")
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    return html, json.loads((tmp_path / "out" / "run_info.json").read_text(encoding="utf-8"))


class Page(HTMLParser):
    """Tags, attributes and text of a page; fails on a tag that is not closed."""

    VOID = frozenset({"meta", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_numbers_of_one_and_of_many_samples(tmp_path: Path, models: str) -> None:
    html, info = make(tmp_path, models, [summary(f"s{n}", scale=n) for n in range(1, 13)])
    page = Page(html)
    text = " ".join(page.text.split())
    assert "78 of 312 sequences are called virus, in 12 samples" in text
    assert "no open frame: 78 (25.0%)" in text
    assert list(info["samples"]) == sorted(f"s{n}" for n in range(1, 13))
    assert info["samples"]["s3"]["calls"] == {"virus": 3, "others": 3, "no_call": 6}
    assert sum(tag == "svg" for tag, _ in page.tags) == 1 + 3 * 12
    html, _ = make(tmp_path, models, [summary("only")])
    assert "1 of 4 sequences is called virus" in " ".join(Page(html).text.split())


def test_page_needs_no_network_and_no_script(tmp_path: Path, models: str) -> None:
    html, _ = make(tmp_path, models, [summary("a"), facts()])
    page = Page(html)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object", "embed"}
    assert not [attrs for _, attrs in page.tags if attrs.keys() & {"src", "href", "xlink:href"}]
    assert "url(" not in html
    assert "@import" not in html


def test_everything_from_outside_is_escaped(tmp_path: Path, models: str) -> None:
    html, _ = make(
        tmp_path,
        models,
        [summary(EVIL), facts(engine=EVIL, attention=EVIL, device_name=EVIL)],
        {EVIL: EVIL},
    )
    assert "<script" not in html
    page = Page(html)
    assert page.text.count(EVIL) >= 6


def test_embedding_tasks_are_summed_by_what_ran(tmp_path: Path, models: str) -> None:
    tasks = [
        facts(),
        facts(tokens=700, seconds=5.0, compute_seconds=1.0),
        facts(stage="DNABERT_S", architecture="v1.0", compute_seconds=0.0, tokens=0, sequences=0, batches=0),
        facts(attention="varlen"),
    ]
    _, info = make(tmp_path, models, [summary("a"), *tasks])
    rows = {(row["stage"], row["attention"]): row for row in info["embedding"]}
    assert len(rows) == 3
    esm = rows["ESM2", "sdpa"]
    assert (esm["parts"], esm["sequences"], esm["unique_sequences"], esm["tokens"]) == (2, 20, 18, 1200)
    assert esm["tokens_per_second"] == 400 and esm["fill"] == round(1200 / (2 * 4096), 3)
    assert rows["DNABERT_S", "sdpa"]["tokens_per_second"] is None


def test_run_info_names_versions_models_and_options(tmp_path: Path, models: str) -> None:
    _, info = make(tmp_path, models, [summary("a")], {"precision": "fp32", "min_score": None})
    manifest = json.loads((Path(models) / "manifest.json").read_text())
    assert info["model_set"]["name"] == "tiny"
    assert info["model_set"]["sha256"] == {k: v["sha256"] for k, v in manifest["files"].items()}
    assert len(info["model_set"]["sha256"]["classifier.safetensors"]) == 64
    assert info["options"] == {"precision": "fp32", "min_score": None}
    assert set(info["versions"]) == {"virnucpro", "python", "torch"}


def test_cut_is_drawn_where_it_is() -> None:
    def cuts(min_score: float | None) -> list[float]:
        picture = histogram(json.loads(summary("a", min_score).to_json()))
        return [rect.x for rect in picture.rects if rect.kind == "cut"]

    assert cuts(None) == []
    assert cuts(1.0)[0] - cuts(0.0)[0] == pytest.approx(400)


def test_flow_shows_every_record_and_labels_do_not_overlap() -> None:
    picture = flow(json.loads(summary("a").to_json()))
    calls = [rect for rect in picture.rects if rect.x == 560]
    assert [rect.kind for rect in calls] == ["virus", "others", "no_open_frame", "too_short"]
    assert sum(rect.height for rect in calls) == pytest.approx(190)
    for x in {label.x for label in picture.labels}:
        ys = sorted(label.y for label in picture.labels if label.x == x)
        assert all(b - a > 14 for a, b in itertools.pairwise(ys))
        assert ys[-1] <= picture.height


def test_pictures_of_a_sample_without_anything_scored() -> None:
    empty = Summary("none", None)
    empty.add_window(0, "no_call")
    empty.add_record(2, "too_short", "no_call", None)
    content = json.loads(empty.to_json())
    assert [rect.kind for rect in flow(content).rects if rect.x == 560] == ["too_short"]
    assert histogram(content).rects == []
    assert bars({}, 100, 100).rects == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"hello": 1}, "neither a sample's summary nor"),
        ([1, 2], "expected a JSON object"),
    ],
)
def test_other_json_is_refused(tmp_path: Path, models: str, content: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(tmp_path, models, [content])
    assert not (tmp_path / "out").exists()


def test_no_sample_two_of_one_name_or_broken_json(tmp_path: Path, models: str) -> None:
    with pytest.raises(InputError, match="one sample at least"):
        make(tmp_path, models, [facts()])
    with pytest.raises(InputError, match="'a' was given twice"):
        make(tmp_path, models, [summary("a"), summary("a")])
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(InputError, match=r"bad\.json: not JSON"):
        report(models, tmp_path / "bad.json", [tmp_path / "0.json"], tmp_path / "out")


def test_light_steps_never_import_torch() -> None:
    for name in ("consensus", "report"):
        code = (
            f"import runpy, sys; runpy.run_path({str(BIN / (name + '.py'))!r}); print('torch' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        assert done.stdout.strip() == "False"


def test_bad_input_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    for name, arguments in [
        ("merge", ["nothing.pt"]),
        ("predict", ["--models", "no/such/set", "output_1_merged.pt"]),
        ("report", ["--models", "no/such/set", "--options", "o.json", "x.json"]),
        ("consensus", ["--sample", "s", "--fasta", "f", "--records", "r", "--layout", "l", "results.txt"]),
    ]:
        command = [sys.executable, str(BIN / f"{name}.py"), *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert re.fullmatch(r"Error: [^\n]+\n", done.stderr)
    assert list(tmp_path.iterdir()) == []
