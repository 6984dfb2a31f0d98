"""How many threads there are, and that they sleep while they wait."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from virnucpro import threads

ROOT = Path(__file__).parents[2]
OLD = {"cpu/a/cpu.cfs_period_us": "100000\n"}


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/\n", {}, 8),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "20000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "3200000 100000\n"}, 8),
        ("0::/job/step\n", {"job/cpu.max": "300000 100000\n", "job/step/cpu.max": "max 100000\n"}, 3),
        ("0::/job/step\n", {"job/cpu.max": "300000 100000\n", "job/step/cpu.max": "100000 100000\n"}, 1),
        ("0::/job\n", {"job/cpu.max": ""}, 8),
        ("4:memory:/a\n3:cpu,cpuacct:/a/b\n", OLD | {"cpu/a/cpu.cfs_quota_us": "400000\n"}, 4),
        ("4:memory:/a\n3:cpu,cpuacct:/b\n", OLD | {"cpu/a/cpu.cfs_quota_us": "400000\n"}, 8),
        ("3:cpu:/a\n", OLD | {"cpu/a/cpu.cfs_quota_us": "-1\n"}, 8),
        ("1:name=systemd:/a\n0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        (None, {"cpu.max": "200000 100000\n"}, 8),
    ],
)  # fmt: skip
def test_cores_by_affinity_and_by_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str | None, files: dict[str, str], cores: int
) -> None:
    """As containers and schedulers say it, in either version of control groups; eight cores."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    if own is not None:
        (tmp_path / "own").write_text(own)
    monkeypatch.setattr(threads, "_CGROUPS", tmp_path)
    monkeypatch.setattr(threads, "_OWN", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert threads.allotted() == cores


def test_the_tokenizer_leaves_a_core_to_the_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.setenv("RAYON_NUM_THREADS", "")
    for given, ahead in ((4, "3"), (1, "1")):
        threads.limit(given)
        assert (torch.get_num_threads(), os.environ["RAYON_NUM_THREADS"]) == (given, ahead)
    torch.set_num_threads(before)


SAY_WHEN_TORCH_COMES = """
import os, runpy, sys

class Finder:
    def find_spec(name, path=None, target=None):
        if name == "torch":
            print("torch, and", os.environ.get("OMP_WAIT_POLICY"), file=sys.stderr)

sys.meta_path.insert(0, Finder)
program, *sys.argv[1:] = sys.argv[1:]
runpy.run_path(program, run_name="__main__")
"""


@pytest.mark.parametrize(
    ("program", "said"),
    [("dnabert_s", None), ("dnabert_s", "ACTIVE"), ("esm2", None), ("esm2_v1", None), ("predict", None)],
)
def test_waiting_threads_sleep_unless_the_user_said_otherwise(program: str, said: str | None) -> None:
    """libgomp reads the variable while torch is loaded: whoever imports torch first, comes too late."""
    env = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    given = ["--models", "/nowhere", "--threads", "1", "x"]
    done = subprocess.run(
        [sys.executable, "-c", SAY_WHEN_TORCH_COMES, ROOT / f"bin/{program}.py", *given],
        env=env | {"PYTHONPATH": str(ROOT)} | ({"OMP_WAIT_POLICY": said} if said else {}),
        capture_output=True,
        text=True,
    )
    assert f"torch, and {said or 'PASSIVE'}" in done.stderr, done.stderr
