"""One verdict: by hand for each kind of evidence; and no row of any table says two things that differ."""

import itertools
import math
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.composition import ByGC, calibration
from virnucpro.calling.calibration import sigmoid
from virnucpro.calling.consensus import consensus
from virnucpro.calling.verdict import Evidence, Judge
from virnucpro.defaults import PRESETS
from virnucpro.sequences.extract import extract_frames
from virnucpro.sequences.fasta import read_fasta

NAN = math.nan
STOPS = "TAATTAATTAACTAGCTAGC"  # in every frame


def contig(windows: list[tuple[float, float, float, float]], length: float) -> Evidence:
    """From (bases, log-odds, P(virus), P(others)) of its windows."""
    columns = [np.array(column, dtype=np.float64) for column in zip(*windows, strict=True)]
    return Evidence.of_windows(*columns).pooled(np.zeros(len(windows), dtype=np.intp), np.array([length]))


def test_evidence_of_a_contig_by_hand() -> None:
    found = contig([(500, 2.0, 0.9, 0.1), (500, -1.0, NAN, NAN), (200, NAN, 0.2, 0.4)], 1000)
    assert found.composition.tolist() == [(2.0 - 1.0) / 2]  # of the windows that have one, by their bases
    assert found.frames[0] == pytest.approx((math.log(9) + math.log(0.5)) / 2)
    assert found.ratio[0] == pytest.approx((0.9 + 1 / 3) / 2)
    assert found.share[0] == pytest.approx(700 / 1200)
    nothing = contig([(50, NAN, NAN, NAN)], 50)
    assert np.isnan([nothing.composition[0], nothing.frames[0], nothing.ratio[0]]).all()
    assert nothing.share[0] == 0
    edge = contig([(500, NAN, 1.0, 0.0)], 500)
    assert edge.frames[0] == pytest.approx(math.log(1e6)) and edge.ratio[0] == 1
    assert contig([(500, NAN, 0.0, 0.0)], 500).ratio[0] == 0.5


def test_a_window_is_judged_as_a_contig_of_one_window() -> None:
    rng = np.random.default_rng(3)
    n = 200
    virus = np.where(rng.random(n) < 0.5, rng.random(n), np.nan)
    composition = np.where(rng.random(n) < 0.9, rng.normal(size=n), np.nan)
    windows = Evidence.of_windows(rng.integers(50, 501, n).astype(float), composition, virus, 1 - virus)
    contigs = windows.pooled(np.arange(n), windows.length)
    for judge in (Judge(calibration(), True), Judge(calibration(False), True), Judge(calibration(), False)):
        one, other = judge(windows), judge(contigs)
        for name in ("score", "composition", "evidence", "call", "tier"):
            assert getattr(one, name).tolist() == pytest.approx(getattr(other, name).tolist(), nan_ok=True)


def test_calibrated_scores_by_hand() -> None:
    windows = [(500, 1.0, 0.9, 0.3), (500, -2.0, NAN, NAN)]
    verdict = Judge(calibration(), score_all=True)(contig(windows, 1000))
    z = -0.2 + 0.7 * -0.5 + 0.7 * 0.5 * math.log(3) + 0.3 * 0.5  # knot 1000: b is 0.7
    assert verdict.score[0] == round(float(sigmoid(np.float64(z))), 6)
    assert verdict.composition[0] == round(float(sigmoid(np.float64(-0.1 + 0.7 * -0.5))), 6)
    assert verdict.evidence.tolist() == ["both"]
    alone = Judge(calibration(False), score_all=True)(contig(windows, 1000))
    assert alone.evidence.tolist() == ["composition"] and alone.score == alone.composition


@pytest.mark.parametrize(
    ("window", "with_frames", "score_all", "evidence"),
    [
        ((500, 1.0, 0.9, 0.1), True, True, "both"),
        ((500, 1.0, NAN, NAN), True, True, "composition"),
        ((500, NAN, 0.9, 0.1), True, True, "frames"),
        ((500, NAN, NAN, NAN), True, True, "NA"),
        ((500, 1.0, 0.9, 0.1), False, True, "composition"),
        ((500, NAN, 0.9, 0.1), False, True, "frames"),
        ((500, 1.0, 0.9, 0.1), True, False, "frames"),
        ((500, 1.0, NAN, NAN), True, False, "NA"),
    ],
)
def test_evidence_says_what_the_score_rests_on(
    window: tuple[float, float, float, float], with_frames: bool, score_all: bool, evidence: str
) -> None:
    verdict = Judge(calibration(with_frames), score_all)(contig([window], 500))
    assert verdict.evidence.tolist() == [evidence]
    assert (verdict.call[0] == "no_call") == np.isnan(verdict.score[0]) == (evidence == "NA")


def test_original_rule_is_a_comparison_of_two_maxima() -> None:
    rng = np.random.default_rng(4)
    virus = np.concatenate([rng.random(5000, dtype=np.float32), np.float32([0.5, 0.1, 0, 1])])
    near = rng.integers(-2, 3, len(virus)) * np.spacing(virus)
    others = np.clip((virus + near).astype(np.float32), 0, 1)
    n = len(virus)
    windows = Evidence.of_windows(
        np.full(n, 500.0), np.full(n, 9.0), virus.astype(float), others.astype(float)
    )
    verdict = Judge(calibration(), score_all=False)(windows)
    assert (verdict.call == "virus").tolist() == (virus >= others).tolist()
    assert set(verdict.tier) == {"NA"}


def test_cut_offs() -> None:
    lengths = np.array([300.0, 3000.0])
    assert Judge(calibration(), True).cutoff(lengths) == pytest.approx([0.6, 0.4])
    assert Judge(calibration(), True, "strict").cutoff(lengths).tolist() == [0.9, 0.7]
    assert Judge(calibration(), True, "strict", 0.2).cutoff(lengths).tolist() == [0.2, 0.2]
    assert Judge(calibration(), False).cutoff(lengths).tolist() == [0.5, 0.5]
    assert Judge(calibration(), False, "sensitive").cutoff(lengths) == pytest.approx([0.3, 0.1])
    assert Judge(calibration(), False, None, 0.7).cutoff(lengths).tolist() == [0.7, 0.7]


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        (Judge(calibration(), True), "open frames; virus from 0.4 to 0.6 on, by length (preset balanced)"),
        (Judge(calibration(False), True, None, 0.5), "are not calibrated); virus from 0.5 on"),
        (Judge(calibration(), False), "the original's rule, from open frames alone; virus from 0.5 on"),
    ],
)  # fmt: skip
def test_says_how_it_calls(judge: Judge, said: str) -> None:
    assert judge.facts()["rule"].endswith(said)


def table(path: Path) -> list[dict[str, str]]:
    header, *lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    return [dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines]


def sample(folder: Path, seed: int) -> tuple[Path, ...]:
    """A FASTA of records of every kind, with its frames, and scores on a coarse grid for them."""
    rng = random.Random(seed)
    fasta = folder / "s.fa"
    records = []
    for number in range(rng.randint(0, 8)):
        length = rng.choice([1, 2, 20, 90, 150, 299, 300, 500, 501, 1200])
        letters = rng.choice(["ACGT", "ACGT", "GC", "AT", "N", "ACGTN", "TA"])
        open_ = "".join(rng.choices(["GCC", "ATG", "AAA"], k=length))[:length]
        made = open_ if rng.random() < 0.4 else "".join(rng.choices(letters, k=length))
        if length <= 90 and rng.random() < 0.5:
            made = (STOPS * 10)[:length]
        if length > 600 and rng.random() < 0.5:
            made = made[:500] + STOPS * 10 + made[700:]
        records.append(f">r{number} x\n{made}\n")
    fasta.write_text("".join(records))
    extract_frames(fasta, folder / "frames", "s", 300, 1000, folder)
    rows = ["Sequence_ID\tPrediction\tscore1\tscore2\n"]
    for row in table(folder / "s_layout.tsv"):
        for frame in filter(None, row["frames"].split(",")):
            others, virus = rng.randint(0, 8) / 8, rng.randint(0, 8) / 8
            label = "virus" if virus > others else "others"
            rows.append(f"{row['sequence_id']}_chunk_{row['window']}{frame}\t{label}\t{others}\t{virus}\n")
    (folder / "results.txt").write_text("".join(rows))
    return fasta, folder / "s_records.tsv", folder / "s_layout.tsv", folder / "results.txt"


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**9),
    with_frames=st.booleans(),
    score_all=st.booleans(),
    preset=st.sampled_from([None, *PRESETS]),
    min_score=st.sampled_from([None, None, 0.0, 0.3, 0.5, 1.0]),
)
def test_no_row_contradicts_itself_or_another_table(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int, with_frames: bool, score_all: bool, preset: str | None, min_score: float | None,
) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("sample")
    paths = sample(folder, seed)
    judge = Judge(calibration(with_frames), score_all, preset, min_score)
    summary = consensus("s", *paths, folder, ByGC(100), judge)
    contigs, windows = table(folder / "s_contigs.tsv"), table(folder / "s_windows.tsv")
    taken = table(folder / "s_records.tsv")
    for row in contigs:
        agrees(row, judge, int(row["length"]))
        assert (row["status"] == "called") == (row["call"] != "no_call")
        own = [window for window in windows if window["record"] == row["record"]]
        assert int(row["windows"]) == len(own)
        assert int(row["windows_with_frame"]) == sum(window["frames"] != "NA" for window in own)
        assert int(row["viral_windows"]) == sum(window["call"] == "virus" for window in own)
        assert (row["call"] == "no_call") == all(window["call"] == "no_call" for window in own)
        assert row["evidence"] in one_of({window["evidence"] for window in own} - {"NA"})
        if len(own) == 1:
            same = ("composition_score", "evidence", "virus_score", "call")
            assert [row[name] for name in same] == [own[0][name] for name in same]
        if row["call"] == "no_call":
            assert row["status"] == taken[int(row["record"]) - 1]["status"]
    for row in windows:
        agrees(row, judge, int(row["end"]) - int(row["start"]) + 1)
        assert (row["frames"] == "NA") == (row["frame_virus"] == "NA") == (row["best_frame"] == "NA")
    rates = sorted((float(row["virus_score"]), float(row["fdr"])) for row in contigs if row["fdr"] != "NA")
    assert all(low[1] >= high[1] and 0 <= low[1] <= 1 for low, high in itertools.pairwise(rates))
    assert {row["fdr"] == "NA" for row in contigs if row["call"] != "no_call"} <= {not score_all}
    calls = {name: sum(row["call"] == name for row in contigs) for name in ("virus", "others", "no_call")}
    assert summary.calls == calls
    assert summary.viral_windows == sum(int(row["viral_windows"]) for row in contigs)
    assert summary.windows_scored == sum(row["call"] != "no_call" for row in windows)
    assert sum(summary.evidence.values()) == calls["virus"] + calls["others"]
    viral = [record.id for record in read_fasta(folder / "s_viral.fa")]
    assert viral == [row["sequence_id"] for row in contigs if row["call"] == "virus"]
    rolled = [row["ID"] for row in table(folder / "s_viral_ngs.tsv")]
    assert rolled == [row["sequence_id"] for row in contigs if row["windows_with_frame"] != "0"]


def one_of(evidence: set[str]) -> set[str]:
    """What a contig's evidence can be, given that of its windows."""
    return evidence if len(evidence) == 1 else {"both"} if evidence else {"NA"}


def agrees(row: dict[str, str], judge: Judge, length: int) -> None:
    """Every column of a row that follows from its score does."""
    if row["call"] == "no_call":
        assert {row[name] for name in ("virus_score", "evidence", "tier", "fdr") if name in row} == {"NA"}
        return
    score = float(row["virus_score"])
    assert 0 <= score <= 1
    at = np.array([float(length)])
    assert row["call"] == ("virus" if score >= judge.cutoff(at)[0] else "others")
    if not judge.score_all:
        assert row["evidence"] == "frames"
    elif row["evidence"] == "composition" and judge.calibration.both is None:
        assert row["virus_score"] == row["composition_score"]
    assert (row["composition_score"] == "NA") <= (row["evidence"] == "frames")
    if "tier" in row:
        strict, balanced = (judge.calibration.cutoff(name, at)[0] for name in ("strict", "balanced"))
        tier = "high" if score >= strict else "medium" if score >= balanced else "low"
        assert row["tier"] == (tier if row["call"] == "virus" and judge.score_all else "NA")


def test_records_of_every_kind_occur(tmp_path: Path) -> None:
    """What the test above draws from holds what it is about."""
    kinds, evidence = set(), set()
    for seed in range(30):
        folder = tmp_path / str(seed)
        paths = sample(folder.mkdir() or folder, seed)
        consensus("s", *paths, folder, ByGC(100), Judge(calibration(), True))
        for row in table(folder / "s_contigs.tsv"):
            kinds.add((row["status"], row["call"], row["tier"]))
            evidence.add(row["evidence"])
    assert evidence == {"both", "composition", "frames", "NA"}
    assert {status for status, _, _ in kinds} == {"called", "no_open_frame", "too_short", "ambiguous"}
    assert {tier for _, _, tier in kinds} == {"high", "medium", "NA"}
