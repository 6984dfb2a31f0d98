"""The GPU check: what of it runs on a CPU, here; the rest in small on a GPU, with `pytest -m gpu`."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks.common import data_sheet_peak
from benchmarks.gpu_check.__main__ import STEPS, main, run
from benchmarks.gpu_check.setting import Found, Setting, Skipped, Wrong
from virnucpro.models import attention, esm2

NEED_GPU = ["no_wait", "out_of_memory", "tests"]


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """The check sets how many there are, for this process."""
    usual = torch.get_num_threads()
    yield
    torch.set_num_threads(usual)


def results(output: str) -> dict[str, Found]:
    """The JSON lines, by step."""
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    return {found["step"]: found for found in lines}


def test_what_needs_no_gpu_passes(capfd: pytest.CaptureFixture[str]) -> None:
    code = main(["--device", "cpu", "--shape", "tiny"])
    output, errors = capfd.readouterr()
    found = results(output)
    assert code == 0, (output, errors)
    assert list(found) == list(STEPS)
    assert [name for name, said in found.items() if said["result"] != "passed"] == NEED_GPU
    assert all("needs a GPU" in found[name]["words"] for name in NEED_GPU)
    table = output[output.index("| step |") :].splitlines()
    assert [line.split(" | ")[0].removeprefix("| ") for line in table[2 : 2 + len(STEPS)]] == list(STEPS)


def test_a_step_that_fails_ends_the_check_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The steps after it run all the same; a number that is wrong and a crash are failures alike."""

    def wrong(setting: Setting) -> Found:
        raise Wrong("0.1 away")

    def broken(setting: Setting) -> Found:
        raise torch.OutOfMemoryError("CUDA out of memory")

    def absent(setting: Setting) -> Found:
        raise Skipped("no such card")

    setting = Setting(torch.device("cpu"), "tiny", tmp_path)
    steps = {"wrong": wrong, "broken": broken, "absent": absent, "fine": lambda _: {"words": "fine"}}
    assert run(steps, setting) == 1
    found = results(capsys.readouterr().out)
    assert {name: said["result"] for name, said in found.items()} == {
        "wrong": "failed", "broken": "failed", "absent": "skipped", "fine": "passed"
    }  # fmt: skip
    assert found["wrong"]["words"] == "Wrong: 0.1 away"
    assert run({"absent": absent}, setting) == 0


def test_a_gpu_that_is_not_there_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--device", "cuda"]) == 2
    output, errors = capsys.readouterr()
    assert output == "" and errors.startswith("Error: ") and "none is visible" in errors


@pytest.mark.parametrize(
    ("card", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA GH200 480GB", 989),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("Tesla V100-SXM2-32GB", 125),
        ("Tesla V100-FHHL-16GB", None),
        ("NVIDIA A10", 125),
        ("NVIDIA A10G", None),
        ("NVIDIA L40S", 362),
        ("NVIDIA GeForce RTX 4090", 165),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None),
    ],
)
def test_a_card_is_known_by_its_whole_name(card: str, peak: int | None) -> None:
    """A share of another card's peak would be worse than none."""
    assert data_sheet_peak(card) == peak


def no_number_for_wide_heads(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, batch: attention.Packed, bias: torch.Tensor | None
) -> torch.Tensor:
    out = attention._BACK_ENDS["plain"](q, k, v, batch, bias)
    return out if q.shape[2] <= 64 else out * float("nan")


def test_wrong_numbers_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P7, P11: a model without the token-dropout factor, a back end that mixes sequences up, one that fails
    for wide heads alone."""
    setting = Setting(torch.device("cpu"), "tiny", tmp_path)
    monkeypatch.setattr(esm2, "_TOKEN_DROPOUT_SCALE", 1.0)
    with pytest.raises(Wrong, match="tiny, fair-esm, fp32, plain"):
        STEPS["esm2_exact"](setting)
    monkeypatch.setitem(attention._BACK_ENDS, "sdpa", lambda q, k, v, batch, bias: v.flip(0))
    with pytest.raises(Wrong, match="sdpa in fp32, heads of 8"):
        STEPS["attention"](setting)
    monkeypatch.setitem(attention._BACK_ENDS, "sdpa", no_number_for_wide_heads)
    with pytest.raises(Wrong, match="sdpa in fp32, heads of 96: nan away"):
        STEPS["attention"](setting)


# The same steps with small models, on the card.


@pytest.mark.gpu
@pytest.mark.parametrize("step", [step for step in STEPS if step not in ("demo", "tests")])
def test_on_a_gpu(step: str, tmp_path: Path) -> None:
    """Every attention back end and both models against their truth, a rank by number and by UUID, memory that
    runs out, numbers that overflow, passes that never wait, leases."""
    assert STEPS[step](Setting(torch.device("cuda"), "tiny", tmp_path))["words"]
