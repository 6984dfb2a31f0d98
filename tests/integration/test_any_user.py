"""A user without a name, as in a container run under a bare uid: all runs, and nothing asks who it is."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from virnucpro.models.model_set import ModelSet

ROOT = Path(__file__).parents[2]
NAMELESS = ["unshare", "--user", "--map-user=12345", "--map-group=12345"]
BARE = ["env", "-i", "PATH=/usr/bin:/bin"]  # no HOME, no USER

ENCODERS = {
    "DNABERT-S": """
from virnucpro.embedding.dnabert import embed_nucleotide_files
embed_nucleotide_files(models.dnabert_s, [fasta], Compute("cpu", "fp32"), lambda *_: None)""",
    "ESM-2": """
from virnucpro.embedding.runner import embed
from virnucpro.models.esm2 import load_esm2
embed(load_esm2(models.esm2, torch.device("cpu")), ["MKL", "MK"], 99)""",
    "ESM-2 v1.0": """
from virnucpro.embedding.esm2_v1 import embed_protein_files
embed_protein_files(models.esm2, [fasta], Compute("cpu", "fp32"), lambda *_: None)""",
    "ESM-2 on GPU": """
from virnucpro.models.attention import Packed, attend
q, batch = torch.zeros(5, 2, 8), Packed.of([[0] * 2, [0] * 3], torch.device("cpu"))
try:
    attend(q, q, q, batch, by="varlen")
except NotImplementedError:  # the kernel was reached, and is none of a CPU's
    pass
else:
    raise AssertionError""",
}


def program(encoder: str, models: ModelSet, folder: Path) -> list[str]:
    """Python that loads and runs an encoder on a small file, and then says whether torch._dynamo is there."""
    (folder / "output_1.fa").write_text(">a\nACGTACGTACGT\n>b\nACGACG\n")
    text = f"""
import sys
from pathlib import Path
import torch
from virnucpro.embedding.device import Compute
from virnucpro.models.model_set import ModelSet
models, folder = ModelSet.open({str(models.directory)!r}), Path({str(folder)!r})
fasta = folder / "output_1.fa"
{ENCODERS[encoder]}
print("torch._dynamo" in sys.modules)
"""
    return [sys.executable, "-c", text]


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def nameless() -> list[str]:
    """What makes a command one of uid 12345, which has no passwd entry, and so no name and no home."""
    if not shutil.which("unshare") or run(*NAMELESS, "true").returncode:
        pytest.skip("unshare --user is not permitted here: NOT TESTED under a uid without a name")
    asked = run(*NAMELESS, *BARE, sys.executable, "-c", "import getpass; getpass.getuser()")
    assert "uid not found: 12345" in asked.stderr or "No username set" in asked.stderr
    return [*NAMELESS, *BARE]


@pytest.mark.parametrize("encoder", ENCODERS)
def test_no_encoder_loads_dynamo(encoder: str, model_set: ModelSet, tmp_path: Path) -> None:
    """It costs a second and 120 MB a process, and asks for the user's name."""
    done = run(*program(encoder, model_set, tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "False\n", "")


@pytest.mark.parametrize("encoder", ENCODERS)
def test_an_encoder_runs_for_a_user_without_a_name(
    encoder: str, model_set: ModelSet, tmp_path: Path, nameless: list[str]
) -> None:
    done = run(*nameless, *program(encoder, model_set, tmp_path))
    assert (done.returncode, done.stderr) == (0, "")


def test_bundled_sets_need_no_home(reads: Path, tmp_path: Path, nameless: list[str]) -> None:
    virnucpro = [*nameless, sys.executable, "-m", "virnucpro", "--quiet"]
    listed = run(*virnucpro, "models", "list")
    assert listed.returncode == 0 and "mini\t500" in listed.stdout and "models fetch" in listed.stdout
    assert run(*virnucpro, "models", "verify", "mini").returncode == 0
    for architecture in ([], ["--parallel"]):
        out = tmp_path / f"out{len(architecture)}"
        done = run(*virnucpro, "predict", reads, "-m", "mini", "-o", out, "--device", "cpu", *architecture)
        assert done.returncode == 0, done.stderr
        assert (out / "reads" / "reads_contigs.tsv").exists()


@pytest.mark.parametrize(
    "command", [["models", "verify", "ours"], ["models", "fetch", "virnucpro-500"], ["predict", "x.fa"]]
)
def test_where_a_home_is_needed_one_line_says_so(command: list[str], nameless: list[str]) -> None:
    done = run(*nameless, sys.executable, "-m", "virnucpro", "--quiet", *command)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1
    assert "set HOME or VIRNUCPRO_MODELS" in done.stderr
