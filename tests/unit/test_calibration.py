"""Calibration: fitted coefficients mean what they say on held-out data, presets keep to their limits, and a
damaged file is refused by name."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from virnucpro.calling.calibration import KNOTS, Calibration, Fit, sigmoid
from virnucpro.defaults import PRESETS
from virnucpro.errors import InputError
from virnucpro.training.calibrate import (
    BALANCED_RATE,
    BALANCED_RATES,
    SENSITIVE_RATE,
    STRICT_RATE,
    Rates,
    Scored,
    even,
    expected_calibration_error,
    fit_calibration,
    logistic,
)

VIRAL = ("RNA virus", "DNA virus", "phage")
OTHERS = ("bacteria", "archaea", "eukaryotes", "human", "organelle", "plasmid")


def made(seed: int, each: int = 300, over: float = 3.0) -> Scored:
    """Sequences whose log-odds are `over` times too sure, and too high; half have frames, whose
    scores are shifted. Every class has its own mean."""
    rng = np.random.default_rng(seed)
    parts = []
    for length in KNOTS:
        for label, kinds in ((1, VIRAL), (0, OTHERS)):
            for number, kind in enumerate(kinds):
                centre = (1.5 if label else -1.5) * np.log(length / 60) + 0.2 * number
                truth = rng.normal(centre, 1.6, each)
                share = rng.choice([0.0, 0.5, 1.0], each, p=[0.6, 0.2, 0.2] if label else [0.8, 0.1, 0.1])
                frames = np.where(share > 0, rng.normal(truth + 2, 2.0), np.nan)
                columns = (over * truth + 6, frames, share, np.full(each, float(length)))
                parts.append((*columns, np.full(each, label), np.full(each, kind)))
    return Scored(*(np.concatenate(column) for column in zip(*parts, strict=True)))


@pytest.fixture(scope="module")
def fitted() -> Calibration:
    return fit_calibration(made(1), made(1))


@pytest.mark.parametrize("alone", [True, False])
def test_error_on_held_out_sequences_is_small_at_every_length(fitted: Calibration, alone: bool) -> None:
    held_out = made(2)
    if alone:
        score = fitted.composition_score(held_out.length, held_out.composition)
    else:
        score = fitted.score(held_out.length, held_out.composition, held_out.frames, held_out.share)
    before = expected_calibration_error(sigmoid(held_out.composition), held_out.label, even(held_out))
    assert before > 0.05, "the raw log-odds are not calibrated"
    for length in KNOTS:
        own = held_out.length == length
        assert expected_calibration_error(score[own], held_out.label[own], even(held_out.of(own))) <= 0.05


def test_frames_help_where_they_are_calibrated(fitted: Calibration) -> None:
    held_out = made(3)
    both = fitted.score(held_out.length, held_out.composition, held_out.frames, held_out.share)
    alone = fitted.composition_score(held_out.length, held_out.composition)

    def loss(score: np.ndarray) -> float:
        return float(-np.mean(np.log(np.where(held_out.label == 1, score, 1 - score))))

    assert loss(both) < loss(alone)
    without = fit_calibration(made(1))
    assert without.both is None
    assert (without.score(500, [1.0], [5.0], [1.0]) == without.composition_score(500, [1.0])).all()


def test_error_by_hand() -> None:
    score, label, weight = np.array([0.05, 0.95, 0.91]), np.array([0, 1, 0]), np.array([1.0, 1.0, 2.0])
    expected = (1 * 0.05 + abs(1 * (0.95 - 1) + 2 * 0.91)) / 4
    assert expected_calibration_error(score, label, weight) == pytest.approx(expected)


def test_weights_are_even_over_labels_and_classes() -> None:
    kind = np.array(["phage"] * 5 + ["RNA virus"] + ["human"] * 2)
    label = np.array([1] * 6 + [0] * 2)
    empty = np.zeros(8)
    weight = even(Scored(empty, empty, empty, empty, label, kind))
    assert weight.tolist() == pytest.approx([0.4] * 5 + [2.0] + [2.0] * 2)


def test_coefficients_are_those_that_made_the_data_and_none_falls_below_zero() -> None:
    rng = np.random.default_rng(4)
    x = np.column_stack([np.ones(20000), rng.normal(size=(20000, 2))])
    y = (rng.random(20000) < sigmoid(x @ np.array([0.3, 1.2, -0.8]))).astype(int)
    free = logistic(x, y, np.ones(20000), [1])
    assert free == pytest.approx([0.3, 1.2, -0.8], abs=0.06)
    held = logistic(x, y, np.ones(20000), [1, 2])
    assert held[2] == 0 and held[1] > 1


def test_presets_keep_to_their_limits_and_their_order(fitted: Calibration) -> None:
    data = made(1)
    score = fitted.score(data.length, data.composition, data.frames, data.share)
    found = {}
    for preset in PRESETS:
        called = score >= fitted.cutoff(preset, data.length)
        found[preset] = called[data.label == 1].mean()
        for length in KNOTS:
            rates = {kind: called[(data.kind == kind) & (data.length == length)].mean() for kind in OTHERS}
            if preset == "strict":
                assert max(rates.values()) <= STRICT_RATE
            elif preset == "balanced":
                assert all(rate <= BALANCED_RATES.get(kind, BALANCED_RATE) for kind, rate in rates.items())
            else:
                assert np.mean(list(rates.values())) <= SENSITIVE_RATE
    assert found["strict"] < found["balanced"] < found["sensitive"]


def test_limits_that_cannot_be_kept_are_missed_by_the_least() -> None:
    rng = np.random.default_rng(5)
    noise = Scored(*[rng.normal(size=600)] * 2, np.zeros(600), np.full(600, 500.0),
                   np.repeat([0, 1], 300), np.repeat(["human", "phage"], 300))  # fmt: skip
    presets = fit_calibration(noise).composition.presets
    for cuts in presets.values():
        assert ((cuts > 0) & (cuts < 1)).all()


def test_a_length_without_sequences_has_no_knot() -> None:
    data = made(1, each=40)
    some = fit_calibration(*[data.of(data.length <= 500)] * 2)
    assert some.knots == (300, 500)  # no cut-off is made of a handful of sequences of an odd length
    odd = data.of((data.length != 2000) | (np.arange(len(data.length)) % 40 == 0))
    assert fit_calibration(odd, odd).knots == (300, 500, 1000, 3000)
    with pytest.raises(InputError, match="calibration needs viruses and others"):
        fit_calibration(data.of(data.label == 1))


def test_interpolates_in_the_logarithm_and_stops_at_the_ends() -> None:
    table = np.column_stack([np.arange(5.0), np.ones(5)])
    presets = {name: np.full(5, 0.5) for name in PRESETS}
    plain = Calibration(Fit(table, presets, [[]] * 5), None)
    lengths = np.array([1, 300, np.sqrt(300 * 500), 500, 3000, 1e6])
    found = plain.composition_score(lengths, np.zeros(6))
    assert np.log(found / (1 - found)) == pytest.approx([0, 0, 0.5, 1, 4, 4])
    assert plain.cutoff("strict", lengths).tolist() == [0.5] * 6


def test_missing_evidence_stays_missing(fitted: Calibration) -> None:
    nan = np.nan
    score = fitted.score([500] * 4, [nan, nan, 1.0, 1.0], [nan, 2.0, nan, 2.0], [0.0, 1.0, 0.0, 1.0])
    assert np.isnan(score).tolist() == [True, False, False, False]
    assert np.isnan(fitted.composition_score([500], [nan])).all()
    assert fitted.score(500, -1e9, nan, 0.0) == 0 and fitted.score(500, 1e9, nan, 0.0) == 1


def test_curve_holds_the_presets_and_what_they_do(fitted: Calibration) -> None:
    data = made(1)
    own = data.length == 1000
    score = fitted.score(1000.0, data.composition[own], data.frames[own], data.share[own])
    cut = fitted.deciding.presets["balanced"][2]
    [point] = [p for p in fitted.deciding.curve[2] if p["score"] == pytest.approx(cut)]
    called = {kind: (score[data.kind[own] == kind] >= cut).mean() for kind in (*VIRAL, *OTHERS)}
    assert point["recall"] == pytest.approx(np.mean([called[kind] for kind in VIRAL]), abs=1e-4)
    assert point["false_positive_rate"] == pytest.approx({kind: called[kind] for kind in OTHERS}, abs=1e-4)
    wrong = np.mean([called[kind] for kind in OTHERS])
    assert point["precision"] == pytest.approx(point["recall"] / (point["recall"] + wrong), abs=1e-3)
    recalls = [p["recall"] for p in fitted.deciding.curve[2]]
    assert recalls == sorted(recalls, reverse=True)


def test_rates_count_a_score_at_the_cut() -> None:
    data = Scored(*[np.zeros(2)] * 4, np.array([1, 0]), np.array(["phage", "human"]))
    rates = Rates.of(np.array([0.5, 0.4]), data, np.array([0.4, 0.5, 0.6]))
    assert rates.recall.tolist() == [1, 1, 0] and rates.wrong["human"].tolist() == [1, 0, 0]
    assert rates.precision.tolist() == [0.5, 1, 1] and rates.f1.tolist() == pytest.approx([2 / 3, 1, 0])


def test_written_and_read_again(fitted: Calibration, tmp_path: Path) -> None:
    fitted.write(tmp_path / "c.json")
    again = Calibration.read(tmp_path / "c.json")
    data = made(6, each=5)
    evidence = (data.length, data.composition, data.frames, data.share)
    assert again.score(*evidence) == pytest.approx(fitted.score(*evidence), abs=1e-4)
    assert again.about["sequences"] == len(made(1).label)
    assert set(again.about["expected_calibration_error"]) == {"composition", "frames"}
    again.write(tmp_path / "d.json")
    assert (tmp_path / "c.json").read_bytes() == (tmp_path / "d.json").read_bytes()


def change(content: dict[str, Any], keys: list[Any], value: Any) -> None:
    for key in keys[:-1]:
        content = content[key]
    if value is KeyError:
        del content[keys[-1]]
    else:
        content[keys[-1]] = value


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (["knots"], KeyError, "it has no 'knots'"),
        (["frames"], KeyError, "it has no 'frames'"),
        (["composition", "curve"], KeyError, "it has no 'curve'"),
        (["knots"], [], "'knots' must be one length or more"),
        (["knots"], [300, 300, 500, 600, 700], "'knots' must be"),
        (["knots"], [300, 500], r"'composition\.coefficients' must be 2 numbers in each of 2 lists"),
        (["composition"], [], "it has no 'coefficients'"),
        (["composition", "coefficients", 0], [1], r"'composition\.coefficients' must be 2 numbers"),
        (["composition", "coefficients", 0, 1], "1", r"'composition\.coefficients' must be"),
        (["composition", "coefficients", 0, 1], float("inf"), r"'composition\.coefficients' must be"),
        (["composition", "coefficients", 0, 1], -0.1, r"'composition\.coefficients' must be not below 0"),
        (["frames", "coefficients", 4, 2], -0.1, r"'frames\.coefficients' must be not below 0"),
        (["frames", "coefficients", 4, 2], True, r"'frames\.coefficients' must be 4 numbers"),
        (["frames", "presets", "strict"], KeyError, r"'frames\.presets' must be an object of strict"),
        (["frames", "presets", "strict"], [0.5], r"'frames\.presets\.strict' must be 5 numbers"),
        (["frames", "presets", "strict"], [1.5] * 5, r"'frames\.presets' must be from 0 to 1"),
        (["frames", "presets", "sensitive"], [0.99999] * 5, "balanced not below sensitive"),
        (["frames", "curve"], [], r"'frames\.curve' must be 5 lists"),
        (["frames", "curve", 0, 0], {"score": 1}, r"'frames\.curve' must be points of score"),
        (["frames", "curve", 0, 0, "recall"], 2, r"'frames\.curve' must be numbers from 0 to 1"),
        (["frames", "curve", 0, 0, "false_positive_rate"], 0.1, r"'frames\.curve' must be points"),
        (["about"], "text", "'about' must be an object"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_calibration_names_the_key(
    fitted: Calibration, tmp_path: Path, keys: list[Any], value: Any, message: str
) -> None:
    path = tmp_path / "c.json"
    fitted.write(path)
    content = copy.deepcopy(json.loads(path.read_text()))
    change(content, keys, value)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"c\.json: .*{message}"):
        Calibration.read(path)


def test_a_file_that_is_not_json(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"c\.json: cannot be read"):
        Calibration.read(tmp_path / "c.json")
    for text in ("{", "[1]", "5", "[" * 100000):
        (tmp_path / "c.json").write_text(text)
        with pytest.raises(InputError, match=r"c\.json: not a calibration"):
            Calibration.read(tmp_path / "c.json")
