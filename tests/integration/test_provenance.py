"""Every result says which weights, precision, engine and attention made it; a run needs no network."""

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from virnucpro import __version__
from virnucpro.embedding.engine import ENGINE
from virnucpro.models.checksums import file_sha256
from virnucpro.models.model_set import ModelSet

ROOT = Path(__file__).parents[2]
# The program, in a process that cannot so much as look up an address.
ALONE = """
import sys
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        raise SystemExit(f"{event} {arguments}")
sys.addaudithook(refuse)
"""
PREDICT = f"{ALONE}from virnucpro.cli.main import main\nmain()\nassert 'huggingface_hub' not in sys.modules\n"


def predict(program: str, fasta: Path, models: ModelSet, out: Path, *options: str) -> Path:
    given = ["predict", str(fasta), "-m", str(models.directory), "-o", str(out), "-k", "-t", "2", *options]
    done = subprocess.run([sys.executable, "-c", program, *given], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_record_names_what_ran(reads: Path, model_set: ModelSet, tmp_path: Path, precision: str) -> None:
    """P20: the same facts in embeddings.h5, run_info.json and the report; P32: and nothing was downloaded."""
    out = predict(PREDICT, reads, model_set, tmp_path / "out", "--parallel", "--precision", precision)
    sums = {
        path.relative_to(model_set.directory).as_posix(): file_sha256(path)
        for path in model_set.directory.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }
    with h5py.File(out / "reads" / "intermediate" / "embeddings.h5") as file:
        written = dict(file.attrs)
        assert np.isfinite(file["embeddings"]).all()
    assert written == {
        "model": "tiny",
        "weights_sha256": sums["esm2.safetensors"],
        "precision": precision,
        "attention": "plain",
        "engine": ENGINE,
        "version": __version__,
    }
    info = json.loads((out / "pipeline_info" / "run_info.json").read_text())
    assert info["model_set"]["sha256"] == sums and len(sums) == 7
    assert info["model_set"]["embedding_sizes"] == {"dnabert_s": 48, "esm2": 32}
    stages = {stage["stage"]: stage for stage in info["embedding"]}
    assert stages["ESM2"]["engine"] == ENGINE and stages["DNABERT_S"]["engine"] == "v1.0 per file"
    report = (out / "report.html").read_text()
    for stage in stages.values():
        assert (stage["precision"], stage["attention"]) == (precision, "plain")
        assert f"<td>{stage['engine']}</td><td>plain</td>" in report and f"<td>{precision}</td>" in report
    assert all(f"<code>{value}</code>" in report for value in sums.values())


def test_rows_and_values_of_every_file_are_whole(reads: Path, model_set: ModelSet, tmp_path: Path) -> None:
    """P32: there, 39 of 80 files came out empty without a word."""
    inner = predict(PREDICT, reads, model_set, tmp_path / "out", "--split-size", "7") / "reads/intermediate"
    fastas = sorted((inner / "nucleotide").glob("output_*.fa"))
    assert len(fastas) > 2
    for fasta in fastas:
        ids = [line[1:] for line in fasta.read_text().splitlines()[::2]]
        nucleotide = torch.load(fasta.with_name(f"{fasta.stem}_DNABERT_S.pt"), weights_only=True)
        protein = torch.load(inner / "protein" / f"{fasta.stem}_ESM.pt", weights_only=True)
        assert nucleotide["nucleotide"] == protein["proteins"] == ids
        assert torch.isfinite(torch.stack(protein["data"])).all()
        assert np.isfinite([entry["mean_representation"] for entry in nucleotide["data"]]).all()


def test_no_task_of_the_pipeline_can_download() -> None:
    """P32: no program of a task brings in the hub's client; weights are a path input that was staged."""
    programs = sorted(path.stem for path in (ROOT / "bin").glob("*.py"))
    assert len(programs) > 8
    loaded = f"{ALONE}sys.path.insert(0, 'bin')\n" + "".join(f"import {name}\n" for name in programs)
    check = "assert not {'huggingface_hub', 'httpx2', 'virnucpro.models.fetch'} & set(sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", loaded + check], cwd=ROOT, env=environment, check=True)
    for module in (ROOT / "modules").glob("*/main.nf"):
        text = module.read_text()
        assert "models fetch" not in text and "params." not in text
