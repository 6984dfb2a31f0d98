"""Calls for windows and records: golden bytes, the original rule, counts, files that do not fit."""

import itertools
import json
import math
import os
import random
import stat
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.composition import ByGC, calibration
from virnucpro.calling.consensus import CONTIGS, HIGHEST, WINDOWS, consensus
from virnucpro.calling.summary import BINS, Summary
from virnucpro.calling.verdict import Judge
from virnucpro.calling.viral_ngs import VIRAL_NGS, RollUp
from virnucpro.errors import InputError
from virnucpro.sequences.extract import LAYOUT_COLUMNS, RECORD_COLUMNS, SEAL_COLUMN, Seal
from virnucpro.sequences.fasta import Record, read_fasta

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
FRAMES = ("F1", "F2", "F3", "R1", "R2", "R3")


@dataclass
class Window:
    start: int
    end: int
    scores: dict[str, tuple[str, str]] = field(default_factory=dict)  # frame -> text of score1, score2


@dataclass
class Item:
    header: str
    sequence: str
    windows: list[Window] = field(default_factory=list)
    status: str = ""

    @property
    def id(self) -> str:
        return self.header.split()[0]

    @property
    def scored(self) -> int:
        return sum(bool(window.scores) for window in self.windows)


@dataclass
class Files:
    fasta: Path
    records: Path
    layout: Path
    results: Path
    out: Path


def write(folder: Path, items: list[Item]) -> Files:
    files = Files(*(folder / name for name in ("in.fa", "r.tsv", "l.tsv", "results.txt", "out")))
    fasta, records, layout = [], ["\t".join([*RECORD_COLUMNS, SEAL_COLUMN])], ["\t".join(LAYOUT_COLUMNS)]
    results = ["Sequence_ID\tPrediction\tscore1\tscore2"]
    for number, item in enumerate(items, 1):
        fasta += [f">{item.header}", item.sequence]
        status = item.status or ("called" if item.scored else "no_open_frame")
        counts = [
            str(number),
            item.id,
            str(len(item.sequence)),
            status,
            str(len(item.windows)),
            str(item.scored),
        ]
        seal = Seal(Record(number, item.id, item.header, item.sequence))
        for k, window in enumerate(item.windows, 1):
            place = [str(number), item.id, str(k), str(window.start), str(window.end)]
            layout.append("\t".join([*place, ",".join(window.scores)]))
            seal.add(layout[-1])
            for frame, (others, virus) in window.scores.items():
                label = "virus" if float(virus) > float(others) else "others"
                results.append(f"{item.id}_chunk_{k}{frame}\t{label}\t{others}\t{virus}")
        records.append("\t".join([*counts, seal.close(counts)]))
    for path, lines in [
        (files.fasta, fasta),
        (files.records, records),
        (files.layout, layout),
        (files.results, results),
    ]:
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8", newline="\n")
    return files


def run(files: Files, sample: str = "s", judge: Judge | None = None, notice: str | None = None) -> Summary:
    """By the original's rule unless told otherwise."""
    paths = (files.fasta, files.records, files.layout, files.results, files.out)
    return consensus(sample, *paths, ByGC(), judge or Judge(calibration(), score_all=False), notice)


def table(path: Path) -> list[dict[str, str]]:
    header, *lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    names = header.split("\t")
    return [dict(zip(names, line.split("\t"), strict=True)) for line in lines]


def one(*windows: dict[str, tuple[str, str]], header: str = "a", bases: int = 40) -> Item:
    spans = [Window(1 + 20 * k, 20 * (k + 1), scores) for k, scores in enumerate(windows)]
    return Item(header, "ACGT" * (bases // 4), spans)


def test_golden_consensus_byte_for_byte(tmp_path: Path) -> None:
    results = GOLDEN / "test_with_orfs_merged" / "prediction_results.txt"
    frames: dict[str, dict[str, tuple[str, str]]] = defaultdict(dict)
    for row in table(results):
        frames[row["Sequence_ID"].removesuffix(row["Sequence_ID"][-2:])][row["Sequence_ID"][-2:]] = (
            row["score1"],
            row["score2"],
        )
    fasta = GOLDEN / "test_with_orfs.fa"
    items = [
        Item(r.header, r.sequence, [Window(1, len(r.sequence), frames[f"{r.id}_chunk_1"])])
        for r in read_fasta(fasta)
    ]
    files = write(tmp_path, items)
    assert files.results.read_bytes() == results.read_bytes()

    run(Files(fasta, files.records, files.layout, results, files.out), "golden")

    ours = (files.out / "prediction_results_highestscore.csv").read_text()
    first_two = "".join("\t".join(line.split("\t")[:2]) + "\n" for line in ours.splitlines())
    golden = GOLDEN / "test_with_orfs_merged" / "prediction_results_highestscore.csv"
    assert first_two.encode() == golden.read_bytes()
    assert ours.splitlines()[1].split("\t")[2:] == ["0.12100612", "0.9988405"]
    assert ours.splitlines()[2].split("\t")[2:] == ["0.5501341", "0.93954605"]


def test_columns_are_the_documented_ones() -> None:
    assert "\t".join(HIGHEST) == "Modified_ID\tIs_Virus\tmax_score_0\tmax_score_1"
    assert WINDOWS[:5] == ("record", "sequence_id", "window", "start", "end")
    assert WINDOWS[5:9] == ("frames", "best_frame", "frame_virus", "frame_others")
    assert WINDOWS[9:] == ("composition_score", "evidence", "virus_score", "call")
    assert CONTIGS[:6] == ("record", "sequence_id", "length", "status", "windows", "windows_with_frame")
    assert CONTIGS[6:10] == ("viral_windows", "evidence", "composition_score", "virus_score")
    assert CONTIGS[10:] == ("fdr", "tier", "call")
    assert VIRAL_NGS[:5] == ("ID", "call", "tier", "weighted_delta", "n_chunks")
    assert VIRAL_NGS[5:8] == ("n_confident_viral", "n_confident_nonviral", "n_ambiguous")
    assert VIRAL_NGS[8:] == ("viral_proportion", "nonviral_proportion")


def test_tie_is_virus_by_maxima_over_frames_not_by_labels(tmp_path: Path) -> None:
    # Both frames are labelled others, or tie; their maxima are equal.
    files = write(
        tmp_path, [one({"F1": ("0.5", "0.5")}), one({"F2": ("0.6", "0.4"), "R1": ("0.4", "0.6")}, header="b")]
    )
    run(files)
    assert [row["Is_Virus"] for row in table(files.out / "prediction_results_highestscore.csv")] == [
        "True"
    ] * 2
    assert [row["call"] for row in table(files.out / "s_windows.tsv")] == ["virus"] * 2
    assert [row["best_frame"] for row in table(files.out / "s_windows.tsv")] == ["F1", "R1"]


def test_just_below_a_tie_is_others(tmp_path: Path) -> None:
    files = write(tmp_path, [one({"F1": ("0.50000006", "0.49999997")})])
    run(files)
    assert table(files.out / "prediction_results_highestscore.csv")[0]["Is_Virus"] == "False"
    assert table(files.out / "s_contigs.tsv")[0]["call"] == "others"
    assert (files.out / "s_viral.fa").read_text() == ""


def test_several_windows_one_without_a_frame(tmp_path: Path) -> None:
    item = one({"F1": ("0.1", "0.9"), "R2": ("0.3", "0.7")}, {}, {"F3": ("0.8", "0.2")}, bases=60)
    files = write(tmp_path, [item])
    run(files)
    first, second, third = table(files.out / "s_windows.tsv")
    assert first == {
        **{"record": "1", "sequence_id": "a", "window": "1", "start": "1", "end": "20", "frames": "F1,R2"},
        **{"best_frame": "F1", "frame_virus": "0.9", "frame_others": "0.3"},
        **{"composition_score": "0.475021", "evidence": "frames", "virus_score": "0.75", "call": "virus"},
    }
    assert second == {
        **{"record": "1", "sequence_id": "a", "window": "2", "start": "21", "end": "40", "frames": "NA"},
        **{"best_frame": "NA", "frame_virus": "NA", "frame_others": "NA"},
        **{"composition_score": "0.475021", "evidence": "NA", "virus_score": "NA", "call": "no_call"},
    }
    assert third["call"] == "others"
    [contig] = table(files.out / "s_contigs.tsv")
    assert contig["windows"] == "3"
    assert contig["windows_with_frame"] == "2"
    assert contig["viral_windows"] == "1"
    assert contig["virus_score"] == "0.475"  # the mean of 0.75 and 0.2
    assert contig["call"] == "others"
    assert (contig["evidence"], contig["composition_score"]) == ("frames", "0.475021")
    assert (contig["fdr"], contig["tier"]) == ("NA", "NA")  # of scores that nobody has calibrated
    rows = table(files.out / "prediction_results_highestscore.csv")
    assert [row["Modified_ID"] for row in rows] == ["a_chunk_1", "a_chunk_3"]


def test_the_mean_decides_and_not_the_number_of_windows(tmp_path: Path) -> None:
    windows = {"F1": ("0.1", "0.9")}, {"F1": ("0.9", "0.1")}, {"F3": ("0.8", "0.2")}
    others = {"F1": ("0.0", "1.0")}, {"F1": ("0.7", "0.3")}, {"F3": ("0.7", "0.3")}
    files = write(tmp_path, [one(*windows, bases=60), one(*others, bases=60, header="b")])
    run(files)
    first, second = table(files.out / "s_contigs.tsv")
    assert (first["viral_windows"], first["virus_score"], first["call"]) == ("1", "0.4", "others")
    assert (second["viral_windows"], second["virus_score"], second["call"]) == ("1", "0.533333333", "virus")


def test_min_score_cuts_windows_and_records_and_leaves_the_v1_file(tmp_path: Path) -> None:
    items = [
        one({"F1": ("0.2", "0.8")}, {"F1": ("0.05", "0.95")}),  # mean 0.875
        one({"F1": ("0.1", "0.9")}, header="b"),
        one({"F1": ("0.4", "0.6")}, header="c"),
    ]
    plain, cut = write(tmp_path, items), write(tmp_path, items)
    cut.out = tmp_path / "cut"
    run(plain)
    rule = run(cut, judge=Judge(calibration(), score_all=False, min_score=0.9)).rule
    assert (rule["min_score"], rule["preset"], rule["cutoffs"]) == (0.9, None, [0.9, 0.9])
    name = "prediction_results_highestscore.csv"
    assert (plain.out / name).read_bytes() == (cut.out / name).read_bytes()
    assert [row["call"] for row in table(plain.out / "s_contigs.tsv")] == ["virus"] * 3
    assert [row["call"] for row in table(cut.out / "s_windows.tsv")] == ["others", "virus", "virus", "others"]
    # a: one of two windows still passes, but the mean does not; b: 0.9 itself passes.
    assert [row["call"] for row in table(cut.out / "s_contigs.tsv")] == ["others", "virus", "others"]
    assert [record.id for record in read_fasta(cut.out / "s_viral.fa")] == ["b"]


def test_ids_are_given_back_untouched(tmp_path: Path) -> None:
    ids = [
        '"quoted"',
        "'x",
        "=1+1",
        "a|b|c",
        "ü-ñ-序列",
        "x_chunk_1F1",
        "NA",
        "007",
        "#h",
        ",",
        "a\\tb",
        "@r/1",
    ]
    files = write(tmp_path, [one({"F1": ("0.1", "0.9")}, {}, header=id_) for id_ in ids])
    run(files)
    assert [row["sequence_id"] for row in table(files.out / "s_contigs.tsv")] == ids
    assert [row["sequence_id"] for row in table(files.out / "s_windows.tsv")[::2]] == ids
    rows = table(files.out / "prediction_results_highestscore.csv")
    assert [row["Modified_ID"] for row in rows] == [f"{id_}_chunk_1" for id_ in ids]


def test_viral_fasta_keeps_header_and_letters(tmp_path: Path) -> None:
    sequence = "acguRYNn" * 17
    item = Item("v1 some = description\t| here", sequence, [Window(1, 136, {"F1": ("0.1", "0.9")})])
    other = Item("o", "ACGT", [Window(1, 4, {"F1": ("0.9", "0.1")})])
    files = write(tmp_path, [item, other])
    run(files)
    header, *lines = (files.out / "s_viral.fa").read_text().splitlines()
    assert header == ">v1 some = description\t| here"
    assert [len(line) for line in lines] == [60, 60, 16]
    assert "".join(lines) == sequence


def test_p29_nothing_scored_gives_complete_files(tmp_path: Path) -> None:
    items = [
        Item("short", "AC", [Window(1, 2)], "too_short"),
        Item("ns", "NNNNNN", [Window(1, 6)], "ambiguous"),
        Item("stops", "TAATAA", [Window(1, 6)], "no_open_frame"),
    ]
    files = write(tmp_path, items)
    summary = run(files)
    assert (files.out / "prediction_results_highestscore.csv").read_text() == "\t".join(HIGHEST) + "\n"
    assert (files.out / "s_viral.fa").read_text() == ""
    contigs = table(files.out / "s_contigs.tsv")
    assert [row["status"] for row in contigs] == ["too_short", "ambiguous", "no_open_frame"]
    assert {row["call"] for row in contigs} == {"no_call"}
    empty = ("evidence", "composition_score", "virus_score", "fdr", "tier")
    assert {row[name] for row in contigs for name in empty} == {"NA"}
    assert (files.out / "s_viral_ngs.tsv").read_text() == "\t".join(VIRAL_NGS) + "\n"
    assert summary.calls == {"virus": 0, "others": 0, "no_call": 3}
    json.loads((files.out / "s_mqc.json").read_text())


def test_p47_mode_follows_the_umask(tmp_path: Path) -> None:
    files = write(tmp_path, [one({"F1": ("0.1", "0.9")})])
    old = os.umask(0o022)
    try:
        run(files)
    finally:
        os.umask(old)
    produced = sorted(files.out.iterdir())
    assert [path.name for path in produced] == [
        "prediction_results_highestscore.csv",
        *("s_contigs.tsv", "s_mqc.json", "s_viral.fa", "s_viral_ngs.tsv", "s_windows.tsv"),
    ]
    assert {stat.S_IMODE(path.stat().st_mode) for path in produced} == {0o644}


def swap_lines(path: Path, first: int, second: int) -> None:
    lines = path.read_text().splitlines()
    lines[first], lines[second] = lines[second], lines[first]
    path.write_text("\n".join(lines) + "\n")


def drop_line(path: Path, number: int) -> None:
    lines = path.read_text().splitlines()
    del lines[number]
    path.write_text("\n".join(lines) + "\n")


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


CHANGED = r"r\.tsv, line 2: record 1 \(a\) or its windows are not those that were scored"


def test_files_that_do_not_line_up_stop_and_write_nothing(tmp_path: Path) -> None:
    items = [
        one({"F1": ("0.1", "0.9"), "R1": ("0.2", "0.8")}, {"F2": ("0.3", "0.7")}),
        one({}, {"F3": ("0.4", "0.6")}, header="b"),
    ]
    damages = [
        (lambda f: swap_lines(f.results, 1, 2), r"results\.txt, line 2: found 'a_chunk_1R1'"),
        (lambda f: drop_line(f.results, 2), r"results\.txt, line 3: found 'a_chunk_2F2'"),
        (lambda f: drop_line(f.results, 4), r"results\.txt: ends after line 4, but b_chunk_2F3"),
        (lambda f: drop_line(f.layout, 2), r"l\.tsv, line 3: found '2 b 1'"),
        (lambda f: drop_line(f.layout, 4), r"l\.tsv: ends after line 4, but window 2 of record 2"),
        (lambda f: swap_lines(f.records, 1, 2), r"r\.tsv, line 2: found '2 b 40'"),
        (lambda f: drop_line(f.records, 2), r"r\.tsv: ends after line 2, but record 2"),
        (lambda f: edit(f.fasta, ">b", ">c"), r"r\.tsv, line 3: found '2 b 40' where '2 c 40'"),
        (lambda f: edit(f.fasta, ">b\nACGT", ">b\nACG"), r"where '2 b 39'"),
        (lambda f: edit(f.fasta, ">b\n" + "ACGT" * 10 + "\n", ""), r"r\.tsv, line 3: a row of '2' too many"),
        (lambda f: edit(f.layout, "F1,R1", "F1"), r"results\.txt, line 3: found 'a_chunk_1R1'"),
        (lambda f: edit(f.records, "called\t2\t2", "called\t2\t1"), CHANGED),
        (lambda f: edit(f.records, "called\t2\t2", "no_open_frame\t2\t2"), CHANGED),
        (lambda f: edit(f.fasta, ">a\nACGT", ">a\nACGA"), CHANGED),
        (lambda f: edit(f.fasta, ">a\n", ">a more words\n"), CHANGED),
        (lambda f: edit(f.layout, "a\t1\t1\t20", "a\t1\t2\t20"), CHANGED),
        (lambda f: edit(f.layout, "a\t1\t1\t20", "a\t1\t1\t21"), CHANGED),
        (lambda f: edit(f.results, "F1\tvirus", "F1\tothers"), r"line 2: found 'others'"),
        (lambda f: edit(f.records, "called", "fine"), r"unknown status 'fine'"),
        (lambda f: edit(f.results, "0.9", "nan"), r"line 2: the score 'nan'"),
        (lambda f: edit(f.results, "0.9", "1.5"), r"line 2: the score '1\.5'"),
        (lambda f: edit(f.results, "\t0.9", ""), r"line 2: 3 columns, expected 4"),
        (lambda f: edit(f.results, "Sequence_ID", "ID"), r"line 1: expected the columns Sequence_ID"),
        (lambda f: f.layout.unlink(), r"l\.tsv: cannot be read"),
    ]
    for number, (damage, message) in enumerate(damages):
        folder = tmp_path / str(number)
        folder.mkdir()
        files = write(folder, items)
        damage(files)
        with pytest.raises(InputError, match=message):
            run(files)
        assert not files.out.exists() or not list(files.out.iterdir())


def random_items(rng: random.Random) -> list[Item]:
    """Records of every kind; scores on a coarse grid, so that ties are frequent."""
    items = []
    for number in range(rng.randint(1, 12)):
        kind = rng.choice(["called", "called", "no_open_frame", "too_short", "ambiguous"])
        windows = []
        for k in range(1 if kind in ("too_short", "ambiguous") else rng.randint(1, 8)):
            scores = {}
            if kind == "called":
                for frame in FRAMES:
                    if rng.random() < 0.3:
                        virus = rng.randint(0, 20) / 20
                        scores[frame] = (repr(round(1 - virus, 2)), repr(virus))
            windows.append(Window(1 + k, 1 + k, scores))
        if kind == "called" and not any(window.scores for window in windows):
            windows[-1].scores["R3"] = ("0.5", "0.5")
        length = rng.choice([1, 2, 299, 300, 499, 500, 999, 2999, 3000, 9999, 10000])
        items.append(Item(f"r{number} x", "A" * length, windows, kind))
    return items


def slow_original(results: Path) -> dict[str, tuple[bool, float, float]]:
    """The original's rule, spelled out: group rows by the id less its last two characters, compare maxima."""
    groups: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for line in results.read_text().splitlines()[1:]:
        id_, _, others, virus = line.split("\t")
        groups[id_[:-2]].append((float(others), float(virus)))
    maxima = {id_: (max(o for o, _ in rows), max(v for _, v in rows)) for id_, rows in groups.items()}
    return {id_: (virus >= others, others, virus) for id_, (others, virus) in maxima.items()}


def slow_rollup(windows: list[tuple[float, float]]) -> dict[str, object]:
    """The roll-up from its definition: weights are roots of the absolute differences."""
    deltas = [virus - others for others, virus in windows]
    weights = [math.sqrt(abs(delta)) for delta in deltas]
    mean = (
        sum(map(lambda d, w: d * w, deltas, weights)) / sum(weights)
        if any(weights)
        else sum(deltas) / len(deltas)
    )
    viral = len([1 for others, virus in windows if virus > 0.8 and others < 0.3])
    nonviral = len([1 for others, virus in windows if others > 0.8 and virus < 0.3])
    both = len([1 for others, virus in windows if others > 0.7 and virus > 0.7])
    rest = len(windows) - both
    shares = [count / rest if rest else 0.0 for count in (viral, nonviral)]
    ladder = ["review", "low_confidence", "moderate_confidence", "high_confidence"]
    step = 0
    if abs(mean) > 0.3:
        count, share = (viral, shares[0]) if mean > 0 else (nonviral, shares[1])
        sure = count >= 1 and share >= 0.1
        step = (3 if abs(mean) > 0.6 else 2) if sure else 1
    if len(windows) < 5:
        step = {3: 1, 2: 1, 1: 0, 0: 0}[step]
    return {
        "call": "Viral" if mean > 0.3 else "Non-viral" if mean < -0.3 else "Ambiguous",
        "tier": ladder[step],
        "weighted_delta": mean,
        "n_chunks": len(windows),
        "n_confident_viral": viral,
        "n_confident_nonviral": nonviral,
        "n_ambiguous": both,
        "viral_proportion": shares[0],
        "nonviral_proportion": shares[1],
    }


@pytest.mark.parametrize("seed", range(60))
def test_random_tables_follow_the_rules_and_add_up(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    items = random_items(rng)
    files = write(tmp_path, items)
    summary = run(files)

    original = slow_original(files.results)
    highest = table(files.out / "prediction_results_highestscore.csv")
    ours = {
        row["Modified_ID"]: (row["Is_Virus"] == "True", float(row["max_score_0"]), float(row["max_score_1"]))
        for row in highest
    }
    assert ours == original
    assert list(ours) == list(original)

    windows, contigs = table(files.out / "s_windows.tsv"), table(files.out / "s_contigs.tsv")
    frames = len(files.results.read_text().splitlines()) - 1
    assert summary.records == len(contigs) == len(items) == sum(summary.status.values())
    assert summary.windows == len(windows) == sum(int(row["windows"]) for row in contigs)
    assert (
        summary.frames == frames == sum(len(r["frames"].split(",")) for r in windows if r["frames"] != "NA")
    )
    assert summary.windows_with_frame == len(highest) == sum(row["call"] != "no_call" for row in windows)
    assert summary.viral_windows == sum(row["Is_Virus"] == "True" for row in highest)
    assert summary.viral_windows == sum(row["call"] == "virus" for row in windows)
    assert summary.viral_windows == sum(int(row["viral_windows"]) for row in contigs)
    assert summary.bases == sum(len(item.sequence) for item in items)
    viral = [row["sequence_id"] for row in contigs if row["call"] == "virus"]
    text = (files.out / "s_viral.fa").read_text()
    assert [line[1:].split()[0] for line in text.splitlines() if line.startswith(">")] == viral

    grouped = itertools.groupby(windows, key=lambda row: row["record"])
    rolled = iter(table(files.out / "s_viral_ngs.tsv"))
    for contig, (record, rows) in zip(contigs, grouped, strict=True):
        assert contig["record"] == record
        scored = [row for row in rows if row["call"] != "no_call"]
        if not scored:
            assert contig["call"] == "no_call"
            continue
        mean = sum(float(row["virus_score"]) for row in scored) / len(scored)
        assert float(contig["virus_score"]) == pytest.approx(mean, abs=2e-9)
        assert contig["call"] == ("virus" if float(contig["virus_score"]) >= 0.5 else "others")
        maxima = [(float(r["frame_others"]), float(r["frame_virus"])) for r in scored]
        roll_up = next(rolled)
        assert roll_up["ID"] == contig["sequence_id"]
        for name, value in slow_rollup(maxima).items():
            if isinstance(value, float):
                assert float(roll_up[name]) == pytest.approx(value, abs=6e-4)
            else:
                assert roll_up[name] == str(value)
    assert next(rolled, None) is None


@pytest.mark.parametrize(
    ("windows", "tier", "verdict"),
    [
        ([(0.05, 0.95)] * 5, "high_confidence", "Viral"),
        ([(0.05, 0.95)] * 4, "low_confidence", "Viral"),
        ([(0.29, 0.81)] * 5, "moderate_confidence", "Viral"),
        ([(0.25, 0.75)] * 5, "low_confidence", "Viral"),
        ([(0.25, 0.75)] * 4, "review", "Viral"),
        ([(0.95, 0.05)] * 5, "high_confidence", "Non-viral"),
        ([(0.9, 0.9)] * 9, "review", "Ambiguous"),
        ([(0.5, 0.5)], "review", "Ambiguous"),
        ([(0.05, 0.95)] * 1 + [(0.2, 0.7)] * 10, "low_confidence", "Viral"),  # 1 of 11 is below a tenth
        ([(0.05, 0.95)] * 1 + [(0.2, 0.7)] * 9, "moderate_confidence", "Viral"),
    ],
)
def test_tiers(windows: list[tuple[float, float]], tier: str, verdict: str) -> None:
    rollup = RollUp()
    for others, virus in windows:
        rollup.add(others, virus)
    result = rollup.verdict()
    assert (result.tier, result.call) == (tier, verdict)


def test_summary_counts_lengths_and_histogram(tmp_path: Path) -> None:
    items = [
        one({"F1": ("0.0", "1.0")}, header="a", bases=300),
        one({"F1": ("0.98", "0.02")}, header="b", bases=296),
        one({}, header="c", bases=12000),
    ]
    files = write(tmp_path, items)
    run(files, sample="run_7").write(files.out / "run_7_summary.json")
    summary = json.loads((files.out / "run_7_summary.json").read_text())
    assert summary["sample"] == "run_7"
    assert summary["bases"] == 12596
    assert summary["viral_bases"] == 300
    assert summary["length_classes"]["300-499"] == {"virus": 1, "others": 0, "no_call": 0}
    assert summary["length_classes"]["<300"] == {"virus": 0, "others": 1, "no_call": 0}
    assert summary["length_classes"][">=10000"] == {"virus": 0, "others": 0, "no_call": 1}
    assert summary["histogram"]["virus"] == [0] * (BINS - 1) + [1]
    assert summary["histogram"]["others"] == [1] + [0] * (BINS - 1)


def test_multiqc_content_holds_every_record(tmp_path: Path) -> None:
    items = [one({"F1": ("0.1", "0.9")}), one({}, header="b"), Item("c", "A", [Window(1, 1)], "too_short")]
    files = write(tmp_path, items)
    run(files, sample="run_7")
    content = json.loads((files.out / "run_7_mqc.json").read_text())
    assert content["id"]
    assert content["plot_type"] == "bargraph"
    assert sum(content["data"]["run_7"].values()) == 3
    assert set(content["data"]["run_7"]) == set(content["categories"])
    assert content["description"] == "What became of every input sequence."
    run(files, sample="run_8", notice="<b>mini</b> is small.")
    said = json.loads((files.out / "run_8_mqc.json").read_text())["description"]
    assert said == "What became of every input sequence. &lt;b&gt;mini&lt;/b&gt; is small."


def test_memory_does_not_grow_with_the_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five hundred records more, the same peak but for a score a record and the digests that find repeats."""
    import tracemalloc

    monkeypatch.setattr("virnucpro.sequences.text.BLOCK", 1 << 11)
    monkeypatch.setattr("virnucpro.calling.consensus._BLOCK", 200)
    peaks = []
    for n in (600, 1100):
        folder = tmp_path / str(n)
        folder.mkdir()
        files = write(folder, [one({"F1": ("0.1", "0.9")}, {}, header=f"r{k:05}") for k in range(n)])
        tracemalloc.start()
        run(files)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 500 * 100
