"""Two GPU tasks on one machine never hold the same device: tested with made-up ids and real locks."""

import os
import re
import subprocess
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pytest

from tests.pipeline.conftest import ROOT, Run, nextflow

LEASE = ROOT / "conf" / "gpu_lease.sh"
# Takes a lease, notes ids, start and end, and holds it for a while; a child of the shell lives on as long.
HOLDER = """
set -euo pipefail
source "$1" "$2"
start=$(date +%s.%N)
sleep 0.3
echo "$2 $CUDA_VISIBLE_DEVICES $start $(date +%s.%N)"
"""


def hold(folder: Path, wanted: str, visible: str | None) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    if visible is not None:
        environment["CUDA_VISIBLE_DEVICES"] = visible
    return subprocess.Popen(
        ["bash", "-c", HOLDER, "bash", LEASE, wanted],
        env=environment | {"VIRNUCPRO_LEASE_DIR": str(folder)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def held(lines: list[str]) -> list[tuple[str, set[str], float, float]]:
    """`wanted ids start end` of each lease."""
    leases = []
    for line in lines:
        wanted, ids, start, end = line.split()
        leases.append((wanted, set(ids.split(",")), float(start), float(end)))
    return leases


def overlaps(leases: list[tuple[str, set[str], float, float]]) -> list[tuple[object, object]]:
    """Pairs that held one id at one time."""
    return [
        (one, other)
        for one, other in combinations(leases, 2)
        if one[1] & other[1] and one[2] < other[3] and other[2] < one[3]
    ]


def test_leases_never_overlap(tmp_path: Path) -> None:
    visible = "3,0,GPUx/1"
    wishes = ["1", "all", "1", "1", "2", "1", "all", "1", "2", "1", "1", "all"]
    started = time.time()
    holders = [hold(tmp_path / "locks", wanted, visible) for wanted in wishes]
    outputs = [holder.communicate(timeout=60) for holder in holders]
    assert [holder.returncode for holder in holders] == [0] * len(wishes), outputs
    leases = held([output for output, _ in outputs])
    assert overlaps(leases) == []
    for wanted, ids, _, _ in leases:
        assert ids <= set(visible.split(",")) and len(ids) == (3 if wanted == "all" else int(wanted))
    # Nobody waits for what is free: one after the other they would take longer than this.
    busy = max(end for *_, end in leases) - min(start for *_, start, _ in leases)
    assert busy < sum(end - start for *_, start, end in leases) + 0.5 * len(leases)
    assert time.time() - started < 60


def test_single_gpus_are_shared_out(tmp_path: Path) -> None:
    """Two wishes for one GPU each, of two: both at once."""
    holders = [hold(tmp_path, "1", "0,1") for _ in range(2)]
    leases = held([holder.communicate(timeout=60)[0] for holder in holders])
    assert {frozenset(ids) for _, ids, _, _ in leases} == {frozenset("0"), frozenset("1")}


def test_all_is_not_starved(tmp_path: Path) -> None:
    """Whoever asks for every GPU comes before small wishes that come later."""
    first = hold(tmp_path, "1", "0,1")
    time.sleep(0.2)
    large = hold(tmp_path, "all", "0,1")
    time.sleep(0.2)
    late = [hold(tmp_path, "1", "0,1") for _ in range(4)]
    leases = held([holder.communicate(timeout=60)[0] for holder in (first, large, *late)])
    assert all(lease[2] >= leases[1][3] for lease in leases[2:])


def test_lease_ends_with_its_holder(tmp_path: Path) -> None:
    holder = hold(tmp_path, "all", "0")
    time.sleep(0.15)
    holder.kill()
    output, _ = hold(tmp_path, "all", "0").communicate(timeout=60)
    assert output.startswith("all 0 ")


@pytest.mark.parametrize(
    ("wanted", "visible", "message"),
    [
        ("1", "", "Error: a GPU was asked for, but none is visible"),
        ("3", "0,1", "Error: --gpus 3, but only 2 visible: 0 1"),
    ],
)
def test_absent_gpu_is_an_error(tmp_path: Path, wanted: str, visible: str, message: str) -> None:
    holder = hold(tmp_path, wanted, visible)
    output, errors = holder.communicate(timeout=60)
    assert (holder.returncode, output) == (2, "")
    assert errors.startswith(message) and errors.count("\n") == 1


@pytest.mark.nextflow
def test_pipeline_tasks_never_share_a_gpu(
    tmp_path: Path, stub_models: Path, succeeded: Callable[[Run], Run]
) -> None:
    """DNABERT-S and ESM-2 tasks, more at once than there are GPUs."""
    (tmp_path / "reads.fa").write_text("".join(f">r{n}\nACGT\n" for n in range(6)))
    # Runs while the lease is held, after the task's own command.
    note = f'echo "GPU $CUDA_VISIBLE_DEVICES $(date +%s.%N) $(sleep 0.4; date +%s.%N)" >> "{tmp_path}/leases"'
    (tmp_path / "many.config").write_text(
        "executor { cpus = 64\n memory = '256 GB' }\n"
        f"process.afterScript = {{ task.accelerator ? '''{note}''' : '' }}\n"
    )
    run = succeeded(
        nextflow(
            tmp_path,
            *("-c", "many.config", "run", str(ROOT / "main.nf"), "-profile", "gpu,test,local", "-stub-run"),
            *("--outdir", "out dir", "--input", "reads.fa", "--models", str(stub_models)),
            *("--split_size", "1", "--esm_task_size", "3"),
            env={"CUDA_VISIBLE_DEVICES": "0,1", "VIRNUCPRO_LEASE_DIR": str(tmp_path / "locks")},
        )
    )
    leases = held((tmp_path / "leases").read_text().splitlines())
    tasks = re.findall(r"Submitted process > VIRNUCPRO:(DNABERT_S|ESM2) ", run.output)
    assert len(leases) == len(tasks) == 6 + 2
    assert sorted(len(ids) for _, ids, _, _ in leases) == [1] * 6 + [2] * 2
    assert overlaps(leases) == []
