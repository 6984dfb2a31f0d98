"""Merging: by id, by N, whole or not at all."""

import os
import pickle
import random
import stat
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from virnucpro.calling.merge import merge, merge_pair, pair_files
from virnucpro.embedding.plain import load_plain
from virnucpro.errors import InputError

GOLDEN = Path(__file__).parents[1] / "data" / "golden"


def write_nucleotide(path: Path, rows: dict[str, list[float]]) -> Path:
    data = [{"label": id_, "mean_representation": row} for id_, row in rows.items()]
    torch.save({"nucleotide": list(rows), "data": data}, path)
    return path


def write_protein(path: Path, rows: dict[str, list[float]]) -> Path:
    torch.save({"proteins": list(rows), "data": [torch.tensor(row) for row in rows.values()]}, path)
    return path


def pair(tmp_path: Path, left: dict[str, list[float]], right: dict[str, list[float]]) -> tuple[Path, Path]:
    return (
        write_nucleotide(tmp_path / "output_1_DNABERT_S.pt", left),
        write_protein(tmp_path / "output_1_ESM.pt", right),
    )


def load(path: Path) -> Any:
    return torch.load(path, weights_only=True)


def test_golden_merge_bit_for_bit(tmp_path: Path) -> None:
    files = [
        GOLDEN / "test_with_orfs_protein" / "output_1_ESM.pt",
        GOLDEN / "test_with_orfs_nucleotide" / "output_1_DNABERT_S.pt",
    ]
    [output] = merge(files, tmp_path)
    ours, golden = load(output), load(GOLDEN / "test_with_orfs_merged" / "output_1_merged.pt")
    assert output.name == "output_1_merged.pt"
    assert ours["ids"] == golden["ids"]
    assert ours["data"].dtype == torch.float32
    assert ours["data"].numpy().tobytes() == golden["data"].numpy().tobytes()


def test_rows_join_by_id_in_dnabert_order(tmp_path: Path) -> None:
    left = {"b": [1.0], "a": [2.0], "c": [3.0]}
    right = {"a": [20.0, 21.0], "c": [30.0, 31.0], "b": [10.0, 11.0]}
    merge_pair(*pair(tmp_path, left, right), tmp_path / "m.pt")
    merged = load(tmp_path / "m.pt")
    assert merged["ids"] == ["b", "a", "c"]
    assert merged["data"].tolist() == [[1, 10, 11], [2, 20, 21], [3, 30, 31]]


def test_p22_one_id_missing_in_file_1_of_2_stops_and_names_it(tmp_path: Path) -> None:
    rows = {"x1": [1.0], "x2": [2.0], "x3": [3.0]}
    files = [
        write_nucleotide(tmp_path / "output_1_DNABERT_S.pt", rows),
        write_protein(tmp_path / "output_1_ESM.pt", {"x1": [1.0], "x3": [3.0]}),
        write_nucleotide(tmp_path / "output_2_DNABERT_S.pt", rows),
        write_protein(tmp_path / "output_2_ESM.pt", rows),
    ]
    with pytest.raises(InputError, match=r"output_1_ESM\.pt: no row for x2"):
        merge(files, tmp_path / "out")
    assert not list((tmp_path).glob("out/*"))


def test_id_missing_on_the_dnabert_side(tmp_path: Path) -> None:
    files = pair(tmp_path, {"a": [1.0]}, {"a": [1.0], "b": [2.0]})
    with pytest.raises(InputError, match=r"output_1_DNABERT_S\.pt: no row for b"):
        merge_pair(*files, tmp_path / "m.pt")


def test_p33_pairs_follow_the_numbers_not_the_order(tmp_path: Path) -> None:
    numbers = [1, 2, 10, 11]
    files = []
    for n in numbers:
        files.append(write_nucleotide(tmp_path / f"output_{n}_DNABERT_S.pt", {f"s{n}": [float(n)]}))
        files.append(write_protein(tmp_path / f"output_{n}_ESM.pt", {f"s{n}": [float(-n)]}))
    random.Random(3).shuffle(files)
    outputs = merge(files, tmp_path)
    assert [path.name for path in outputs] == [f"output_{n}_merged.pt" for n in numbers]
    assert [load(path)["data"].tolist() for path in outputs] == [[[n, -n]] for n in numbers]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["output_1_ESM.pt"], r"output_1_DNABERT_S\.pt was not given"),
        (["output_1_DNABERT_S.pt", "output_2_ESM.pt"], r"output_1_ESM\.pt was not given"),
        (["output_1_DNABERT.pt"], "expected a name like"),
        (["a/output_1_ESM.pt", "b/output_1_ESM.pt"], "given twice"),
    ],
)
def test_files_that_do_not_pair(names: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        pair_files([Path(name) for name in names])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_row_that_is_not_finite_is_named(tmp_path: Path, value: float) -> None:
    good = {"a": [1.0, 2.0], "b": [3.0, 4.0]}
    bad = {"a": [1.0, 2.0], "b": [3.0, value]}
    with pytest.raises(InputError, match=r"output_1_ESM\.pt: the row of b is not finite"):
        merge_pair(*pair(tmp_path, good, bad), tmp_path / "m.pt")
    with pytest.raises(InputError, match=r"output_1_DNABERT_S\.pt: the row of b is not finite"):
        merge_pair(*pair(tmp_path, bad, good), tmp_path / "m.pt")


def test_duplicate_ids_counts_labels_and_widths(tmp_path: Path) -> None:
    left, right = pair(tmp_path, {"a": [1.0], "b": [2.0]}, {"a": [1.0], "b": [2.0]})
    out = tmp_path / "m.pt"
    torch.save({"proteins": ["a", "a"], "data": [torch.ones(1)] * 2}, right)
    with pytest.raises(InputError, match="a stands twice"):
        merge_pair(left, right, out)
    torch.save({"proteins": ["a", "b"], "data": [torch.ones(1)]}, right)
    with pytest.raises(InputError, match="2 ids but 1 rows"):
        merge_pair(left, right, out)
    torch.save({"proteins": ["a", "b"], "data": [torch.ones(1), torch.ones(2)]}, right)
    with pytest.raises(InputError, match="the row of b has not the 1 values"):
        merge_pair(left, right, out)
    swapped = [{"label": id_, "mean_representation": [1.0]} for id_ in "ba"]
    torch.save({"nucleotide": ["a", "b"], "data": swapped}, left)
    with pytest.raises(InputError, match="the row of a carries another label"):
        merge_pair(left, right, out)
    assert not out.exists()


def test_p29_empty_files_merge_to_an_empty_file(tmp_path: Path) -> None:
    assert merge_pair(*pair(tmp_path, {}, {}), tmp_path / "m.pt") == 0
    merged = load(tmp_path / "m.pt")
    assert merged["ids"] == []
    assert merged["data"].shape == (0, 0)


def test_p40_rows_stay_out_of_the_pickle_and_weights_only_reads_it(tmp_path: Path) -> None:
    """A pickled array would stop at 4 GiB; a tensor's storage is an entry of its own, of any size."""
    rows = {f"id{i}": [float(i)] * 100 for i in range(500)}
    merge_pair(*pair(tmp_path, rows, rows), tmp_path / "m.pt")
    with zipfile.ZipFile(tmp_path / "m.pt") as archive:
        sizes = {
            Path(entry.filename).as_posix().split("/", 1)[1]: entry.file_size for entry in archive.infolist()
        }
    assert sizes["data/0"] == 500 * 200 * 4
    assert sizes["data.pkl"] < 20_000
    assert load(tmp_path / "m.pt")["data"].shape == (500, 200)


def test_p47_mode_follows_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        merge_pair(*pair(tmp_path, {"a": [1.0]}, {"a": [1.0]}), tmp_path / "m.pt")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "m.pt").stat().st_mode) == 0o644


def test_python_floats_come_back_as_the_float32_they_were(tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(size=(20, 7)).astype(np.float32)
    rows = {f"i{k}": row.tolist() for k, row in enumerate(values)}
    merge_pair(*pair(tmp_path, rows, rows), tmp_path / "m.pt")
    assert load(tmp_path / "m.pt")["data"].numpy().tobytes() == np.concatenate([values] * 2, axis=1).tobytes()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_vectors_become_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    left, right = pair(tmp_path, {"a": [1.0]}, {})
    torch.save({"proteins": ["a"], "data": [torch.tensor([0.1], dtype=dtype)]}, right)
    merge_pair(left, right, tmp_path / "m.pt")
    merged = load(tmp_path / "m.pt")["data"]
    assert merged.dtype == torch.float32
    assert merged[0, 1] == torch.tensor(0.1, dtype=dtype).float()


class Malicious:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch " + os.environ["VICTIM"],)


def test_plain_reader_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = tmp_path / "victim"
    monkeypatch.setenv("VICTIM", str(victim))
    torch.save({"nucleotide": Malicious(), "data": []}, tmp_path / "bad.pt")
    with pytest.raises(InputError, match=r"bad\.pt: cannot be read: it asks for posix\.system"):
        load_plain(tmp_path / "bad.pt")
    assert not victim.exists()


def test_plain_reader_agrees_with_torch() -> None:
    path = GOLDEN / "test_with_orfs_nucleotide" / "output_1_DNABERT_S.pt"
    assert load_plain(path) == torch.load(path, weights_only=True)


@pytest.mark.parametrize(
    "rows", [[["one"], ["two"]], [[[1.0]], [[2.0]]], [[None], [None]], [[10**400], [1]], [1.0, 2.0]]
)
def test_rows_that_are_no_numbers(tmp_path: Path, rows: list[Any]) -> None:
    left, right = pair(tmp_path, dict(zip("ab", rows, strict=True)), {"a": [1.0], "b": [2.0]})
    with pytest.raises(InputError, match=r"output_1_DNABERT_S\.pt: the row"):
        merge_pair(left, right, tmp_path / "m.pt")


@pytest.mark.parametrize("content", [b"", b"text", pickle.dumps({"nucleotide": []})])
@pytest.mark.parametrize("stage", ["DNABERT_S", "ESM"])
def test_damaged_files_are_input_errors(tmp_path: Path, content: bytes, stage: str) -> None:
    left, right = pair(tmp_path, {"a": [1.0]}, {"a": [1.0]})
    bad = tmp_path / f"output_1_{stage}.pt"
    bad.write_bytes(content)
    with pytest.raises(InputError, match=bad.name):
        merge_pair(left, right, tmp_path / "m.pt")
    bad.unlink()
    with pytest.raises(InputError, match="no such file"):
        merge_pair(left, right, tmp_path / "m.pt")
