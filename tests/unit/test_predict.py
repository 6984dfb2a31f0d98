"""Scoring merged files: order, text of the scores, labels, empty input."""

import os
import stat
from pathlib import Path

import numpy as np
import pytest
import torch

from virnucpro.calling.predict import HEADER, predict
from virnucpro.errors import InputError
from virnucpro.models.classifier import MLPClassifier, save_classifier

GOLDEN = Path(__file__).parents[1] / "data" / "golden"


def classifier(path: Path, width: int = 3, seed: int = 0, scale: float = 1.0) -> Path:
    torch.manual_seed(seed)
    model = MLPClassifier(width, 8)
    model.output_layer.weight.data *= scale
    save_classifier(path, model)
    return path


def write_merged(path: Path, ids: list[str], width: int = 3) -> Path:
    torch.manual_seed(len(ids))
    torch.save({"ids": ids, "data": torch.randn(len(ids), width if ids else 0)}, path)
    return path


def rows(path: Path) -> list[list[str]]:
    lines = path.read_text(encoding="utf-8").split("\n")
    assert lines[0] + "\n" == HEADER
    assert lines[-1] == ""
    return [line.split("\t") for line in lines[1:-1]]


def test_header_is_the_golden_one() -> None:
    golden = (GOLDEN / "test_with_orfs_merged" / "prediction_results.txt").read_text()
    assert golden.startswith(HEADER)


def test_files_in_numeric_order_and_rows_in_file_order(tmp_path: Path) -> None:
    files = [write_merged(tmp_path / f"output_{n}_merged.pt", [f"n{n}b", f"n{n}a"]) for n in (10, 2, 1, 11)]
    n = predict(files, classifier(tmp_path / "c"), tmp_path / "r.txt")
    expected = [f"n{n}{letter}" for n in (1, 2, 10, 11) for letter in "ba"]
    assert n == 8
    assert [row[0] for row in rows(tmp_path / "r.txt")] == expected


def test_scores_are_the_shortest_text_of_their_float32(tmp_path: Path) -> None:
    ids = [f"s{i}" for i in range(600)]
    merged = write_merged(tmp_path / "output_1_merged.pt", ids)
    predict([merged], classifier(tmp_path / "c", scale=40), tmp_path / "r.txt")
    texts = [text for row in rows(tmp_path / "r.txt") for text in row[2:]]
    for text in texts:
        value = np.float32(text)
        assert str(value) == text
        digits = text.split("e")[0].replace(".", "").strip("0")
        assert len(digits) <= 9
        if len(digits) > 1:  # one digit fewer is another number
            assert np.float32(f"{float(text):.{len(digits) - 1}g}") != value
    assert any("e-" in text for text in texts)  # the small ones are there too


def test_label_is_the_larger_score_and_columns_are_others_then_virus(tmp_path: Path) -> None:
    model = MLPClassifier(1, 2)
    model.hidden_layer.weight.data[:] = torch.tensor([[1.0], [-1.0]])
    model.hidden_layer.bias.data[:] = 0
    model.output_layer.weight.data[:] = torch.tensor([[0.0, 5.0], [5.0, 0.0]])  # x > 0 is virus
    model.output_layer.bias.data[:] = 0
    save_classifier(tmp_path / "c", model)
    data = torch.tensor([[2.0], [-2.0], [0.0]])
    torch.save({"ids": ["up", "down", "tie"], "data": data}, tmp_path / "output_1_merged.pt")
    predict([tmp_path / "output_1_merged.pt"], tmp_path / "c", tmp_path / "r.txt")
    up, down, tie = rows(tmp_path / "r.txt")
    assert up[1] == "virus"
    assert float(up[3]) > 0.99 > 0.01 > float(up[2])
    assert down[1] == "others"
    assert float(down[2]) > 0.99
    assert tie == ["tie", "others", "0.5", "0.5"]


def test_p29_no_frames_give_the_header_only(tmp_path: Path) -> None:
    empty = write_merged(tmp_path / "output_1_merged.pt", [])
    assert predict([empty], classifier(tmp_path / "c"), tmp_path / "r.txt") == 0
    assert (tmp_path / "r.txt").read_text() == HEADER


def test_an_empty_file_among_others_changes_nothing(tmp_path: Path) -> None:
    full = write_merged(tmp_path / "output_2_merged.pt", ["a", "b"])
    model = classifier(tmp_path / "c")
    predict([full], model, tmp_path / "r1.txt")
    predict([full, write_merged(tmp_path / "output_1_merged.pt", [])], model, tmp_path / "r2.txt")
    assert (tmp_path / "r1.txt").read_bytes() == (tmp_path / "r2.txt").read_bytes()


def test_split_size_changes_no_byte(tmp_path: Path) -> None:
    data, ids = torch.randn(613, 3), [f"s{i}" for i in range(613)]
    model = classifier(tmp_path / "c")
    results = []
    for size in (613, 256, 100, 7):
        folder = tmp_path / str(size)
        folder.mkdir()
        for n, start in enumerate(range(0, 613, size), 1):
            part = {"ids": ids[start : start + size], "data": data[start : start + size].clone()}
            torch.save(part, folder / f"output_{n}_merged.pt")
        predict(folder.glob("*.pt"), model, folder / "r.txt")
        results.append((folder / "r.txt").read_bytes())
    assert len(set(results)) == 1


def test_width_that_does_not_fit_names_both(tmp_path: Path) -> None:
    merged = write_merged(tmp_path / "output_1_merged.pt", ["a"], width=5)
    with pytest.raises(
        InputError, match=r"output_1_merged\.pt: rows of 5 values, but the classifier .* takes 3"
    ):
        predict([merged], classifier(tmp_path / "c"), tmp_path / "r.txt")
    assert not (tmp_path / "r.txt").exists()


def test_wrong_files_are_input_errors(tmp_path: Path) -> None:
    model = classifier(tmp_path / "c")
    with pytest.raises(InputError, match="expected a name like"):
        predict([tmp_path / "merged.pt"], model, tmp_path / "r.txt")
    torch.save({"ids": ["a"], "data": torch.ones(2, 3)}, tmp_path / "output_1_merged.pt")
    with pytest.raises(InputError, match="1 ids do not fit"):
        predict([tmp_path / "output_1_merged.pt"], model, tmp_path / "r.txt")
    with pytest.raises(InputError, match="same number"):
        predict(
            [tmp_path / "a" / "output_1_merged.pt", tmp_path / "output_1_merged.pt"], model, tmp_path / "r"
        )


def test_p47_mode_follows_the_umask(tmp_path: Path) -> None:
    merged = write_merged(tmp_path / "output_1_merged.pt", ["a"])
    old = os.umask(0o022)
    try:
        predict([merged], classifier(tmp_path / "c"), tmp_path / "r.txt")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "r.txt").stat().st_mode) == 0o644
