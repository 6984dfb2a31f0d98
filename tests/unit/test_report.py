"""The report and the run's facts: totals, aggregation, escaping, nothing from the network."""

import itertools
import json
import math
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.composition import calibration
from virnucpro.calling.figures import bars, curve, flow, histogram
from virnucpro.calling.report import report
from virnucpro.calling.summary import Summary
from virnucpro.errors import InputError
from virnucpro.models.model_set import ModelSet

BIN = Path(__file__).parents[2] / "bin"
FILES = ("--fasta", "f", "--records", "r", "--layout", "l")
EVIL = '<script>alert("1")</script>&\''


def rule(cutoffs: tuple[float, float] = (0.5, 0.5), score_all: bool = False) -> dict[str, Any]:
    facts = {"score_all": score_all, "preset": None, "min_score": None, "cutoffs": list(cutoffs)}
    return {"rule": "the <rule>", **facts}


def summary(name: str, scale: int = 1, **how: Any) -> Summary:
    result = Summary(name, rule(**how))
    for length, status, evidence, call, score, frames in [
        (400, "called", "frames", "virus", 0.97, 3),
        (400, "called", "frames", "others", 0.2, 1),
        (700, "no_open_frame", "NA", "no_call", math.nan, 0),
        (2, "too_short", "NA", "no_call", math.nan, 0),
    ] * scale:
        result.add_window(frames, call)
        result.add_record(length, status, evidence, call, score)
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
    def cut(lowest: float, highest: float) -> Any:
        picture = histogram(json.loads(summary("a", cutoffs=(lowest, highest)).to_json()))
        [found] = [rect for rect in picture.rects if rect.kind.startswith("cut")]
        return found

    assert cut(1.0, 1.0).x - cut(0.0, 0.0).x == pytest.approx(400)
    assert cut(0.4, 0.6).width - cut(0.4, 0.4).width == pytest.approx(80)
    assert (cut(0.4, 0.4).title, cut(0.4, 0.6).title) == ("virus from 0.4 on", "virus from 0.4 to 0.6 on")


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
    empty = Summary("none", rule())
    empty.add_window(0, "no_call")
    empty.add_record(2, "too_short", "NA", "no_call", math.nan)
    content = json.loads(empty.to_json())
    assert [rect.kind for rect in flow(content).rects if rect.x == 560] == ["too_short"]
    assert [rect.kind for rect in histogram(content).rects] == ["cut"]
    assert bars({}, 100, 100).rects == []


def test_composition_lets_windows_without_a_frame_go_on() -> None:
    content = json.loads(summary("a", score_all=True).to_json())
    picture = flow(content)
    assert [rect.kind for rect in picture.rects if rect.x == 150] == ["kept", "composed"]
    assert len({rect.x for rect in picture.rects}) == 3 and len(picture.ribbons) == 2
    assert len({rect.x for rect in flow(json.loads(summary("a").to_json())).rects}) == 4


def test_says_what_the_model_set_is(tmp_path: Path, models: str, model_set: ModelSet) -> None:
    def page(**changes: Any) -> tuple[Page, dict[str, Any]]:
        folder = shutil.copytree(model_set.directory, tmp_path / "set", dirs_exist_ok=True)
        (folder / "manifest.json").write_text(json.dumps({**model_set.manifest, **changes}))
        html, info = make(tmp_path, str(folder), [summary("a")])
        return Page(html), info["model_set"]

    def banners(found: Page) -> int:
        return sum(attrs.get("class") == "banner" for _, attrs in found.tags)

    shown, info = page()
    assert banners(shown) == 1 and "tiny is not one of the published model sets." in shown.text
    shown, info = page(demonstration=True, name=EVIL)
    assert banners(shown) == 1 and f"{EVIL} is a demonstration" in shown.text
    assert info["notice"].startswith(EVIL)
    shown, info = page(name="virnucpro-500")
    assert banners(shown) == 0 and info["notice"] is None


def test_expected_recall_and_precision_are_drawn_where_the_calibrated_score_decides(
    tmp_path: Path, models: str
) -> None:
    html, _ = make(tmp_path, models, [summary("a")])
    assert "What to expect of a cut-off" not in html
    html, _ = make(tmp_path, models, [summary("a"), summary("b", score_all=True)])
    found = Page(html)
    assert "What to expect of a cut-off" in found.text
    lines = [attrs for tag, attrs in found.tags if tag == "polyline"]
    assert [attrs["class"] for attrs in lines] == [f"length{n}" for n in range(5)] * 2
    picture = curve(calibration().deciding.curve, "recall")
    (_, points) = picture.lines[0]
    first, *_, last = [tuple(map(float, point.split(","))) for point in points.split()]
    assert last[0] - first[0] == pytest.approx(0.98 * 400, abs=0.2)
    assert last[1] - first[1] == pytest.approx(0.98 * 200, abs=0.2)
    text = " ".join(found.text.split())
    assert "3,000strict0.750%75%20.0%10.0%" in text  # as at the nearest point of the curve, 0.5


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
        ("consensus", ["--sample", "s", "--models", "mini", *FILES, "results.txt"]),
    ]:
        command = [sys.executable, str(BIN / f"{name}.py"), *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert re.fullmatch(r"Error: [^\n]+\n", done.stderr)
    assert list(tmp_path.iterdir()) == []
