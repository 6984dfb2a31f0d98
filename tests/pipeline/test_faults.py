"""The pipeline: killed at any moment, with a bad sample, with a second run, with odd names."""

import csv
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.conftest import SOAK
from tests.pipeline.conftest import ROOT, Run, nextflow, pipeline
from tests.unit.test_files import NAMES, NO_NAMES
from virnucpro.errors import InputError
from virnucpro.files import sample_name
from virnucpro.locks import Owner
from virnucpro.models.model_set import ModelSet

pytestmark = pytest.mark.nextflow

COMPLETED = re.compile(r"Task completed > TaskHandler\[.*? name: (?:\w+:)?(\w+(?: \([^)]*\))?); .*? exit: 0;")


def command(folder: Path, models: Path, reads: Path, *more: str) -> list[str]:
    given = ["--models", str(models), "--input", str(reads), "--split_size", "4", "--gpus", "2"]
    return [
        *(str(ROOT / "tools" / "nextflow"), "-log", str(folder / "nf.log"), "run", str(ROOT / "main.nf")),
        *("-profile", "test,local", "--outdir", "out dir", "--checkpoint_dir", str(folder / "kept")),
        *(*given, *more),
    ]


def environment() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "NXF_ANSI_LOG": "false"}


def results(folder: Path) -> dict[str, bytes]:
    out = folder / "out dir"
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in (out / "reads").iterdir()}


def below(parent: int) -> list[int]:
    """The process ids of all that a process has started, and these."""
    try:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    except OSError:
        return []
    return [int(child) for child in children] + [pid for child in children for pid in below(int(child))]


def ranks(java: int) -> list[int]:
    found = []
    for pid in below(java):
        try:
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
        except OSError:
            continue
    return found


@pytest.mark.skipif(not SOAK, reason="make soak runs it: minutes for every kill")
def test_a_killed_pipeline_goes_on_where_it_was(
    tmp_path: Path, model_set: ModelSet, reads: Path, luck: random.Random
) -> None:
    """Java alone, Java with all its tasks, or one rank: the same bytes, and no finished task runs twice."""
    whole = tmp_path / "whole"
    whole.mkdir()
    began = time.monotonic()
    given = command(whole, model_set.directory, reads)
    subprocess.run(given, cwd=whole, env=environment(), check=True, capture_output=True, timeout=600)
    seconds = time.monotonic() - began
    for number in range(20):
        folder = tmp_path / f"run{number}"
        folder.mkdir()
        victim = luck.choice(("java", "everything", "rank"))
        process = subprocess.Popen(
            command(folder, model_set.directory, reads),
            cwd=folder, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        if victim == "rank":
            while not (found := ranks(process.pid)) and process.poll() is None:
                time.sleep(0.05)
            time.sleep(luck.uniform(0, 3))
            for pid in ranks(process.pid)[:1] or found[:1]:
                if Path(f"/proc/{pid}").exists():
                    os.kill(pid, signal.SIGKILL)
        else:
            time.sleep(luck.uniform(0.2, 1.0) * seconds)
            for pid in [process.pid, *(below(process.pid) if victim == "everything" else [])]:
                if Path(f"/proc/{pid}").exists():
                    os.kill(pid, signal.SIGKILL)
        process.wait(timeout=600)
        log = (folder / "nf.log").read_text() if (folder / "nf.log").exists() else ""
        # What Java had noticed a second before it died is in its cache; a rank's end stops no other task.
        done = set(COMPLETED.findall(log))
        again = subprocess.run(
            command(folder, model_set.directory, reads, *(["-resume"] if log else [])),
            cwd=folder, env=environment(), capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        assert again.returncode == 0, f"{victim}: {again.stdout}"
        assert results(folder) == results(whole), victim
        submitted = {
            line.split(" > VIRNUCPRO:")[1].strip()
            for line in again.stdout.splitlines()
            if "Submitted process > VIRNUCPRO:" in line
        }
        assert not (submitted & done - just_before(log)), f"{victim}: run twice: {submitted & done}"
        assert not (folder / "out dir" / ".virnucpro.lock").exists()


def just_before(log: str) -> set[str]:
    """Tasks whose end was noticed in the last two seconds of the log: the cache may not have them yet."""
    stamp = re.compile(r"^\w+-\d+ (\d+):(\d+):(\d+\.\d+)", re.MULTILINE)
    times = [int(h) * 3600 + int(m) * 60 + float(s) for h, m, s in stamp.findall(log)]
    late = set()
    for line in log.splitlines():
        if (found := COMPLETED.search(line)) and (when := stamp.match(line)):
            h, m, s = when.groups()
            if times[-1] - (int(h) * 3600 + int(m) * 60 + float(s)) < 2:
                late.add(found[1])
    return late


def test_one_bad_sample_is_one_bad_sample(
    tmp_path: Path, model_set: ModelSet, reads: Path, luck: random.Random
) -> None:
    """An empty one is complete, a broken and a dangling one are named first and end the run non-zero; after
    mending, only what is missing runs; all that although Java was killed at first, under LC_ALL=C, into a
    folder 2024, with a checkpoint folder that has all that a shell takes for more in its name."""
    odd = "kept'$(touch PWNED)`touch PWNED`; touch PWNED; \"x y\\"
    inputs = tmp_path / "in"
    inputs.mkdir()
    shutil.copy(reads, inputs / "good.fa")
    (inputs / "blank.fa").touch()
    (inputs / "broken.fa").write_text(">a\nACGT\n>a\nACGT\n")
    (inputs / "index.fa.fai").write_text("good\t1000\t5\t60\t61\n")
    (inputs / "dangling.fa").symlink_to("nowhere.fa")
    out = tmp_path / "2024"

    def run(*more: str) -> Run:
        given = ("--models", str(model_set.directory), "--input", "in/*.fa*", "--checkpoint_dir", odd)
        more = (*given, "--outdir", out.name, *more)
        return pipeline(tmp_path, *more, env={"LC_ALL": "C", "LANG": ""})

    killer = threading.Timer(luck.uniform(10, 25), kill_java, [tmp_path])
    killer.start()
    run()
    killer.cancel()
    first = run("-resume")
    assert first.code != 0
    reasons = {
        "broken": "records 1 and 2 have one id, 'a'",
        "index.fa.fai": "line 1: ",
        "dangling": "is a link that leads nowhere",
    }
    said = [line.strip() for line in first.output.splitlines() if line.strip().startswith("Error: ")]
    for name, reason in reasons.items():
        assert any(line.startswith(f"Error: {name}: ") and reason in line for line in said), first.output
    rows = overview(out)
    assert [row["sample"] for row in rows] == ["broken", "dangling", "index.fa.fai", "blank", "good"]
    assert [row["status"] for row in rows] == ["failed"] * 3 + ["done"] * 2
    info = json.loads((out / "pipeline_info" / "run_info.json").read_text())
    assert set(info["failed"]) == set(reasons) and set(info["samples"]) == {"blank", "good"}
    page = (out / "report.html").read_text()
    assert page.index("3 of 5 samples failed") < page.index("records 1 and 2") < page.index("<h2>Counts")
    assert {path.name for path in out.iterdir() if path.is_dir()} == {"blank", "good", "pipeline_info"}
    for name in ("blank_contigs.tsv", "blank_windows.tsv", "prediction_results.txt"):
        assert len((out / "blank" / name).read_text().splitlines()) == 1, "a header, and no more"
    assert (out / "blank" / "blank_viral.fa").read_text() == ""

    shutil.copy(reads, inputs / "broken.fa")
    (inputs / "dangling.fa").unlink()
    (inputs / "index.fa.fai").unlink()
    second = run("-resume")
    assert second.code == 0, second.output
    assert [row["status"] for row in overview(out)] == ["done"] * 3
    ran = {
        line.split("VIRNUCPRO:")[1] for line in second.output.splitlines() if "Submitted process >" in line
    }
    assert {name.split(" ")[0] for name in ran} == {
        *("EXTRACT_FRAMES", "DNABERT_S", "ESM2", "H5_TO_PT", "MERGE", "PREDICT", "CONSENSUS", "REPORT")
    }
    assert not any("(good" in name or "(blank" in name for name in ran), ran
    assert next(name for name in ran if name.startswith("ESM2")) == "ESM2 (1 file(s))"
    same = ("contigs.tsv", "windows.tsv", "viral.fa")
    assert [(out / "good" / f"good_{name}").read_bytes() for name in same] == [
        (out / "broken" / f"broken_{name}").read_bytes() for name in same
    ]
    assert not list(tmp_path.rglob("PWNED"))
    assert [path.name for path in (tmp_path / odd).iterdir() if path.is_dir()], "shards were kept there"

    (inputs / "broken.fa").write_text("no FASTA\n")
    strict = run("-resume", "--strict", "true")
    assert strict.code != 0 and "REPORT" not in strict.processes("Submitted")
    assert "broken: broken.fa: line 1:" in strict.output


def kill_java(folder: Path) -> None:
    """SIGKILL the Nextflow that was started in `folder`."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            is_it = (process / "cwd").readlink() == folder and b"nextflow.cli" in (
                process / "cmdline"
            ).read_bytes()
        except OSError:
            continue
        if is_it:
            os.kill(int(process.name), signal.SIGKILL)


def overview(out: Path) -> list[dict[str, str]]:
    with (out / "summary.tsv").open(newline="") as table:
        return list(csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE))


def put_in_the_way(out: Path, what: str) -> str:
    """Something of the user's where results go; a part of what must be said of it."""
    elsewhere = out.parent / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    if what == "folder":
        (out / "s1").mkdir()
        (out / "s1" / "reads.fastq").write_text("precious")
        return "s1 is not virnucpro's"
    if what == "report":
        (out / "report.html").write_text("precious")
        return "report.html is not virnucpro's"
    if what == "link":
        (out / "s1").symlink_to(elsewhere)
        return "s1 is a link"
    if what == "inner link":
        (out / "s1").mkdir()
        (out / "s1" / ".virnucpro").write_text('{"virnucpro": "results", "sample": "s1"}')
        (out / "s1" / "intermediate").symlink_to(elsewhere)
        return "intermediate is a link"
    if what == "other sample":
        (out / "s2").mkdir()
        (out / "s2" / ".virnucpro").write_text('{"virnucpro": "results", "sample": "s2"}')
        return "holds results of samples that are not in this run (s2)"
    (out / ".virnucpro.lock").write_text(json.dumps(asdict(Owner.this_process(flock=True))))
    return f"another run is at work here (process {os.getpid()} on "


@pytest.mark.parametrize("parser", ["v1", "v2"])
def test_the_output_folder_is_taken_only_where_it_is_free(tmp_path: Path, parser: str) -> None:
    cases = []
    wanted = []
    for what in ("folder", "report", "link", "inner link", "other sample", "run"):
        out = tmp_path / what
        out.mkdir()
        wanted.append(put_in_the_way(out, what))
        cases.append({"outdir": str(out), "samples": ["s1"]})
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    script = str(ROOT / "tests" / "pipeline" / "outdirs.nf")
    run = nextflow(
        tmp_path / "launch", "-C", str(ROOT / "nextflow.config"), "run", script,
        "--cases", str(tmp_path / "cases.json"), parser=parser,
    )  # fmt: skip
    assert run.code == 0, run.output
    said = dict(re.findall(r"^case (\d+): (.*)$", run.output, re.MULTILINE))
    for number, words in enumerate(wanted):
        assert words in said[str(number)], run.output
    after = sorted(str(p) for p in tmp_path.rglob("*") if "launch" not in p.parts and p.name != "cases.json")
    assert after == before


def test_names_that_nothing_can_hold(stub_models: Path, tmp_path: Path) -> None:
    """Refused by both ways in, or by none."""
    files = [name for name in (*NAMES, *NO_NAMES) if "/" not in name]
    for name in files:
        (tmp_path / name).write_text(">a\nACGT\n")
    base = {"outdir": "out", "models": str(stub_models)}
    (tmp_path / "cases.json").write_text(
        json.dumps([base | {"input": str(tmp_path / name)} for name in files])
    )
    run = nextflow(
        tmp_path / "launch", "-C", str(ROOT / "nextflow.config"), "run",
        str(ROOT / "tests" / "pipeline" / "checks.nf"), "--cases", str(tmp_path / "cases.json"),
    )  # fmt: skip
    said = dict(re.findall(r"^case (\d+): (.*)$", run.output, re.MULTILINE))
    for number, name in enumerate(files):
        try:
            expected = f"ok {sample_name(Path(name))}"
        except InputError:
            expected = None
        found = said[str(number)]
        assert found == expected if expected else not found.startswith("ok"), f"{name!r}: {found}"
