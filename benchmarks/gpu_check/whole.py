"""What runs in processes of its own: leases, the demo, the tests that need a GPU."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.gpu_check.engine import card_names
from benchmarks.gpu_check.setting import Found, Setting, require

ROOT = Path(__file__).parents[2]
# Takes a lease, says which, runs what it is given, and keeps the lease until its standard input ends.
HOLDER = 'source conf/gpu_lease.sh 1 && echo "$CUDA_VISIBLE_DEVICES" && "$@" && read -r line'
SEEN = "import torch; print(torch.cuda.device_count(), torch.cuda.get_device_properties(0).uuid)"


def leases(setting: Setting) -> Found:
    """Two tasks want one card, the second by its UUID: it waits until the first has ended. Each sees that
    card alone."""
    number, uuid = card_names() if setting.on_gpu else ("0", "0")
    if shutil.which("nvidia-smi") is None:
        uuid = number  # without it nothing tells that they are one
    holders = [_holder(setting, number)]
    try:
        first = _lines(holders[0], setting)
        holders.append(_holder(setting, uuid))
        assert holders[1].stderr
        said = holders[1].stderr.readline()
        require("waiting for" in said, f"the second lease did not wait: {said}")
        holders[0].communicate()  # ends what it reads, and so the lease
        second = _lines(holders[1], setting)
    finally:
        for holder in holders:
            holder.kill()
            holder.wait()
    require(first[1:] == second[1:], f"the two saw different cards: {first}, {second}")
    require(not setting.on_gpu or first[1].startswith("1 "), f"more than its card is seen: {first}")
    return {"words": f"{second[0]} waited for {first[0]}"}


def _holder(setting: Setting, card: str) -> subprocess.Popen[str]:
    environment = {
        "CUDA_VISIBLE_DEVICES": card,
        "VIRNUCPRO_LEASE_DIR": str(setting.folder / "leases"),
        "VIRNUCPRO_LEASE_LIMIT": "60",
    }
    looks = [sys.executable, "-c", SEEN] if setting.on_gpu else ["true"]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        ["bash", "-c", HOLDER, "holder", *looks],
        cwd=ROOT, env=os.environ | environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True,
    )  # fmt: skip


def _lines(holder: subprocess.Popen[str], setting: Setting) -> list[str]:
    """The lease, and on a GPU what torch sees."""
    assert holder.stdout and holder.stderr
    lines = [holder.stdout.readline().strip() for _ in range(2 if setting.on_gpu else 1)]
    if not all(lines):
        holder.kill()
        require(False, f"no lease: {holder.communicate()[1][-500:]}")
    return lines


def demo(setting: Setting) -> Found:
    """The whole demo with the small models on the device, every record called; on a GPU beside the CPU, with
    no more than one call that differs."""
    calls = _calls(setting, setting.device.type)
    with (ROOT / "tests" / "data" / "demo" / "truth.tsv").open() as text:
        truth = [row["sequence_id"] for row in csv.DictReader(text, delimiter="\t")]
    require(list(calls) == truth, f"{len(calls)} of {len(truth)} records are in the table of calls")
    counts = {call: list(calls.values()).count(call) for call in sorted(set(calls.values()))}
    require(counts.get("virus", 0) > 0 and len(counts) > 1, f"all calls are alike: {counts}")
    words = ", ".join(f"{number} {call}" for call, number in counts.items())
    if setting.on_gpu:
        on_cpu = _calls(setting, "cpu")
        other = [name for name, call in calls.items() if on_cpu[name] != call]
        require(len(other) <= 1, f"{len(other)} calls differ from the CPU's: {', '.join(other)}")
        words += f"; {len(other)} differ from the CPU's"
    return {"words": words}


def _calls(setting: Setting, device: str) -> dict[str, str]:
    output = setting.folder / f"demo on {device}"
    given = ["tests/data/demo/demo.fa.gz", "--models", "mini", "--parallel", "--device", device]
    threads = [] if setting.full else ["--threads", "1"]
    _run("virnucpro", "predict", *given, *threads, "--output-dir", str(output))
    (table,) = output.glob("*/*_contigs.tsv")
    with table.open(newline="\n") as text:
        rows = csv.DictReader(text, delimiter="\t", quoting=csv.QUOTE_NONE)
        return {row["sequence_id"]: row["call"] for row in rows}


def tests(setting: Setting) -> Found:
    """The tests of the suite that need a GPU."""
    setting.need_gpu("pytest -m gpu")
    return {"words": _run("pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider")}


def _run(*command: str) -> str:
    """The last line that a module of Python printed. Raises `Wrong` with more of them when it failed."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    require(done.returncode == 0, f"{' '.join(command)}: exit code {done.returncode}: {done.stdout[-1000:]}")
    return done.stdout.strip().splitlines()[-1]
