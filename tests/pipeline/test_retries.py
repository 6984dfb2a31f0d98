"""What happens to a task that failed, by the real modules and the real rules for retrying."""

from pathlib import Path

import pytest

from tests.pipeline.conftest import ROOT, nextflow

pytestmark = pytest.mark.nextflow

# A task's exit codes, attempt by attempt, and how often the budget of each attempt is halved.
ENDS = {
    "memory": ([75, 75, 0], ["0", "1", "2"]),
    "preempted": ([143, 137, 0], ["0", "0", "0"]),
    "then_preempted": ([75, 130, 0], ["0", "1", "1"]),
    "preempted_then": ([137, 75, 0], ["0", "0", "1"]),
}
ESM2 = """#!/usr/bin/env python3
import pathlib, sys
sample, _, _ = sys.argv[-1].partition("=")
told = pathlib.Path({folder!r}, sample)
with told.open("a") as file:
    print(sys.argv[sys.argv.index("--halved") + 1], file=file)
pathlib.Path(sample + ".embeddings.h5").touch()
pathlib.Path("esm2.json").touch()
sys.exit({ends!r}[sample][0][len(told.read_text().split()) - 1])
"""
# Killed once, amid its files, where one is of sample B.
DNABERT_S = """#!/usr/bin/env python3
import pathlib, sys
fastas = [path for path in map(pathlib.Path, sys.argv) if path.suffix == ".fa"]
told = pathlib.Path({folder!r}, "dnabert_s")
before = told.read_text() if told.exists() else ""
asked = ",".join(fasta.read_text().strip() for fasta in fastas)
with told.open("a") as file:
    print(asked, file=file)
for fasta in fastas:
    fasta.with_name("output_1_DNABERT_S.pt").write_text(fasta.read_text())
    fasta.with_name("output_1_DNABERT_S.json").touch()
    if "B" in asked and asked not in before:
        sys.exit(137)
"""
MAIN = """
include {{ ESM2 }} from '{root}/modules/esm2'
include {{ DNABERT_S }} from '{root}/modules/dnabert_s'

workflow {{
    tasks = channel.of({samples}).map {{ sample -> [sample, [sample], [file("${{projectDir}}/main.nf")]] }}
    models = [file('{root}/virnucpro/model_sets/mini'), '']
    ESM2(tasks, models, 'fp32', false, 'auto', 'auto', '1', [], [], '')
    shared = channel.of(['A', 'B'], ['C', 'D']).map {{ samples ->
        [samples, samples.collect {{ sample -> file("${{projectDir}}/${{sample}}/output_1.fa") }}]
    }}
    DNABERT_S(shared, models, 'fp32', false, 'auto', '')
}}
"""
CONFIG = """
params.gpus = '1'
params.strict = true
params.outdir = 'out'
params.keep_intermediate = true
includeConfig '{root}/conf/base.config'
docker.enabled = false
"""


@pytest.mark.parametrize("parser", ["v1", "v2"])
def test_failed_tasks_run_again(tmp_path: Path, parser: str) -> None:
    """Out of GPU memory asks for smaller batches; a signal, as when a node is preempted, for none. A task of
    several files runs again alone, and each result goes to the sample of its file."""
    (tmp_path / "bin").mkdir()
    texts = {"esm2.py": ESM2.format(folder=str(tmp_path), ends=ENDS)}
    texts["dnabert_s.py"] = DNABERT_S.format(folder=str(tmp_path))
    for name, text in texts.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    for sample in "ABCD":
        (tmp_path / sample).mkdir()
        (tmp_path / sample / "output_1.fa").write_text(sample)
    samples = ", ".join(f"'{sample}'" for sample in ENDS)
    (tmp_path / "main.nf").write_text(MAIN.format(root=ROOT, samples=samples))
    (tmp_path / "nextflow.config").write_text(CONFIG.format(root=ROOT))
    run = nextflow(tmp_path, "run", "main.nf", parser=parser)
    assert run.code == 0, run.output
    told = {sample: (tmp_path / sample).read_text().split() for sample in ENDS}
    assert told == {sample: halved for sample, (_, halved) in ENDS.items()}
    assert sorted((tmp_path / "dnabert_s").read_text().split()) == ["A,B", "A,B", "C,D"]
    for sample in "ABCD":
        result = tmp_path / "out" / sample / "intermediate" / "nucleotide" / "output_1_DNABERT_S.pt"
        assert result.read_text() == sample
